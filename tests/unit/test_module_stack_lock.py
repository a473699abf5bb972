"""The module stack_lock, and what its action plugin says of a run: one run at a time changes a stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.own_modules import Run, client, empty_aws, load, runner, tag_list

PATH = "/mlflow-drift/team-a/run"
OURS = {"who": "ada on laptop, process 1", "host": "laptop 01", "process": os.getpid(), "target": "dev"}
STUBS: dict[str, Any] = {}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    module = load("modules", "stack_lock")
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    STUBS.clear()
    with empty_aws(monkeypatch):
        yield runner({"stack_lock": module}, capsys, monkeypatch, STUBS)


def value() -> dict[str, Any] | None:
    """The lock as a second reader finds it."""
    found = client("ssm").get_parameters(Names=[PATH])["Parameters"]
    return dict(json.loads(found[0]["Value"])) if found else None


def put(holder: dict[str, Any], since: float) -> None:
    """A lock that somebody has taken."""
    text = json.dumps({"holder": holder, "since": since})
    client("ssm").put_parameter(Name=PATH, Value=text, Type="String")


def ended_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_lock_is_taken_with_its_tags_and_released(run: Run) -> None:
    taken = run("stack_lock", name="team-a", holder=OURS, tags={"Stack": "team-a"})
    assert (taken["changed"], taken.writes) == (False, ["PutParameter"])
    lock = value()
    assert lock is not None
    assert lock["holder"] == OURS
    assert abs(lock["since"] - time.time()) < 60
    tags = client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=PATH)["TagList"]
    assert tags == tag_list(Stack="team-a")
    assert run("stack_lock", name="team-a", holder=OURS, state="absent").writes == ["DeleteParameters"]
    assert value() is None
    assert run("stack_lock", name="team-a", holder=OURS, state="absent").writes == []


def test_a_check_takes_none(run: Run) -> None:
    assert run("stack_lock", check=True, name="team-a", holder=OURS).calls == []


@pytest.mark.parametrize("other", [{"host": "other 02"}, {"target": "prod"}, {"host": "other 02", "process": 1}])
def test_the_lock_of_another_run_refuses_and_stays(run: Run, other: dict[str, Any]) -> None:
    theirs = OURS | {"who": "bob on other, process 7"} | other
    put(theirs, time.time())
    refused = run("stack_lock", name="team-a", holder=OURS)
    assert refused["failed"]
    for word in ("team-a", "bob on other, process 7", theirs["target"], "UTC", PATH):
        assert word in refused["msg"]
    run("stack_lock", name="team-a", holder=OURS, state="absent")
    lock = value()
    assert lock is not None
    assert lock["holder"] == theirs


def test_the_lock_of_a_process_that_ended_here_is_taken_over(run: Run) -> None:
    theirs = OURS | {"process": ended_process()}
    put(theirs, time.time())
    assert run("stack_lock", name="team-a", holder=OURS)["taken_over_from"] == theirs
    lock = value()
    assert lock is not None
    assert lock["holder"] == OURS


def test_the_lock_of_a_process_that_ended_elsewhere_is_not(run: Run) -> None:
    put(OURS | {"host": "other 02", "process": ended_process()}, time.time())
    assert run("stack_lock", name="team-a", holder=OURS)["failed"]


@pytest.mark.parametrize(("hours", "taken"), [(2.9, False), (3.1, True)])
def test_an_old_lock_counts_no_more(run: Run, hours: float, taken: bool) -> None:
    put(OURS | {"host": "other 02"}, time.time() - hours * 3600)
    assert ("taken_over_from" in run("stack_lock", name="team-a", holder=OURS)) is taken


@pytest.mark.parametrize("text", ["x", "[]", '{"holder": 1, "since": 2}', "{}"])
def test_what_nobody_can_read_is_no_lock(run: Run, text: str) -> None:
    client("ssm").put_parameter(Name=PATH, Value=text, Type="String")
    assert not run("stack_lock", name="team-a", holder=OURS).get("failed")
    lock = value()
    assert lock is not None
    assert lock["holder"] == OURS


def test_whoever_loses_while_two_take_over_is_refused(run: Run) -> None:
    theirs = OURS | {"host": "other 02"}
    put(OURS | {"process": ended_process()}, time.time())
    written = []

    def overwritten(**request: Any) -> dict[str, Any]:
        written.append(request)
        if "Overwrite" not in request:
            raise ClientError({"Error": {"Code": "ParameterAlreadyExists", "Message": ""}}, "PutParameter")
        client("ssm").delete_parameters(Names=[PATH])
        STUBS.clear()
        put(theirs, time.time())
        return {}

    STUBS["PutParameter"] = overwritten
    refused = run("stack_lock", name="team-a", holder=OURS)
    assert len(written) == 2
    assert refused["failed"]
    assert value() is not None


def test_a_run_is_known_by_its_process_machine_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    action = load("action", "stack_lock")
    one = action.holder({"inventory_hostname": "dev"}, 7)
    assert (one["process"], one["target"]) == (7, "dev")
    assert "process 7" in one["who"]
    assert action.holder({"inventory_hostname": "prod"}, 7) != one
    job = action.holder({"inventory_hostname": "dev", "awx_job_id": 12, "awx_user_name": "ada"}, 7)
    assert job["who"] == "job 12 of AWX, launched by ada"
    assert job["host"] == one["host"]

    def nobody() -> str:
        raise OSError

    monkeypatch.setattr(action.getpass, "getuser", nobody)
    assert action.user() == f"user {os.getuid()}"
