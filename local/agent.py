"""The stand-in for Fargate's agent, for RDS's servers and for the balancers' addresses: one long-running process.

It asks the API about once a second what should run, and makes it run. `python -m local.agent` until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import botocore.exceptions

from local import (
    aws,
    config,
    containers,
    credentials,
    database,
    front,
    processes,
    rolling,
    runners,
    tasks,
    tls,
)

LOG = logging.getLogger("local.agent")
STATE = config.RUN / "agent.json"
POLL = 1.0
SLOW_POLL = 3.0
DRAIN = 2.0
STEADY = 10.0
LONGEST_STOP = 40.0


class Loop:
    """An asyncio loop in a thread of its own, for the doors."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 10) -> Any:
        """Run `work` there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def close(self) -> None:
        """Cut what still runs there, and end the thread."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        with contextlib.suppress(TimeoutError):
            self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)


# ---------------------------------------------------------------- databases


@dataclass
class Standing:
    """A database that stands: its server, its door, and what was last applied to it (a hash)."""

    name: str
    server: database.Server
    door: database.Door
    applied: str = ""


class Databases(threading.Thread):
    """Makes every RDS instance of PostgreSQL real. A thread of its own: making one takes seconds."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(daemon=True)
        self.loop = loop
        self.first_pass = threading.Event()
        self.notes: dict[str, str] = {}
        self.standing: dict[str, Standing] = {}
        self._end = threading.Event()
        self._context = tls.server_context()

    def run(self) -> None:
        """Compare and correct until told to end."""
        rds = aws.client("rds")
        while not self._end.is_set():
            try:
                self._tick(rds)
                self.first_pass.set()
            except aws.AwsError as error:
                LOG.warning("databases: %s", error)
            except Exception:
                # This thread is all that restarts a database.
                LOG.exception("databases")
            self._end.wait(SLOW_POLL)

    def _tick(self, rds: Any) -> None:
        pages = rds.get_paginator("describe_db_instances").paginate()
        wanted = database.wanted([one for page in pages for one in page["DBInstances"]])
        for resource in set(self.standing) - set(wanted):
            self._remove(resource)
        for resource, wish in wanted.items():
            try:
                note = self._ensure(resource, wish)
            except (OSError, RuntimeError, ValueError, KeyError, subprocess.SubprocessError) as error:
                note = str(error)
            if note != self.notes.get(wish["name"]):
                LOG.info("database %s: %s", wish["name"], note)
            self.notes[wish["name"]] = note

    def _ensure(self, resource: str, wish: Mapping[str, Any]) -> str:
        try:
            password = json.loads(aws.secret(f"mlflow/{wish['name']}/database"))["password"]
        except botocore.exceptions.ClientError as error:
            return f"waits for the secret mlflow/{wish['name']}/database ({aws.code(error)})"
        found = self.standing.get(resource)
        if found and (found.door.port != wish["port"] or not found.server.where()):
            self._remove(resource)
            found = None
        if found is None:
            server = self._server(resource, wish)
            server.start()
            found = Standing(wish["name"], server, database.Door(wish["port"], server.socket, self._context))
            self.loop.run(found.door.open())
            self.standing[resource] = found
        mark = hashlib.sha256(json.dumps([wish["user"], password, wish["database"]]).encode()).hexdigest()
        if mark != found.applied:
            found.server.apply(wish["user"], password, wish["database"])
            found.applied = mark
        return "available"

    def _server(self, resource: str, wish: Mapping[str, Any]) -> database.Server:
        data = config.STATE / "rds" / resource
        engine = config.engine_of(wish["name"])
        return containers.Database(data, engine, wish["version"]) if engine else database.Server(data)

    def _remove(self, resource: str) -> None:
        found = self.standing.pop(resource)
        self.notes.pop(found.name, None)
        self.loop.run(found.door.close())
        found.server.stop()
        LOG.info("database %s stopped, its data stays until `make clean`", found.name)

    def end(self) -> None:
        """Stop all servers, their data flushed."""
        self._end.set()
        self.join(timeout=60)
        for resource in list(self.standing):
            self._remove(resource)

    def describe(self) -> list[dict[str, Any]]:
        """The databases for agent.json."""
        standing = {one.name: one for one in list(self.standing.values())}
        found = []
        for name, note in sorted(self.notes.items()):
            one = standing.get(name)
            where = one.server.where() if one else ""
            found.append({"name": name, "state": note, "port": one.door.port if one else 0, "where": where})
        return found


# ---------------------------------------------------------------- balancers


class Fronts:
    """Keeps a door open for every load balancer."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.elb = aws.client("elbv2")
        self.acm = aws.client("acm")
        self.balancers: dict[str, front.Balancer] = {}
        self.doors: dict[str, front.Front] = {}
        self._domains: dict[str, str] = {}
        self._stacks: dict[str, str] = {}

    def _domain(self, certificate: str) -> str:
        if certificate not in self._domains:
            self._domains[certificate] = aws.certificate_domain(self.acm, certificate)
        return self._domains[certificate]

    def _stack(self, balancer: Mapping[str, Any]) -> str:
        arn = balancer["LoadBalancerArn"]
        if arn not in self._stacks:
            answer = self.elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
            tags = {tag["Key"]: tag["Value"] for one in answer for tag in one["Tags"]}
            if "Stack" not in tags:
                # Tags may come after the creation: ask again at the next look.
                return str(balancer["LoadBalancerName"])
            self._stacks[arn] = tags["Stack"]
        return self._stacks[arn]

    def _describe(self, balancer: Mapping[str, Any]) -> front.Balancer:
        listeners = self.elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        secure = next((one for one in listeners if one.get("Protocol") == "HTTPS" and one.get("Port") == 443), None)
        host = balancer["DNSName"]
        if secure and secure.get("Certificates"):
            host = self._domain(secure["Certificates"][0]["CertificateArn"])
        return front.Balancer(balancer["LoadBalancerName"], host, secure is not None)

    def tick(self) -> None:
        """Compare and correct."""
        found = {}
        for page in self.elb.get_paginator("describe_load_balancers").paginate():
            for balancer in page["LoadBalancers"]:
                if balancer.get("Type", "application") == "application":
                    found[self._stack(balancer)] = self._describe(balancer)
        self.balancers = found
        for stack in set(self.doors) - set(found):
            self.loop.run(self.doors.pop(stack).close())
        ports = config.Ports()
        for stack in found:
            port = ports.get(f"front/{stack}")
            door = self.doors.get(stack)
            if door and (door.port, door.scheme) != (port, found[stack].scheme):
                self.loop.run(self.doors.pop(stack).close())
                door = None
            if door is None:
                self._open(stack, port)

    def _open(self, stack: str, port: int) -> None:
        upstream = (config.HOST, config.Ports().get("aws"))
        own = tls.front_context() if self.balancers[stack].https else None
        door = front.Front(port, upstream, tls.client_context(), lambda: self.balancers.get(stack), own)
        try:
            self.loop.run(door.open())
        except OSError as error:
            LOG.error("the address of %s: port %d: %s", stack, port, error)
            return
        self.doors[stack] = door
        LOG.info("%s answers at %s", stack, door.url)

    def describe(self) -> list[dict[str, Any]]:
        """The doors for agent.json."""
        found = []
        for stack, balancer in sorted(self.balancers.items()):
            door = self.doors.get(stack)
            url = door.url if door else ""
            found.append({"stack": stack, "balancer": balancer.name, "host": balancer.host, "url": url})
        return found


# ---------------------------------------------------------------- services


@dataclass
class Failures:
    """What went wrong with a revision of a service: how often in a row, why last, and when to try again."""

    count: int = 0
    last: str = ""
    retry_at: float = 0.0

    def add(self, reason: str, now: float) -> None:
        """One more."""
        self.count += 1
        self.last = reason
        self.retry_at = now + rolling.backoff(self.count)


class Services:
    """Keeps the tasks of all ECS services as the services want them."""

    def __init__(self) -> None:
        self.ecs = aws.client("ecs")
        self.elb = aws.client("elbv2")
        self.roles = tasks.Roles()
        self.endpoint = credentials.Endpoint()
        self.tasks: list[tasks.Task] = []
        self.failures: dict[tuple[str, str], Failures] = {}
        self.wishes: dict[str, rolling.Wish] = {}
        self._definitions: dict[str, dict[str, Any]] = {}
        self._swept = 0.0

    def _services(self) -> dict[str, dict[str, Any]]:
        found = {}
        for cluster in self.ecs.list_clusters()["clusterArns"]:
            arns = [arn for page in self._pages(cluster) for arn in page["serviceArns"]]
            for at in range(0, len(arns), 10):
                answer = self.ecs.describe_services(cluster=cluster, services=arns[at : at + 10])
                for service in answer["services"]:
                    if service["status"] == "ACTIVE":
                        found[_key(service)] = service
        return found

    def _pages(self, cluster: str) -> Any:
        return self.ecs.get_paginator("list_services").paginate(cluster=cluster)

    def _definition(self, arn: str) -> dict[str, Any]:
        if arn not in self._definitions:
            self._definitions[arn] = self.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return self._definitions[arn]

    def observe(self, now: float) -> None:
        """Look at the processes; needs no API but to take a target away."""
        for task in list(self.tasks):
            task.observe(now)
            if task.registered and task.state != rolling.HEALTHY:
                self._deregister(task)
            if task.state == "stopped":
                self.tasks.remove(task)
                if task.failed:
                    self._failures(task.cluster, task.service, task.revision).add(task.reason, time.time())
                    self._report(f"{task.cluster}/{task.service}", task.revision, "STOPPED", task.reason)
            elif task.state == rolling.HEALTHY and time.time() - task.healthy_since > STEADY:
                failures = self._failures(task.cluster, task.service, task.revision)
                failures.count = 0

    def _failures(self, cluster: str, service: str, revision: str) -> Failures:
        return self.failures.setdefault((f"{cluster}/{service}", revision), Failures())

    def _report(self, key: str, revision: str, status: str, reason: str = "") -> None:
        """Tell ECS how a task fares, by which it judges a deployment."""
        cluster, _, service = key.partition("/")
        task = rolling.task_name(service, revision)
        try:
            self.ecs.submit_task_state_change(cluster=cluster, task=task, status=status, reason=reason[:1000])
        except aws.AwsError as error:
            LOG.warning("%s: %s is not known to ECS: %s", service, status, error)

    def tick(self, now: float) -> None:
        """Compare and correct. Raises AWS errors."""
        services = self._services()
        for task in self.tasks:
            if f"{task.cluster}/{task.service}" not in services:
                task.stop(now, "its service is gone", drain=0)
        # Before any old one is taken away: in between nobody would answer.
        for task in self.tasks:
            if task.state == rolling.HEALTHY and not task.registered:
                self._register(task)
        self.wishes = {}
        for key, service in services.items():
            self._reconcile(key, service, now)
        if now - self._swept > 5:
            self._sweep(services)
            self._swept = now

    def _reconcile(self, key: str, service: Mapping[str, Any], now: float) -> None:
        bounds = service.get("deploymentConfiguration") or {}
        wish = rolling.Wish(
            service["taskDefinition"],
            int(service.get("desiredCount") or 0),
            int(bounds.get("minimumHealthyPercent", 100)),
            int(bounds.get("maximumPercent", 200)),
        )
        self.wishes[key] = wish
        mine = [task for task in self.tasks if f"{task.cluster}/{task.service}" == key]
        seen = [rolling.Task(task.id, task.revision, task.state, task.started) for task in mine]
        decision = rolling.decide(wish, seen)
        for task in mine:
            if task.id in decision.stop:
                self._deregister(task)
                replaced = task.revision != wish.revision
                drain = DRAIN if task.state == rolling.HEALTHY else 0
                task.stop(now, f"replaced by {_short(wish.revision)}" if replaced else "scaled in", drain)
        rollout = rolling.rollout(service)
        if rollout == "IN_PROGRESS" and rolling.settled(wish, seen):
            self._report(key, wish.revision, "RUNNING")
        elif decision.start and rollout != "FAILED" and time.time() >= self._failures_of(key, wish).retry_at:
            for _ in range(decision.start):
                self._start(key, wish, service)

    def _failures_of(self, key: str, wish: rolling.Wish) -> Failures:
        return self.failures.setdefault((key, wish.revision), Failures())

    def _start(self, key: str, wish: rolling.Wish, service: Mapping[str, Any]) -> None:
        taken = {task.port for task in self.tasks}
        try:
            task = tasks.Task(self._definition(wish.revision), service, config.free_port(taken))
            task.start(self.roles, self.endpoint)
        except (runners.CannotStart, config.Trouble) as error:
            failures = self._failures_of(key, wish)
            failures.add(str(error), time.time())
            self._report(key, wish.revision, "STOPPED", str(error))
            LOG.error("%s %s: task did not start: %s", key, _short(wish.revision), error)
            # The role may have been made anew with the same name since its credentials were taken.
            self.roles = tasks.Roles()
            return
        self.tasks.append(task)
        LOG.info("%s task %s started: %s on port %d", key, task.id[:8], _short(wish.revision), task.port)

    def _target(self, task: tasks.Task) -> list[dict[str, Any]]:
        return [{"Id": config.HOST, "Port": task.port}]

    def _register(self, task: tasks.Task) -> None:
        if task.group:
            self.elb.register_targets(TargetGroupArn=task.group, Targets=self._target(task))
            LOG.info("%s task %s receives requests", task.service, task.id[:8])
        task.registered = True

    def _deregister(self, task: tasks.Task) -> None:
        if not task.registered:
            return
        task.registered = False
        if not task.group:
            return
        try:
            self.elb.deregister_targets(TargetGroupArn=task.group, Targets=self._target(task))
        except aws.AwsError as error:
            LOG.warning("%s task %s: target stays for the next sweep: %s", task.service, task.id[:8], error)

    def _sweep(self, services: Mapping[str, Mapping[str, Any]]) -> None:
        """Take targets away that are of no task of ours: a life before this one may have left them."""
        groups = {one["targetGroupArn"] for service in services.values() for one in service.get("loadBalancers") or []}
        for group in groups:
            ours = {task.port: task for task in self.tasks if task.registered and task.group == group}
            try:
                answer = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            except self.elb.exceptions.TargetGroupNotFoundException:
                continue
            found = [one["Target"] for one in answer]
            stale = [one for one in found if one["Id"] != config.HOST or one.get("Port") not in ours]
            if stale:
                targets = [{"Id": one["Id"], "Port": one["Port"]} for one in stale]
                self.elb.deregister_targets(TargetGroupArn=group, Targets=targets)
            for port, task in ours.items():
                task.registered = any(one["Id"] == config.HOST and one.get("Port") == port for one in found)

    def end(self) -> None:
        """Stop all tasks, all at once, and take their targets away."""
        now = time.time()
        for task in self.tasks:
            self._deregister(task)
            task.stop(now, "the machine's AWS goes down", drain=0)
        deadline = now + LONGEST_STOP
        while self.tasks and time.time() < deadline:
            self.observe(time.time())
            time.sleep(0.1)
        self.endpoint.close()

    def describe(self) -> list[dict[str, Any]]:
        """The services for agent.json."""
        found = []
        for key, wish in sorted(self.wishes.items()):
            failures = self._failures_of(key, wish)
            mine = [task.describe() for task in self.tasks if f"{task.cluster}/{task.service}" == key]
            found.append(
                {
                    "service": key,
                    "revision": _short(wish.revision),
                    "desired": wish.count,
                    "tasks": mine,
                    "failures": failures.count,
                    "last_exit": failures.last,
                    "retry_at": failures.retry_at,
                }
            )
        return found


def _key(service: Mapping[str, Any]) -> str:
    return f"{str(service['clusterArn']).rpartition('/')[2]}/{service['serviceName']}"


def _short(arn: str) -> str:
    return arn.rpartition("/")[2]


# ---------------------------------------------------------------- the process


def end_leftovers() -> None:
    """End the tasks of an agent that died without ending them."""
    for record in tasks.leftovers():
        if processes.stop(record, 10):
            LOG.info("ended process %s of an earlier life", record["pid"])
    containers.end_tasks()
    tasks.leftover_folders()


class Agent:
    """All of it, until SIGTERM."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.loop = Loop()
        self.databases = Databases(self.loop)
        self.fronts = Fronts(self.loop)
        self.services = Services()
        self._last_error = ""

    def run(self) -> None:
        """Work until told to end, then end what was started."""
        self.databases.start()
        slow_at = 0.0
        patience = time.time() + 60
        while not self.ended.is_set():
            now = time.time()
            self._guarded(lambda: self.services.observe(time.time()))
            # A server that starts before its database only fails and waits.
            if self.databases.first_pass.is_set() or now > patience:
                self._guarded(lambda: self.services.tick(time.time()))
            if now - slow_at > SLOW_POLL:
                # A MiniStack that was started anew does not know us.
                self._guarded(self.services.ecs.discover_poll_endpoint)
                self._guarded(self.fronts.tick)
                slow_at = now
            self._guarded(self.write_state)
            self.ended.wait(POLL)
        LOG.info("going down")
        self.services.end()
        self.databases.end()
        self.loop.close()
        self._guarded(self.write_state)

    def _guarded(self, work: Any) -> None:
        try:
            work()
            self._last_error = ""
        except aws.AwsError as error:
            if str(error) != self._last_error:
                LOG.warning("%s", error)
            self._last_error = str(error)
        except Exception as error:
            # One odd resource must not take down the tasks of all others.
            if str(error) != self._last_error:
                LOG.exception("unexpected")
            self._last_error = str(error) or type(error).__name__

    def write_state(self) -> None:
        """Write agent.json for `make status`."""
        config.write_json(
            STATE,
            {
                "time": time.time(),
                "error": self._last_error,
                "services": self.services.describe(),
                "databases": self.databases.describe(),
                "fronts": self.fronts.describe(),
            },
        )


def main() -> None:
    """Run the agent in this process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    end_leftovers()
    agent = Agent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.ended.set())
    agent.run()


if __name__ == "__main__":
    main()
