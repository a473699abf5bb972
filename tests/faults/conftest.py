"""What was tried, and how often, at the end of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

TRIED: list[str] = []


def tried(scenario: str, hits: Sequence[str]) -> None:
    """Note the faults that happened in a run, each as "kind: service Operation"."""
    for kind, calls in Counter(hit.partition(": ")[0] for hit in hits).items():
        operations = {hit for hit in hits if hit.startswith(f"{kind}: ")}
        TRIED.append(f"faults: {scenario}: {calls} calls of {len(operations)} operations {kind}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the lines of TRIED."""
    for line in TRIED:
        terminalreporter.write_line(line)
