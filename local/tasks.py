"""One task: from its definition to something that runs with its own role, log stream and target."""

from __future__ import annotations

import logging
import os
import select
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions

from local import aws, config, containers, credentials, rolling, runners, taskdef
from local.runners import CannotStart

LOG = logging.getLogger("local.tasks")
LINE_LIMIT = 100_000
BATCH_LIMIT = 500
KEPT_LINES = 5_000


class Roles:
    """Sessions of roles, shared by the tasks; each is assumed once and renews itself."""

    def __init__(self) -> None:
        self._sessions: dict[str, boto3.Session] = {}

    def session(self, arn: str, name: str) -> boto3.Session:
        """A session that acts as `arn`. Raises CannotStart."""
        if not arn:
            raise CannotStart("the task definition names no role")
        if arn not in self._sessions:
            try:
                self._sessions[arn] = aws.role_session(arn, name)
            except aws.AwsError as error:
                raise CannotStart(f"cannot assume {arn}: {error}") from None
        return self._sessions[arn]

    def forget(self, arn: str) -> None:
        """Assume the role anew next time."""
        self._sessions.pop(arn, None)


def role_policies(arn: str) -> list[dict[str, Any]]:
    """The documents of all identity policies of a role."""
    iam = aws.client("iam")
    name = arn.rpartition("/")[2]
    found = [
        iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        answer = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        found.append(answer["PolicyVersion"]["Document"])
    return found


class Stream:
    """The awslogs driver: lines to CloudWatch Logs, about a second's worth at a time, by the execution role."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self.client = client
        self.group = group
        self.stream = stream
        self._lines: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        self._told = False

    def create(self) -> None:
        """Make the stream. Raises CannotStart, as a container with a broken log driver does not start either."""
        try:
            self.client.create_log_stream(logGroupName=self.group, logStreamName=self.stream)
        except botocore.exceptions.ClientError as error:
            if aws.code(error) != "ResourceAlreadyExistsException":
                raise CannotStart(f"cannot create log stream in {self.group}: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise CannotStart(f"cannot create log stream in {self.group}: {error}") from None

    def add(self, line: str) -> None:
        """Keep a line for the next batch; the oldest go where too many wait."""
        if line.strip():
            with self._lock:
                self._lines.append((int(time.time() * 1000), line[:LINE_LIMIT]))
                del self._lines[:-KEPT_LINES]

    def flush(self) -> None:
        """Send what waits; keeps it where CloudWatch Logs does not answer."""
        while True:
            with self._lock:
                batch = self._lines[:BATCH_LIMIT]
            if not batch:
                return
            events = [{"timestamp": at, "message": text} for at, text in batch]
            try:
                self.client.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=events)
            except aws.AwsError as error:
                if not self._told:
                    LOG.error("log of %s: %s", self.stream, error)
                self._told = True
                return
            with self._lock:
                del self._lines[: len(batch)]
            self._told = False


class Task:
    """A task of a service. `state` is one of rolling's, or "stopped"; the agent's loop is its only caller."""

    def __init__(self, definition: Mapping[str, Any], service: Mapping[str, Any], port: int) -> None:
        self.definition = definition
        self.service = str(service["serviceName"])
        self.cluster = str(service["clusterArn"]).rpartition("/")[2]
        self.group = next((one["targetGroupArn"] for one in service.get("loadBalancers") or []), "")
        self.revision = str(definition["taskDefinitionArn"])
        self.port = port
        self.id = uuid.uuid4().hex
        self.state = rolling.STARTING
        self.reason = ""
        self.failed = False
        self.started = time.time()
        self.healthy_since = 0.0
        self.registered = False
        self.exit_code: int | None = None
        self._grace, self._window = taskdef.patience(definition, int(service.get("healthCheckGracePeriodSeconds") or 0))
        self._last_good = 0.0
        self._next_check = 0.0
        self._kill_at = 0.0
        self._terminate_at = 0.0
        self._pump: threading.Thread | None = None
        self._forget_credentials: Callable[[], None] = lambda: None
        order = runners.Order(self.id, definition, port, config.RUN / "tasks" / self.id)
        engine = config.engine_of(self.cluster)
        self._runner: runners.Runner = containers.Container(order, engine) if engine else runners.Process(order)

    # ------------------------------------------------------------ start

    def start(self, roles: Roles, endpoint: credentials.Endpoint) -> None:
        """Start it. Raises CannotStart."""
        spec = taskdef.container(self.definition)
        execution = roles.session(str(self.definition.get("executionRoleArn") or ""), "ecs-agent")
        self._runner.pull(execution)
        stream = self._stream(spec, execution)
        stream.create()
        try:
            task_role = str(self.definition.get("taskRoleArn") or "")
            self._check_mounts(task_role)
            given = self._secrets(spec, execution)
            session = roles.session(task_role, self.id)
            token, leading = endpoint.add(credentials.from_session(session, task_role))
            self._forget_credentials = lambda: endpoint.remove(token)
            self._runner.start(leading, given)
        except CannotStart as error:
            self._forget_credentials()
            stream.add(f"task did not start: {error}")
            stream.flush()
            raise
        self._pump = threading.Thread(target=self._read_output, args=(stream,), daemon=True)
        self._pump.start()

    def _stream(self, spec: Mapping[str, Any], execution: boto3.Session) -> Stream:
        options = (spec.get("logConfiguration") or {}).get("options") or {}
        if not options.get("awslogs-group"):
            raise CannotStart("the container has no awslogs configuration")
        name = f"{options.get('awslogs-stream-prefix', 'ecs')}/{spec['name']}/{self.id}"
        return Stream(aws.client("logs", execution), options["awslogs-group"], name)

    def _check_mounts(self, role: str) -> None:
        mounts = [mount for mount in taskdef.volumes(self.definition) if mount.with_role]
        if not mounts:
            return
        try:
            policies = role_policies(role)
        except aws.AwsError as error:
            raise CannotStart(f"cannot read the policies of {role}: {error}") from None
        prefix = f"arn:aws:elasticfilesystem:{config.REGION}:{config.ACCOUNT}"
        for mount in mounts:
            system = mount.file_system
            context = {
                "elasticfilesystem:accesspointarn": f"{prefix}:access-point/{mount.access_point}",
                "elasticfilesystem:accessedviamounttarget": "true",
                "aws:securetransport": "true",
            }
            for action in ("elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"):
                if not taskdef.allowed(policies, action, f"{prefix}:file-system/{system}", context):
                    raise CannotStart(f"the task role {role} may not {action} on {system}")

    def _secrets(self, spec: Mapping[str, Any], execution: boto3.Session) -> dict[str, str]:
        found = {}
        for item in spec.get("secrets") or []:
            try:
                reference = taskdef.parse_secret(item["valueFrom"])
                version = {"VersionStage": reference.stage, "VersionId": reference.version}
                text = aws.secret(reference.arn, execution, **{key: value for key, value in version.items() if value})
                found[item["name"]] = taskdef.secret_value(text, reference)
            except (ValueError, *aws.AwsError) as error:
                raise CannotStart(f"ResourceInitializationError: secret for {item['name']}: {error}") from None
        return found

    def _read_output(self, stream: Stream) -> None:
        pipe = self._runner.output.fileno()
        rest = b""
        while True:
            ready, _, _ = select.select([pipe], [], [], 1.0)
            data = os.read(pipe, 65536) if ready else None
            if data:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    stream.add(line.decode(errors="replace"))
                # A second's worth goes in one call, however chatty the process is.
                time.sleep(0.5)
            stream.flush()
            if data == b"":
                stream.add(rest.decode(errors="replace"))
                stream.flush()
                return

    # ------------------------------------------------------------ life

    def observe(self, now: float) -> None:
        """Bring `state` up to date: exits, health, and the steps of an ordered stop."""
        code = self._runner.exit_code()
        if code is not None:
            self._gone(code)
        elif self.state == rolling.STOPPING:
            self._push(now)
        elif now >= self._next_check:
            self._check(now)

    def _check(self, now: float) -> None:
        good = self._runner.healthy()
        if good is None:
            return
        if good:
            self._last_good = now
            if self.state != rolling.HEALTHY:
                self.state = rolling.HEALTHY
                self.healthy_since = now
                LOG.info("%s task %s is healthy after %.0f s", self.service, self.id[:8], now - self.started)
        elif self.state == rolling.HEALTHY and now - self._last_good > self._window:
            self.failed = True
            self.stop(now, "failed container health checks", drain=0)
        elif self.state == rolling.STARTING and now - self.started > self._grace:
            self.failed = True
            self.stop(now, f"not healthy within {self._grace:.0f} s", drain=0)
        self._next_check = now + self._runner.pace[self.state == rolling.HEALTHY and good]

    def stop(self, now: float, reason: str, drain: float) -> None:
        """Begin to stop: after `drain` seconds SIGTERM, after the container's stop timeout SIGKILL."""
        if self.state == rolling.STOPPING:
            return
        self.state = rolling.STOPPING
        self.reason = reason
        self._terminate_at = now + drain
        timeout = float(taskdef.container(self.definition).get("stopTimeout") or 30)
        self._kill_at = self._terminate_at + timeout
        LOG.info("%s task %s stops: %s", self.service, self.id[:8], reason)

    def _push(self, now: float) -> None:
        if self._terminate_at and now >= self._terminate_at:
            self._terminate_at = 0.0
            self._runner.terminate()
        elif now >= self._kill_at:
            self._runner.kill()

    def _gone(self, code: int) -> None:
        self.exit_code = code
        if self.state != rolling.STOPPING:
            self.failed = True
            self.reason = f"exited with code {code}" if code >= 0 else f"killed by signal {-code}"
        LOG.info("%s task %s ended: %s", self.service, self.id[:8], self.reason)
        self._runner.kill()
        self.release()
        self.state = "stopped"

    def release(self) -> None:
        """Give back what the task held besides what ran."""
        if self._pump is not None:
            self._pump.join(timeout=5)
        self._forget_credentials()
        shutil.rmtree(self._runner.order.scratch, ignore_errors=True)

    def describe(self) -> dict[str, Any]:
        """The task for agent.json and `make status`; no secrets."""
        return {
            "id": self.id,
            "cluster": self.cluster,
            "service": self.service,
            "revision": self.revision.rpartition("/")[2],
            "state": self.state,
            "port": self.port,
            "started": self.started,
            "registered": self.registered,
            "where": self._runner.where(),
        }


def leftovers(folder: Path = config.RUN / "tasks") -> list[dict[str, Any]]:
    """The processes, as `processes.identity` gives them, that an agent left which died without ending them."""
    return [config.read_json(path) for path in sorted(folder.glob(f"*/{runners.RECORD}"))]


def leftover_folders(folder: Path = config.RUN / "tasks") -> None:
    """Remove the scratch folders of an earlier life."""
    shutil.rmtree(folder, ignore_errors=True)
