"""What a check run would change is remembered by host, and silence of who should have heard is no answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleLookupError

from plugins.callback.plan import CallbackModule
from plugins.lookup import planned_changes


@pytest.fixture
def lookup(monkeypatch: pytest.MonkeyPatch) -> type[planned_changes.LookupModule]:
    """The lookup as the callback finds it."""
    kind = type("Lookup", (planned_changes.LookupModule,), {"changes": None})
    monkeypatch.setattr("plugins.callback.plan.lookup_loader", SimpleNamespace(get=lambda name, class_only: kind))
    return kind


def result(host: str, task: str, check: bool = True, changed: bool = True) -> Any:
    return SimpleNamespace(
        _task=SimpleNamespace(check_mode=check, get_name=lambda: task),
        _host=SimpleNamespace(get_name=lambda: host),
        is_changed=lambda: changed,
    )


def test_names_each_task_once_and_by_host(lookup: type[planned_changes.LookupModule]) -> None:
    callback = CallbackModule()
    callback.v2_playbook_on_start(None)
    for one in (
        result("a", "alb : Make it"),
        result("a", "alb : Make it"),
        result("a", "rds : Look", changed=False),
        result("a", "rds : Make it", check=False),
        result("b", "efs : Make it"),
    ):
        callback.v2_runner_on_ok(one)
    asked = {host: lookup().run([], {"inventory_hostname": host}) for host in "abc"}
    assert asked == {"a": ["alb : Make it"], "b": ["efs : Make it"], "c": []}


def test_fails_when_nobody_listened(lookup: type[planned_changes.LookupModule]) -> None:
    with pytest.raises(AnsibleLookupError, match="callback plan is not loaded"):
        lookup().run([], {"inventory_hostname": "a"})
