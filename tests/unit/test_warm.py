"""AWS modules run warm give what they give when Ansible runs them, field by field.

A play of modules that behave in all manners, from tests/unit/warm, and of real ones against moto, is run both ways.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "warm"
PROGRAM = str(Path(sys.executable).with_name("ansible-playbook"))
SECRET = "hunter2-very-secret"

# What differs between any two runs, or says where a module's code lies and what called it.
VOLATILE = (
    (r"\b((?:[a-z]+-)+)[0-9a-f]{8,17}\b", r"\1ID"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-zA-Z]{52}\b", "REQUEST"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "TIME"),
    (r"\bj\d+\.\d+\b|0x[0-9a-f]{6,}", "JOB"),
    (r'File "[^"]*?(\w+\.py)"', r"File \1"),
    (r"  File (AnsiballZ_\w+|warm_server)\.py, line .*\n(    .*\n)+", ""),
    # Of code from an archive, older versions of Python do not show the line, or do not mark what failed in it.
    (r"\n +[~^]+(?=\n)", ""),
    (r"(  File \S+\.py, line \d+, in .*)\n    .*(?=\n)", r"\1"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the plugins of the repository, and modules of its own."""
    folder = tmp_path_factory.mktemp("warm")
    for name in ("action/normal.py", "callback/warm.py", "module_utils/mlflow_aws.py", "warm_server.py"):
        (folder / "plugins" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "plugins" / name, folder / "plugins" / name)
    shutil.copytree(CASES / "modules", folder / "plugins/modules")
    shutil.copy(CASES / "results.py", folder / "plugins/callback/results.py")
    shutil.copy(CASES / "play.yml", folder / "play.yml")
    names = "[all]\none\ntwo\n[all:vars]\nansible_connection=local\n"
    (folder / "hosts").write_text(names + 'ansible_python_interpreter="{{ ansible_playbook_python }}"\n')
    return folder


def settings(project: Path, fast: bool, results: Path) -> dict[str, str]:
    """The environment of a run, with whatever AWS and Ansible the shell has left out."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_", "MLFLOW_"))}
    return clean | {
        "ANSIBLE_LIBRARY": "plugins/modules",
        "ANSIBLE_ACTION_PLUGINS": "plugins/action",
        "ANSIBLE_CALLBACK_PLUGINS": "plugins/callback",
        "ANSIBLE_LOCAL_TEMP": str(project / "tmp"),
        "ANSIBLE_DISPLAY_TRACEBACK": "error",
        "MLFLOW_FAST": "1" if fast else "0",
        "RESULTS": str(results),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def play(project: Path, fast: bool, book: str = "play.yml", **environment: str) -> tuple[int, list[Any], str]:
    """(exit code, results in order, output) of one run."""
    results = project / f"{Path(book).stem}-{fast}.jsonl"
    results.unlink(missing_ok=True)
    env = settings(project, fast, results) | environment
    command = [PROGRAM, "-i", "hosts", book]
    done = subprocess.run(command, cwd=project, env=env, text=True, capture_output=True, check=False)
    lines = results.read_text().splitlines() if results.exists() else []
    return done.returncode, [json.loads(line) for line in lines], done.stdout + done.stderr


def settled(value: Any) -> Any:
    """A value without what differs between any two runs."""
    if isinstance(value, dict):
        return {key: settled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [settled(one) for one in value]
    if isinstance(value, str):
        for pattern, replacement in VOLATILE:
            value = re.sub(pattern, replacement, value)
    return value


def comparable(results: list[Any]) -> list[str]:
    """Each result as sorted JSON; hosts may take turns in any order."""
    texts = []
    for one in results:
        result = settled(one["result"])
        if one["task"] == "Take too long":
            # This traceback is of Ansible's own code, down to where it waits for the module.
            del result["exception"]
        texts.append(json.dumps([one["task"], one["kind"], result], sort_keys=True))
    return sorted(texts)


@pytest.fixture(scope="module")
def both(project: Path) -> Iterator[dict[bool, tuple[int, list[Any], str]]]:
    """The play run Ansible's way (False) and warm (True), each on an empty AWS."""
    runs: dict[bool, tuple[int, list[Any], str]] = {}
    port = 0
    for fast in (False, True):
        # The same port, for it is in the results.
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
            runs[fast] = play(project, fast, ANSIBLE_FORKS="2", ENDPOINT=f"http://{host}:{port}")
        finally:
            server.stop()
    yield runs


def of_task(results: list[Any], name: str) -> list[Any]:
    return [one["result"] for one in results if one["task"] == name]


def test_every_result_is_the_same(both: dict[bool, tuple[int, list[Any], str]]) -> None:
    (stock_code, stock, _), (warm_code, warm, output) = both[False], both[True]
    assert stock_code == warm_code, output
    assert len(stock) > 50
    for ours, theirs in zip(comparable(warm), comparable(stock), strict=True):
        assert ours == theirs


def test_what_is_compared_is_worth_it(both: dict[bool, tuple[int, list[Any], str]]) -> None:
    """The comparison would be easy if nothing had run, or if all had run Ansible's way."""
    results, output = both[True][1:]
    assert sum(one["kind"].endswith("ok") for one in results) > 30
    assert "ended; they run the slow way" not in output
    seen = of_task(results, "See with arguments")
    assert {one["seen"]["word"] for one in seen} == {"one"}
    assert {one["seen"]["environment"]["WORD"] for one in seen} == {"of the task"}
    assert {tuple(one["seen"]["zone"]) for one in seen} == {("JST", "JST")}
    assert not any(one["seen"]["controller"] for one in seen)
    assert all(one["warnings"] for one in of_task(results, "Warn"))
    assert all("Timed out" in str(one) or "timeout" in str(one).lower() for one in of_task(results, "Take too long"))
    assert [
        one["seen"]["environment"]["LEFT_BEHIND"]
        for one in of_task(results, "Leave things behind, then look for them")
        if "seen" in one
    ] == [None] * 2
    assert {one["account"] for one in of_task(results, "Say who I am")} == {"123456789012"}


def test_no_secret_in_either(both: dict[bool, tuple[int, list[Any], str]]) -> None:
    for _, results, output in both.values():
        assert SECRET not in output
        assert SECRET not in json.dumps(results)


def write(project: Path, name: str, tasks: str) -> str:
    (project / name).write_text(f"- hosts: one\n  gather_facts: false\n  tasks:\n{tasks}")
    return name


def test_it_runs_warm_and_says_so(project: Path) -> None:
    book = write(project, "see.yml", "    - probe:\n")
    for fast, expected in ((True, 1), (False, 0)):
        code, _, output = play(project, fast, book, ANSIBLE_VERBOSITY="3")
        assert code == 0, output
        assert output.count("WARM ansible.modules.probe") == expected
        # A module that runs warm needs no copy of itself.
        assert ("AnsiballZ" in output) is not fast


@pytest.mark.parametrize(
    "tasks",
    [
        "    - probe:\n      vars: {ansible_python_interpreter: '{{ ansible_playbook_python | dirname }}/python3'}\n",
        "    - probe:\n      environment: {PYTHONPATH: /elsewhere}\n",
        "    - ansible.builtin.command: 'true'\n",
        "    - ansible.builtin.stat: {path: /}\n",
    ],
)
def test_what_it_does_not_know_goes_ansibles_way(project: Path, tasks: str) -> None:
    code, _, output = play(project, True, write(project, "other.yml", tasks), ANSIBLE_VERBOSITY="3")
    assert code == 0, output
    assert "WARM" not in output


def test_without_the_server_all_goes_ansibles_way(project: Path) -> None:
    server = project / "plugins/warm_server.py"
    text = server.read_text()
    server.write_text("raise SystemExit(1)\n")
    try:
        code, results, output = play(project, True, write(project, "alone.yml", "    - probe:\n"))
    finally:
        server.write_text(text)
    assert (code, [one["kind"] for one in results]) == (0, ["ok"]), output
    assert "The process that runs AWS modules warm has ended; they run the slow way." in " ".join(output.split())


def ours(project: Path) -> list[str]:
    """The command lines of what still runs from the project."""
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(project / "plugins") in line]


def test_a_timeout_ends_the_module(project: Path) -> None:
    begin = time.monotonic()
    tasks = "    - odd: {way: sleep 30}\n      timeout: 2\n"
    code, _, output = play(project, True, write(project, "slow.yml", tasks))
    assert code == 2, output
    assert time.monotonic() - begin < 25


def test_an_interrupt_ends_it_as_it_ends_ansible(project: Path) -> None:
    book = write(project, "interrupted.yml", "    - probe:\n    - odd: {way: sleep 9}\n")
    codes = []
    for fast in (False, True):
        results = project / f"interrupted-{fast}.jsonl"
        env = settings(project, fast, results)
        # A session of its own, as a terminal's; what the keyboard sends goes to all in it.
        run = subprocess.Popen(
            [PROGRAM, "-i", "hosts", book],
            cwd=project,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not results.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        os.killpg(run.pid, signal.SIGINT)
        output = run.communicate(timeout=25)[0].decode()
        codes.append((run.returncode, "Traceback" in output))
    assert codes[0] == codes[1]


def test_nothing_is_left_running(project: Path) -> None:
    # As with Ansible, a module whose playbook was interrupted runs to its end; that of the test above sleeps.
    deadline = time.monotonic() + 40
    while ours(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ours(project) == []
