"""The figures of logins: what the table says of what was measured."""

from __future__ import annotations

from bench import logins
from bench.logins import Cost

ABOUT = {"processor": "2 cores", "memory": "8 GiB", "system": "Linux", "busy": "1%"}


def test_the_table_has_a_line_for_each_side_and_their_ratio() -> None:
    found = {name: {"a": Cost(20.0, 40.0), "b": Cost(40.0, 10.0)} for name in logins.SIDES}
    found[logins.DEFAULT] = {"a": Cost(100.0, 4.0), "b": Cost(500.0, 1.0)}
    text = logins.table(found, 80, ABOUT)
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == len(logins.SIDES) + 1
    # 30 ms are 33.3 requests by one core, and 1/40 + 1/10 seconds are two requests.
    assert f"| {logins.REMEMBERED} | 20 ms | 40 ms | 16.0 | 33.3 |" in lines
    assert f"| {logins.DEFAULT} | 100 ms | 500 ms | 1.6 | 3.3 |" in lines
    assert "takes 1/10.0 of the CPU" in text


def test_the_two_that_are_compared_are_the_defaults_of_both() -> None:
    assert logins.SIDES[logins.REMEMBERED] == logins.Side(True)
    assert logins.SIDES[logins.DEFAULT] == logins.Side(False)
