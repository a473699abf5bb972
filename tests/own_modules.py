"""The repository's own plugins, loaded from their files, and its AWS modules run in-process against moto.

`runner` plays what Ansible does to a module: arguments in, one JSON document out. It also records every API call, so a
test can say that a check wrote nothing and that a second run asked only for what it needs.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils

# Before a test sets up Ansible's loader of collections, which refuses to go on in one that Python has begun to load.
import ansible_collections.amazon.aws.plugins.module_utils.modules
import ansible_collections.amazon.aws.plugins.module_utils.policy
import ansible_collections.amazon.aws.plugins.module_utils.retries  # noqa: F401
import boto3
import pytest
from ansible.module_utils.testing import patch_module_args
from botocore.client import BaseClient
from moto import mock_aws
from moto.backends import get_backend

PLUGINS = Path(__file__).parents[1] / "plugins"
REGION = "eu-west-1"
READS = re.compile(r"^(Describe|Get|List|Head)")

Run = Callable[..., "Answer"]


class Answer(dict[str, Any]):
    """What a module printed; `calls` are the API operations it used, in order."""

    calls: list[str]

    @property
    def writes(self) -> list[str]:
        """The operations that change something."""
        return [call for call in self.calls if not READS.match(call)]


@functools.cache
def client(service: str) -> Any:
    """Return the one client for `service`: making one takes longer than most tests."""
    return boto3.session.Session().client(service, region_name=REGION)  # type: ignore[call-overload]


def load(kind: str, name: str) -> ModuleType:
    """The plugin `name` from its file in plugins/`kind`, with plugins/module_utils on the path as Ansible has it."""
    path = str(PLUGINS / "module_utils")
    if path not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(path)
    spec = importlib.util.spec_from_file_location(f"own_{kind}_{name}", PLUGINS / kind / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def load_backends(*services: str) -> None:
    """Load moto's part for each of `services`, for modules that ask several at once.

    moto loads it at the first call, and Python refuses two threads that load what needs each other.
    """
    for service in services:
        get_backend(service)  # type: ignore[call-overload]


@contextmanager
def empty_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put an empty AWS in the place of whatever the shell points at."""
    for name in ("AWS_ENDPOINT_URL", "AWS_URL", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # else every test pays for reading them
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield


def runner(
    modules: Mapping[str, ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stubs: Mapping[str, Callable[..., Any]],
) -> Run:
    """Return run(module name, check=False, own_client=False, **arguments) -> Answer.

    `stubs` stand in for moto, by operation. With `own_client` the module makes its clients itself.
    """
    calls: list[str] = []
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(client: Any, operation: str, request: Any) -> Any:
        calls.append(operation)
        return stubs[operation](**request) if operation in stubs else original(client, operation, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    # One class, whichever module it is found in.
    real_client = next(iter(modules.values())).AnsibleAWSModule.client

    def call(name: str, /, check: bool = False, own_client: bool = False, **arguments: Any) -> Answer:
        patched = modules[name].AnsibleAWSModule
        monkeypatch.setattr(patched, "client", real_client if own_client else lambda _, service, **__: client(service))
        calls.clear()
        capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            modules[name].main()
        answer = Answer(json.loads(capsys.readouterr().out))
        answer.calls = list(calls)
        return answer

    return call


def four_steps(run: Run, name: str, /, **arguments: Any) -> Answer:
    """Check predicts a change and writes nothing, the run makes it, a second check and a second run change nothing."""
    predicted = run(name, check=True, **arguments)
    assert (predicted.get("changed"), predicted.writes) == (True, []), predicted
    made = run(name, **arguments)
    assert made.get("changed") is True, made
    assert made["diff"] == predicted["diff"]
    for check in (True, False):
        again = run(name, check=check, **arguments)
        assert (again["changed"], again.writes) == (False, []), again["diff"]
    return made


def tag_list(**tags: str) -> list[dict[str, str]]:
    """Return keyword arguments as an AWS tag list."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
