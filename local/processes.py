"""Long-running processes: started apart from the terminal, known again by more than their number, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from local import config


def identity(pid: int) -> dict[str, Any] | None:
    """What tells this process from a later one with the same number, and when it started; None if it is gone.

    {pid, started (seconds since the epoch), command (list of str), folder (its working directory)}
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return {"pid": pid, "started": process.create_time(), "command": process.cmdline(), "folder": process.cwd()}
    except psutil.Error:
        return None


def is_ours(record: Mapping[str, Any]) -> bool:
    """Whether the process that `record` (from `identity`) describes still runs, and is not a stranger.

    The start time does not decide: the kernel's boot time, from which it is computed, moves with the clock. A record
    without a command is of a process that may exec another program: it has a working directory of its own.
    """
    now = identity(int(record.get("pid", 0) or 0)) if record.get("pid") else None
    if now is None:
        return False
    if now["folder"] != record.get("folder"):
        return False
    # Without the first word: a framework build of Python on macOS replaces itself there.
    return record.get("command") is None or record["command"][1:] == now["command"][1:]


def _wait_gone(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process for process in alive if process.is_running()]


def stop(record: Mapping[str, Any], patience: float) -> bool:
    """End the process of `record` and its children: SIGTERM, `patience` seconds, SIGKILL. False if it was not ours."""
    if not is_ours(record):
        return False
    try:
        leader = psutil.Process(int(record["pid"]))
        family = [leader, *leader.children(recursive=True)]
        leader.send_signal(signal.SIGTERM)
    except psutil.Error:
        return True
    _wait_gone([leader], patience)
    for process in _wait_gone(family, 1.0):
        try:
            process.kill()
        except psutil.Error:
            continue
    _wait_gone(family, 5.0)
    return True


def record_path(name: str) -> Path:
    """Where the record of the process `name` lies."""
    return config.RUN / f"{name}.process.json"


def running(name: str) -> dict[str, Any] | None:
    """The record of the process `name` if it runs."""
    record = config.read_json(record_path(name))
    return record if record and is_ours(record) else None


def start(name: str, command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """Start `command` in a session of its own, with its output in logs/<name>.log, and remember it."""
    config.LOGS.mkdir(parents=True, exist_ok=True)
    log = config.LOGS / f"{name}.log"
    if log.exists():
        os.replace(log, log.with_suffix(".log.1"))
    with open(log, "wb") as out:
        process = subprocess.Popen(
            list(command),
            cwd=config.ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = settled_identity(process)
    config.write_json(record_path(name), record)
    return record


def settled_identity(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The identity of a child that was just started."""
    for _ in range(100):
        record = identity(process.pid)
        # In the middle of exec, where Popen already returns, the command line is empty for a moment.
        if record is None or record["command"]:
            break
        time.sleep(0.02)
    return identity(process.pid) or {"pid": process.pid, "started": 0.0, "command": [], "folder": ""}


def wait_ready(name: str, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until `ready` says so. Raises Trouble when the process died first or the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if running(name) is None:
            raise _died(name)
        if time.monotonic() > deadline:
            raise config.Trouble(f"{name} does not answer after {seconds:.0f} s; its log is .local/logs/{name}.log.")
        time.sleep(0.15)


def _died(name: str) -> config.Trouble:
    """The sentence for a process that ended while it started, with the last line it wrote."""
    try:
        lines = (config.LOGS / f"{name}.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    last = lines[-1] if lines else "it wrote nothing"
    return config.Trouble(f"{name} ended while starting: {last} (more in .local/logs/{name}.log).")
