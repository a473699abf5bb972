"""Where there is no container engine the image's tests say so in one line, and CI does not let it pass."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.image import __main__ as launcher
from tests.image import engine as machine
from tests.image import stand_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("ci", "code", "summary"), [("", 0, "image     skipped"), ("true", 1, "")])
def test_it_is_said_in_one_line(ci: str, code: int, summary: str) -> None:
    env = {**os.environ, "CI": ci, "MLFLOW_TEST_ENGINE": "/no/docker", "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    done = subprocess.run(["tests/run", "image"], cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == code
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[:2] == ["== image", "SKIPPED: image: no container engine answers (/no/docker)."]
    assert [line.rpartition(" in ")[0].strip() for line in lines[2:]] == ([summary] if summary else [])


def test_a_base_that_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def ready() -> machine.Engine:
        raise machine.Unavailable("base:1 is not here and cannot be pulled (no such host)")

    monkeypatch.setattr(machine, "ready", ready)
    monkeypatch.delenv("CI", raising=False)
    assert launcher.main() == launcher.SKIPPED
    assert capsys.readouterr().out == "SKIPPED: image: base:1 is not here and cannot be pulled (no such host).\n"


def test_a_stand_in_takes_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(stand_in, "find_engine", lambda: machine.Engine("false"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert stand_in.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is missing, and to make it from Debian packages takes root and mmdebstrap.")


def test_the_stand_ins_are_what_is_asked_for() -> None:
    assert [wanted.name for wanted in stand_in.STAND_INS] == [stand_in.PYTHON, machine.POSTGRES, machine.MARIADB]
    assert machine.POSTGRES == "postgres:16-alpine"
