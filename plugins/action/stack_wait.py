"""Waits for one thing of a stack, and says every 15 seconds what for, how it is and for how long already.

Looks with module stack_info at once and then at intervals. What counts as good and as broken is the table TARGETS.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# An action plugin runs outside of any package.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from plugins.plugin_utils.as_task import run_as_task

Part = dict[str, Any]
LINE_SECONDS = 15.0
# For so long a thing that has just been asked for may be unknown.
UNKNOWN_SECONDS = 60.0


class State(NamedTuple):
    """How the thing is: in words, whether that is what is waited for, and what to do where waiting does not help."""

    text: str
    good: bool
    remedy: str = ""


class Target(NamedTuple):
    """What can be waited for: its name in a sentence, the part of stack_info, how to read it, and times in seconds."""

    noun: str
    part: str
    read: Callable[[Part], State]
    timeout: int
    every: float
    # What to do when time is out.
    remedy: str


RDS_USABLE = ("available", "backing-up", "storage-optimization", "storage-config-upgrade")
RDS_BROKEN = {
    "failed": "look at its events in the RDS console, delete it, and run again or restore a snapshot",
    "stopped": "start it (aws rds start-db-instance), then run again",
    "stopping": "let it stop, start it (aws rds start-db-instance), then run again",
    "storage-full": "raise its storage in the RDS console and mlflow_database_storage_gb to the same, then run again",
    "incompatible-parameters": "mend its parameter group in the RDS console, then run again",
    "incompatible-network": "mend its subnets and groups as its events in the RDS console say, then run again",
    "incompatible-restore": "restore another snapshot",
    "inaccessible-encryption-credentials": "enable its KMS key, then run again",
}
NAT_BROKEN = "run again, which makes a new one; when it is quota that lacks, raise it first"


def database(part: Part) -> State:
    """The database answers."""
    status = part["status"]
    return State(status or "unknown", status in RDS_USABLE, RDS_BROKEN.get(status, ""))


def database_gone(part: Part) -> State:
    """There is no database, or its deletion goes on."""
    status = part["status"]
    remedy = "look at its events in the RDS console, then destroy again"
    return State(status or "gone", status is None, remedy if status in RDS_BROKEN else "")


def file_system(part: Part) -> State:
    """Every mount target is available."""
    known = part["status"] is not None
    return State("mount targets creating" if known else "unknown", known and part["mount_targets_available"] is True)


def nat_gateways(part: Part) -> State:
    """Every NAT gateway is available."""
    failed = [gateway for gateway in part["standing"] if gateway["state"] == "failed"]
    remedy = ""
    if failed:
        reasons = sorted({str(gateway["failure"] or "AWS gives no reason").rstrip(".") for gateway in failed})
        remedy = f"{'; '.join(reasons)}. To mend it, {NAT_BROKEN}"
    good = bool(part["standing"]) and all(gateway["state"] == "available" for gateway in part["standing"])
    return State(listed(gateway["state"] for gateway in part["standing"]) or "unknown", good, remedy)


def deployment(part: Part) -> State:
    """The deployment has completed."""
    state = part["rollout_state"]
    tasks = f"{part['running_count']} of {part['desired_count']} tasks run"
    if part["service_arn"] is None:
        return State("unknown", good=False)
    remedy = f"see the stopped tasks of the service and the log group {part['log_group']}, mend it, then run again"
    return State(f"{str(state).lower()}, {tasks}", state == "COMPLETED", remedy if state == "FAILED" else "")


def service_gone(part: Part) -> State:
    """There is no service."""
    gone = part["service_arn"] is None
    return State("gone" if gone else f"{str(part['service_status']).lower()}, {part['running_count']} tasks run", gone)


def nothing_left(part: Part) -> State:
    """Nothing of the part stands."""
    left = [each.get("description") or each.get("service") or each["state"] for each in part["standing"]]
    return State(f"{len(left)} left: {listed(left)}" if left else "gone", not left)


def nat_gateways_gone(part: Part) -> State:
    """No NAT gateway is left but one that never started, which stays visible for an hour."""
    return nothing_left({"standing": [gateway for gateway in part["standing"] if gateway["state"] != "failed"]})


def endpoints(part: Part) -> State:
    """Every endpoint that is not on its way out is available."""
    staying = [endpoint for endpoint in part["standing"] if endpoint["state"] != "deleting"]
    failed = sorted(endpoint["service"] for endpoint in staying if endpoint["state"] in ("failed", "rejected"))
    remedy = f"AWS could not make that of {', '.join(failed)}; run again, which makes a new one" if failed else ""
    good = bool(staying) and all(endpoint["state"] == "available" for endpoint in staying)
    return State(listed(endpoint["state"] for endpoint in staying) or "unknown", good, remedy)


def none_leaves(part: Part) -> State:
    """Nothing of the part is being deleted any more."""
    return nothing_left({"standing": part["leaving"]})


def listed(words: Any) -> str:
    """Different words in one order, as a list in a sentence."""
    return ", ".join(sorted(set(words)))


LOOK = "see {noun} in the AWS console, then run again, which goes on where this run ended"
TARGETS: dict[tuple[str, str], Target] = {
    ("database", "present"): Target("the database", "rds", database, 1800, 10.0, LOOK),
    ("file_system", "present"): Target("the mount targets", "efs", file_system, 600, 5.0, LOOK),
    ("nat_gateways", "present"): Target("the NAT gateways", "nat_gateways", nat_gateways, 600, 5.0, LOOK),
    ("service", "present"): Target("the deployment", "ecs_service", deployment, 900, 7.5, LOOK),
    ("service", "absent"): Target("the service to go", "ecs_service", service_gone, 600, 5.0, LOOK),
    ("database", "absent"): Target("the database to go", "rds", database_gone, 3600, 10.0, LOOK),
    ("mount_targets", "absent"): Target("the mount targets to go", "mount_targets", nothing_left, 600, 5.0, LOOK),
    ("nat_gateways", "absent"): Target("the NAT gateways to go", "nat_gateways", nat_gateways_gone, 900, 5.0, LOOK),
    ("endpoints", "absent"): Target("the endpoints to go", "endpoints", nothing_left, 900, 5.0, LOOK),
    ("endpoints", "present"): Target("the endpoints", "endpoints", endpoints, 600, 5.0, LOOK),
    ("old_endpoints", "absent"): Target("the old endpoints to go", "endpoints", none_leaves, 900, 5.0, LOOK),
    ("old_nat_gateways", "absent"): Target("the old NAT gateways to go", "nat_gateways", none_leaves, 900, 5.0, LOOK),
    ("interfaces", "absent"): Target(
        "AWS to release network interfaces",
        "interfaces",
        nothing_left,
        1200,
        5.0,
        "delete what uses them if it is none of this stack, then run again",
    ),
}


def duration(seconds: float) -> str:
    """Seconds as people say them: 50 s, 1 min 15 s, 30 min."""
    minutes, rest = divmod(round(seconds), 60)
    parts = [f"{minutes} min"] if minutes else []
    return " ".join(parts + ([f"{rest} s"] if rest or not minutes else []))


class Watch:
    """The clock of one wait; `say` prints a line at most each LINE_SECONDS."""

    def __init__(self, stack: str, noun: str, timeout: float) -> None:
        """Start the clock."""
        self.stack = stack
        self.noun = noun
        self.timeout = timeout
        self.start = time.monotonic()
        self.next = 0.0

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def say(self, text: str) -> None:
        """Print how it is, where it is time for a line."""
        if self.passed >= self.next:
            so_far = f"{duration(self.passed)} of at most {duration(self.timeout)}"
            Display().display(f"{self.stack}: waiting for {self.noun} ({text}), {so_far}")
            self.next = LINE_SECONDS * (self.passed // LINE_SECONDS + 1)

    def pause(self, seconds: float) -> None:
        """Sleep, but neither past the next line nor past the end."""
        time.sleep(max(0.0, min(seconds, self.next - self.passed, self.timeout - self.passed)))


class ActionModule(ActionBase):  # type: ignore[misc]
    """Look until it is good, broken or too late."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns the last result of stack_info with {waited_seconds}, and {failed, msg} where waiting ended badly."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "name": {"type": "str", "required": True},
                "what": {"type": "str", "required": True, "choices": sorted({what for what, _ in TARGETS})},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "wait": {"type": "bool", "default": True},
                "timeout": {"type": "int"},
            }
        )
        target = TARGETS.get((arguments["what"], arguments["state"]))
        if target is None:
            raise AnsibleActionFail(f"stack_wait does not wait for {arguments['what']} to be {arguments['state']}.")
        watch = Watch(arguments["name"], target.noun, arguments["timeout"] or target.timeout)
        once = self._task.check_mode or not arguments["wait"]
        while True:
            answer = self._look(arguments["name"], target.part, task_vars or {})
            done = {**result, **answer, "changed": False, "waited_seconds": round(watch.passed)}
            if answer.get("failed") or once:
                return done
            state = target.read(answer["stack"][target.part])
            if state.good:
                return done
            if sentence := complaint(arguments["name"], target, state, watch):
                return {**done, "failed": True, "msg": sentence}
            watch.say(state.text)
            watch.pause(target.every)

    def _look(self, stack: str, part: str, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        task = self._task.copy()
        task.action = "stack_info"
        task.args = {"name": stack, "parts": [part]}
        return run_as_task(self, task, task_vars)


def complaint(stack: str, target: Target, state: State, watch: Watch) -> str | None:
    """The sentence with which waiting ends, where it ends badly."""
    what = target.noun.removesuffix(" to go")
    if state.remedy:
        return f"{stack}: waiting does not help {what} ({state.text}): {state.remedy}."
    if state.text == "unknown" and watch.passed >= min(UNKNOWN_SECONDS, watch.timeout):
        return f"{stack}: no sign of {what} after {duration(watch.passed)}: run site.yml without --tags."
    if watch.passed >= watch.timeout:
        remedy = target.remedy.format(noun=what)
        return f"{stack}: waited {duration(watch.timeout)} for {target.noun} ({state.text}): {remedy}."
    return None
