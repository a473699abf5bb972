"""What was tried, and how often, at the end of every run."""

from __future__ import annotations

from collections import Counter
from typing import Any

TRIED: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the lines of TRIED, each once."""
    for line in Counter(TRIED):
        terminalreporter.write_line(line)
