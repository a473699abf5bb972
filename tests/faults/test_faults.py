"""A sample of the cases in cases.py, in which one run meets as many faults as it makes calls; `make faults` has all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from bench.faults import Fault
from tests.faults import cases, runs
from tests.faults.conftest import TRIED, tried

MIDDLE = "elasticloadbalancing CreateLoadBalancer"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cases.Trial]:
    """A stack that was converged once."""
    with runs.bench("mlflow_storage=rds", *cases.SETTINGS, folder=tmp_path_factory.mktemp("aws")) as bench:
        made = cases.Trial(bench)
        made.undisturbed()
        yield made


def every(kind: str) -> Fault:
    """Each distinct request of a run meets the fault once."""
    return Fault("*", kind, each=True)


def expect_as_after(trial: cases.Trial, scenario: str) -> None:
    """Fail with a line for each field that differs from the account after an undisturbed run."""
    wrong = trial.problems(scenario)
    assert not wrong, "\n".join(["", *wrong])


def test_a_destroy_in_which_every_answer_gets_lost_leaves_nothing(trial: cases.Trial) -> None:
    end = trial.run("destroy", every("lost"))
    tried("destroy", end.hits)
    assert not end.code, end.failures or end.output[-2000:]
    assert not end.failures, end.failures
    assert len(end.hits) > 30
    expect_as_after(trial, "nothing")
    trial.accounts["destroy"] = trial.accounts["nothing"]


@pytest.mark.parametrize("kind", ["lost", "throttled"])
def test_a_first_converge_in_which_every_call_meets_the_fault_once(trial: cases.Trial, kind: str) -> None:
    trial.begin("first")
    end = trial.run("first", every(kind))
    tried("first converge", end.hits)
    assert not end.code, end.failures or end.output[-2000:]
    assert not end.failures, end.failures
    missed = Counter(trial.calls["first"]) - Counter(hit.partition(": ")[2] for hit in end.hits)
    # Two requests that say the same count as one.
    assert not set(missed) - {hit.partition(": ")[2] for hit in end.hits}
    expect_as_after(trial, "first")


def test_a_kill_in_the_middle_is_put_right_by_the_next_run(trial: cases.Trial) -> None:
    trial.begin("first")
    wrong = trial.after("first", Fault(MIDDLE, "killed after"))
    tried("first converge", [f"killed after: {MIDDLE}"])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("other", ["first", "destroy"])
def test_of_a_converge_and_another_run_at_once_one_is_refused(trial: cases.Trial, other: str) -> None:
    # What is there before and after a stack; whoever runs this test alone has destroyed none.
    trial.accounts.setdefault("destroy", trial.accounts["nothing"])
    wrong = trial.together(other)
    TRIED.append(f"faults: a converge beside a {'destroy' if other == 'destroy' else 'first converge'}")
    assert not wrong, "\n".join(wrong)
