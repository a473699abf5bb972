"""Logs as JSON: every line that a Python process writes is one object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
HEAD = "import logging, sys, threading, traceback, warnings\n"


def written(program: str, log_format: str) -> str:
    """What a process with the module sitecustomize on its path writes, in order."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + program],
        env={
            "PYTHONPATH": str(DOCKER),
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_LOG_FORMAT": log_format,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout


def lines(program: str) -> list[dict[str, str]]:
    """The same, parsed."""
    found = [json.loads(line) for line in written(program, "json").splitlines()]
    assert [one for one in found if list(one) != ["time", "level", "logger", "message"]] == []
    return found


@pytest.mark.parametrize(
    ("program", "level", "logger", "message"),
    [
        ("print('a', 'ü')", "INFO", "stdout", "a ü"),
        ("print('no end', end='')", "INFO", "stdout", "no end"),
        ("print('x', file=sys.stderr)", "WARNING", "stderr", "x"),
        ("logging.getLogger('some.where').warning('%d%%', 5)", "WARNING", "some.where", "5%"),
        ("logging.basicConfig(level=10, format='%(name)s!')\nlogging.debug('x')", "DEBUG", "root", "x"),
        ("logging.basicConfig(stream=sys.stdout)\nlogging.error('a\\nb')", "ERROR", "root", "a\nb"),
        ("threading.Thread(target=lambda: 1 / 0).start()", "CRITICAL", "python", "division by zero"),
        ("raise ValueError('wrong')", "CRITICAL", "python", "wrong"),
        ("warnings.warn('old')", "WARNING", "py.warnings", "UserWarning: old"),
        (
            "try: 1 / 0\nexcept Exception: logging.exception('failed')",
            "ERROR",
            "root",
            "failed\nTraceback (most recent",
        ),
    ],
)
def test_one_object(program: str, level: str, logger: str, message: str) -> None:
    found = lines(program)
    assert len(found) == 1
    assert (found[0]["level"], found[0]["logger"]) == (level, logger)
    assert message in found[0]["message"]
    assert found[0]["time"].endswith("Z")


def test_several_lines_are_several_objects() -> None:
    assert [one["message"] for one in lines("print('a\\n\\nb')\nprint('c')")] == ["a", "b", "c"]


def test_child_processes_write_objects_too() -> None:
    child = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1); 1 / 0'])"
    found = lines(child)
    assert [one["level"] for one in found] == ["INFO", "CRITICAL"]


def test_text_that_only_begins_like_an_object_is_wrapped() -> None:
    assert lines("""print('{"time": "x')""")[0]["message"] == '{"time": "x'


def test_text_stays_text() -> None:
    assert written("print('a')", "text") == "a\n"
