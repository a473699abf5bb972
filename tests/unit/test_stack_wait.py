"""stack_wait: when it looks, what it says, and when it stops; with a clock of its own, and in real plays."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.own_modules import load

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(sys.executable).with_name("ansible-playbook"))


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    return load("action", "stack_wait")


class World:
    """A clock that only sleeping moves, a thing whose state is a function of the time, and what was printed."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks: list[float] = []
        self.lines: list[str] = []

    @property
    def passed(self) -> float:
        return self.now - 1000.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class Task:
    """What the action asks of its task."""

    check_mode = False
    args: dict[str, Any]


Wait = Callable[..., dict[str, Any]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def wait(plugin: ModuleType, world: World, monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Return wait(states, check=False, **arguments): `states` is a part of stack_info by the second it begins at."""

    class Display:
        def display(self, line: str) -> None:
            world.lines.append(line)

    class Clock:
        monotonic = staticmethod(lambda: world.now)
        sleep = staticmethod(world.sleep)

    monkeypatch.setattr(plugin, "Display", Display)
    monkeypatch.setattr(plugin, "time", Clock)
    monkeypatch.setattr(plugin.ActionBase, "run", lambda *_: {})

    def call(states: dict[float, dict[str, Any]], check: bool = False, **arguments: Any) -> dict[str, Any]:
        action = object.__new__(plugin.ActionModule)
        action._task = Task()
        action._task.check_mode = check
        given = {"name": "team-a", "state": "present", "wait": True, "timeout": None, **arguments}
        action.validate_argument_spec = lambda _: (None, given)

        def look(stack: str, part: str, _: Any) -> dict[str, Any]:
            assert stack == "team-a"
            world.looks.append(world.passed)
            return {"stack": {part: states[max(at for at in states if at <= world.passed)]}, "missing": []}

        action._look = look
        answer: dict[str, Any] = action.run(task_vars={})
        return answer

    return call


def database(status: str | None) -> dict[str, Any]:
    return {"status": status}


def gateways(*states: str, failure: str | None = None) -> dict[str, Any]:
    return {"standing": [{"name": f"n{at}", "state": state, "failure": failure} for at, state in enumerate(states)]}


def service(rollout: str | None, status: str = "ACTIVE") -> dict[str, Any]:
    return {
        "service_arn": "arn",
        "service_status": status,
        "rollout_state": rollout,
        "running_count": 1,
        "desired_count": 2,
        "log_group": "/mlflow/team-a",
    }


def left(*descriptions: str) -> dict[str, Any]:
    return {"standing": [{"id": "x", "state": "in-use", "description": text} for text in descriptions]}


def test_what_is_ready_is_seen_at_the_first_look_and_nothing_is_said(wait: Wait, world: World) -> None:
    answer = wait({0: database("available")}, what="database")
    assert (world.looks, world.lines) == ([0.0], [])
    assert answer == {"stack": {"rds": database("available")}, "missing": [], "changed": False, "waited_seconds": 0}


def test_a_line_each_15_seconds_says_what_how_and_how_long(wait: Wait, world: World) -> None:
    answer = wait({0: database("creating"), 70: database("backing-up")}, what="database")
    assert world.lines == [
        f"team-a: waiting for the database (creating), {passed} of at most 30 min"
        for passed in ("0 s", "15 s", "30 s", "45 s", "1 min")
    ]
    assert answer["waited_seconds"] == 70
    pauses = [after - before for before, after in zip(world.looks, world.looks[1:], strict=False)]
    assert 5 <= min(pauses) <= max(pauses) <= 10


def test_it_ends_within_one_pause_of_the_change(wait: Wait, world: World) -> None:
    answer = wait({0: gateways("pending", "available"), 31: gateways("available", "available")}, what="nat_gateways")
    assert "failed" not in answer
    assert 31 <= answer["waited_seconds"] <= 36
    assert world.lines[0] == "team-a: waiting for the NAT gateways (available, pending), 0 s of at most 10 min"


@pytest.mark.parametrize(("check", "really"), [(True, True), (False, False)])
def test_a_check_run_and_one_told_not_to_wait_look_once(wait: Wait, world: World, check: bool, really: bool) -> None:
    answer = wait({0: database("failed")}, check=check, what="database", wait=really)
    assert (world.looks, world.lines, answer.get("failed")) == ([0.0], [], None)
    assert answer["stack"] == {"rds": database("failed")}


@pytest.mark.parametrize(
    ("what", "state", "part", "sentence"),
    [
        (
            "database",
            "present",
            database("stopped"),
            "team-a: waiting does not help the database (stopped): start it (aws rds start-db-instance), then run "
            "again.",
        ),
        (
            "nat_gateways",
            "present",
            gateways("failed", "pending", failure="Network vpc-1 has no Internet gateway attached."),
            "team-a: waiting does not help the NAT gateways (failed, pending): Network vpc-1 has no Internet gateway "
            "attached. To mend it, run again, which makes a new one; when it is quota that lacks, raise it first.",
        ),
        (
            "service",
            "present",
            service("FAILED"),
            "team-a: waiting does not help the deployment (failed, 1 of 2 tasks run): see the stopped tasks of the "
            "service and the log group /mlflow/team-a, mend it, then run again.",
        ),
        (
            "database",
            "absent",
            database("incompatible-network"),
            "team-a: waiting does not help the database (incompatible-network): look at its events in the RDS console, "
            "then destroy again.",
        ),
    ],
)
def test_what_is_broken_ends_it_at_once_with_a_remedy(
    wait: Wait, world: World, what: str, state: str, part: dict[str, Any], sentence: str
) -> None:
    answer = wait({0: part}, what=what, state=state)
    assert (answer["failed"], answer["msg"], world.looks) == (True, sentence, [0.0])


def test_time_runs_out_with_a_remedy(wait: Wait, world: World) -> None:
    answer = wait({0: left("ELB app/team-a/1", "ELB app/team-a/1")}, what="interfaces", state="absent", timeout=100)
    assert answer["msg"] == (
        "team-a: waited 1 min 40 s for AWS to release network interfaces (2 left: ELB app/team-a/1): delete what uses "
        "them if it is none of this stack, then run again."
    )
    assert world.passed == 100


def test_the_usual_time_is_the_tables(wait: Wait, world: World) -> None:
    answer = wait({0: database("creating")}, what="database")
    assert answer["msg"] == (
        "team-a: waited 30 min for the database (creating): see the database in the AWS console, then run again, which "
        "goes on where this run ended."
    )
    assert world.passed == 1800


def test_what_is_not_there_is_not_awaited_for_long(wait: Wait, world: World) -> None:
    answer = wait({0: database(None)}, what="database")
    assert answer["msg"] == "team-a: no sign of the database after 1 min: run site.yml without --tags."
    assert wait({0: database(None), world.passed + 5: database("available")}, what="database").get("failed") is None


@pytest.mark.parametrize(
    ("what", "state", "before", "after"),
    [
        ("database", "absent", database("deleting"), database(None)),
        ("service", "present", service("IN_PROGRESS"), service("COMPLETED")),
        ("service", "absent", service(None, "DRAINING"), service(None) | {"service_arn": None}),
        ("nat_gateways", "absent", gateways("deleting"), gateways("failed")),
        ("endpoints", "absent", left("x"), left()),
        ("mount_targets", "absent", left("x"), left()),
        ("interfaces", "absent", left("x"), left()),
        (
            "file_system",
            "present",
            {"status": "available", "mount_targets_available": False},
            {"status": "available", "mount_targets_available": True},
        ),
    ],
)
def test_everything_is_awaited_until_it_is_so(
    wait: Wait, world: World, what: str, state: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    answer = wait({0: before, 20: after}, what=what, state=state)
    assert "failed" not in answer, answer["msg"]
    assert 20 <= answer["waited_seconds"] <= 30
    assert len(world.lines) == 2


def test_a_look_that_fails_ends_it(wait: Wait, plugin: ModuleType) -> None:
    with pytest.raises(plugin.AnsibleActionFail, match="does not wait for interfaces to be present"):
        wait({}, what="interfaces")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1 min"), (75, "1 min 15 s"), (1800, "30 min"), (3599, "59 min 59 s")]
)
def test_durations_are_said_as_people_do(plugin: ModuleType, seconds: float, words: str) -> None:
    assert plugin.duration(seconds) == words


def test_the_documentation_names_all_that_can_be_awaited(plugin: ModuleType) -> None:
    text = (ROOT / "plugins/modules/stack_wait.py").read_text()
    options = yaml.safe_load(text.split('DOCUMENTATION = """')[1].split('"""')[0])["options"]
    assert options["what"]["choices"] == sorted({what for what, _ in plugin.TARGETS})


# --- in a play -------------------------------------------------------------------------------------------------------

# Stands in for the real one: answers with the status in a file, and notes how it was run.
STAND_IN = """
import json, os
from ansible.module_utils.basic import AnsibleModule
options = {"name": {"required": True}, "parts": {"type": "list", "elements": "str"}}
module = AnsibleModule(options, supports_check_mode=True)
with open(os.environ["LOOKS"], "a") as looks:
    looks.write(json.dumps([module.params["parts"], module.check_mode, os.environ.get("AWS_REGION")]) + "\\n")
with open(os.environ["STATUS"]) as status:
    module.exit_json(stack={"rds": {"status": status.read()}}, missing=[])
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  environment: {AWS_REGION: eu-central-1}
  tasks:
    - name: Wait
      stack_wait: {name: team-a, what: database}
      register: found
    - name: Say what it gave
      ansible.builtin.debug: {msg: "<{{ found.stack.rds.status }} {{ found.changed }}>"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("action", "plugin_utils"):
        folder = Path("plugins", name)
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "plugins/modules").mkdir()
    shutil.copy(ROOT / "plugins/modules/stack_wait.py", tmp_path / "plugins/modules")
    (tmp_path / "plugins/module_utils").mkdir()
    shutil.copy(ROOT / "plugins/module_utils/mlflow_aws.py", tmp_path / "plugins/module_utils")
    (tmp_path / "plugins/modules/stack_info.py").write_text(STAND_IN)
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "looks").touch()
    return tmp_path


def start(project: Path, status: str, *options: str) -> subprocess.Popen[str]:
    (project / "status").write_text(status)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_", "MLFLOW_"))}
    environment = clean | {
        "ANSIBLE_LIBRARY": "plugins/modules",
        "ANSIBLE_ACTION_PLUGINS": "plugins/action",
        "ANSIBLE_LOCAL_TEMP": str(project / "tmp"),
        "LOOKS": str(project / "looks"),
        "STATUS": str(project / "status"),
        "PYTHONUNBUFFERED": "1",
    }
    interpreter = f"ansible_python_interpreter={sys.executable}"
    return subprocess.Popen(
        [PROGRAM, "-i", "localhost,", "-c", "local", "-e", interpreter, "play.yml", *options],
        cwd=project,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def looks(project: Path) -> list[Any]:
    return [json.loads(line) for line in (project / "looks").read_text().splitlines()]


def test_a_play_goes_on_as_soon_as_it_is_ready(project: Path) -> None:
    with start(project, "creating") as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "waiting for" in line:
                (project / "status").write_text("available")
                break
        seen += process.stdout.readlines()
    output = "".join(seen)
    assert process.returncode == 0, output
    assert re.search(r"^team-a: waiting for the database \(creating\), \d+ s of at most 30 min$", output, re.MULTILINE)
    assert "<available False>" in output
    assert looks(project) == [[["rds"], False, "eu-central-1"]] * 2


def test_a_check_run_does_not_wait(project: Path) -> None:
    with start(project, "creating", "--check") as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "<creating False>" in output
    assert looks(project) == [[["rds"], True, "eu-central-1"]]


def test_an_interrupt_ends_it(project: Path) -> None:
    with start(project, "creating") as process:
        assert process.stdout is not None
        assert any("waiting for" in line for line in process.stdout)
        # Ansible itself may hang when its worker is killed in the middle of handing over a line.
        time.sleep(1)
        begin = time.monotonic()
        # As the keyboard does: to all of the group.
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert time.monotonic() - begin < 5
    assert process.returncode != 0, output
    count = len(looks(project))
    time.sleep(11)
    assert len(looks(project)) == count
