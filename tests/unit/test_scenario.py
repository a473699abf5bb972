"""The guard against molecule's silent greens."""

from __future__ import annotations

from typing import Any

import pytest

from tests import scenario

SEQUENCE = ["converge", "verify tests/standing", "side_effect", "verify tests/gone"]
GREEN = """
\x1b[36mINFO\x1b[0m \x1b[32msite\x1b[0m ➜ \x1b[33mconverge\x1b[0m: \x1b[32mExecuted: Successful\x1b[0m
60 passed in 3.1s
INFO site ➜ verify: Executed: Successful
INFO site ➜ side_effect: Executed: Successful
20 passed in 1.0s
INFO site ➜ verify: Executed: Successful
"""
RUNS = [{"run": 1, "check": True}, {"run": 2, "check": False}, {"run": 2, "check": False}, {"run": 3, "check": False}]


def test_all_steps_with_tests_are_right() -> None:
    assert scenario.complaints(GREEN, SEQUENCE, RUNS) == []


@pytest.mark.parametrize(
    ("output", "changes", "sentence"),
    [
        (GREEN.replace("60 passed in 3.1s\n", ""), RUNS, "[20] tests passed in 2 verifications"),
        (GREEN.replace("60 passed", "40 passed"), RUNS, "[40, 20] tests passed in 2 verifications"),
        (GREEN.replace("site ➜ side_effect: Executed: Successful", ""), RUNS, "The step 'side_effect' did not run"),
        (GREEN.replace("INFO site ➜ verify", "INFO other ➜ verify"), RUNS, "The step 'verify tests/standing' did not"),
        (GREEN.replace("side_effect: Executed: Successful", "side_effect: Executed: Missing"), RUNS, "'side_effect'"),
        (GREEN, [*RUNS, {"run": 4, "check": False}], "3 runs changed something; only converge and side_effect may."),
        (GREEN, [], "0 runs changed something"),
    ],
)
def test_a_green_that_is_not(output: str, changes: list[dict[str, Any]], sentence: str) -> None:
    assert any(sentence in one for one in scenario.complaints(output, SEQUENCE, changes))
