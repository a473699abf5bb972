"""`status`, `env` and `logs`: looking at what runs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import botocore.exceptions

from local import aws, config, emulators, processes, up


def current() -> dict[str, Any]:
    """The stack brought up last. Raises Trouble where there is none, or nothing runs."""
    found = config.read_json(config.CURRENT)
    if not found or processes.running(emulators.AWS) is None:
        raise config.Trouble("Nothing is up here: run `make up`.")
    return found


def env() -> None:
    """Print what another shell needs, as export lines."""
    for name, value in up.admin_environment(current(), os.environ).items():
        config.say(f"export {name}={shlex.quote(value)}")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, columns aligned."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _cut(text: str, size: int = 100) -> str:
    return text if len(text) <= size else text[:size] + " ... (.local/logs/agent.log)"


def service_rows(services: Sequence[Mapping[str, Any]], now: float) -> list[list[str]]:
    """A line per task, or one for a service without any."""
    rows = []
    for service in services:
        note = f"failed {service['failures']} times, last: {_cut(service['last_exit'])}" if service["failures"] else ""
        for task in service["tasks"]:
            state = f"{task['state']}, {_age(now - task['started'])}"
            rows.append([service["service"], task["revision"], f"task {task['id'][:8]}", state, task["where"], note])
        if len(service["tasks"]) < service["desired"]:
            wait = service["retry_at"] - now
            state = f"restarting in {wait:.0f} s" if service["failures"] and wait > 0 else "starting"
            rows.append([service["service"], service["revision"], "no task", state, "", note])
        elif not service["tasks"]:
            rows.append([service["service"], service["revision"], "no task", "wanted: 0", "", note])
    return rows


def status() -> None:
    """Print what runs."""
    names = (emulators.AWS, emulators.SCALING, up.AGENT)
    records = {name: processes.running(name) for name in names}
    state = config.read_json(config.RUN / "agent.json") if records[up.AGENT] else {}
    now = time.time()
    rows = [["WHAT", "WHERE", "STATE"]]
    for name, record in records.items():
        age = f"runs, {_age(now - record['started'])}" if record else "stopped"
        rows.append([name, f"process {record['pid']}" if record else "-", age])
    for one in state.get("databases", []):
        rows.append([f"postgresql {one['name']}", one["where"] or "-", f"{one['state']}, port {one['port']}"])
    config.say(table(rows))
    if state.get("services"):
        rows = [["SERVICE", "REVISION", "TASK", "STATE", "WHERE", ""], *service_rows(state["services"], now)]
        config.say("\n" + table(rows))
    if state.get("fronts"):
        fronts = [[one["stack"], one["balancer"], one["host"], one["url"] or "-"] for one in state["fronts"]]
        config.say("\n" + table([["STACK", "LOAD BALANCER", "NAME", "URL"], *fronts]))
    if state.get("error"):
        config.say(f"\nThe agent's last call failed: {state['error']}")


def logs() -> None:
    """Follow the server's log of the current stack until Ctrl-C."""
    group = f"/mlflow/{current()['stack']}"
    client = aws.client("logs")
    since = int((time.time() - 3600) * 1000)
    seen: set[str] = set()
    try:
        while True:
            try:
                since, seen = _print_new(client, group, since, seen)
            except botocore.exceptions.ClientError as error:
                if aws.code(error) != "ResourceNotFoundException":
                    raise config.Trouble(f"The log {group} cannot be read: {error}") from None
                raise config.Trouble(f"There is no log {group} yet: `make up` makes it.") from None
            except botocore.exceptions.BotoCoreError:
                raise config.Trouble("The local AWS does not answer any more: see `make status`.") from None
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _print_new(client: Any, group: str, since: int, seen: set[str]) -> tuple[int, set[str]]:
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
    events = sorted((event for page in pages for event in page["events"]), key=lambda event: event["timestamp"])
    for event in events:
        mark = _mark(event)
        if mark not in seen:
            at = time.strftime("%H:%M:%S", time.localtime(event["timestamp"] / 1000))
            config.say(f"{at} {event['logStreamName'].rpartition('/')[2][:8]} {event['message']}")
    if events:
        since = events[-1]["timestamp"]
        seen = {_mark(event) for event in events if event["timestamp"] == since}
    return since, seen


def _mark(event: Mapping[str, Any]) -> str:
    return str(event.get("eventId") or f"{event['timestamp']} {event['logStreamName']} {event['message']}")
