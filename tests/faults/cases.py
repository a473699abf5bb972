"""Every fault of every changing call, each followed by what has to be true then.

A case is one scenario (a first converge, a changed setting, a destroy) of one storage, in which one call meets one
fault once. A run whose answer got lost, or that was throttled, has to end well by itself; one that was killed has to be
put right by an undisturbed run. Either way the account equals that of an undisturbed run, and destroy leaves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from bench import sides
from bench.faults import Fault
from tests.faults.runs import Bench, End, finish
from tests.paths import account

KINDS = ("lost", "throttled", "killed before", "killed after")
SCENARIOS = ("first", "change", "destroy")
# SQLite bears one task only.
STORAGES: dict[str, tuple[str, ...]] = {"rds": (), "efs": ("mlflow_capacity_min=1", "mlflow_capacity_max=1")}
# As much as one stack can have on an emulator that deploys nothing.
SETTINGS = ("mlflow_auth=basic", "mlflow_flow_logs=true", "mlflow_access_logs=true")
# What is made, changed and removed by a changed setting.
CHANGES = (
    "mlflow_egress=endpoints",
    "mlflow_flow_logs=false",
    "mlflow_access_logs=false",
    "mlflow_log_retention_days=7",
    "mlflow_size=medium",
    '{"mlflow_allowed_cidrs": ["198.51.100.0/24", "203.0.113.0/25"], "mlflow_tags": {"Team": "b"}}',
)


class Case(NamedTuple):
    """One fault: the scenario, the storage, "service Operation", the how manieth of that name, a kind of fault."""

    scenario: str
    storage: str
    call: str
    nth: int
    kind: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.scenario} {self.storage}: {self.call} {self.nth}, {self.kind}"


@dataclass
class Trial:
    """One storage's emulator, and the account as undisturbed runs leave it.

    A run that has to be undisturbed and fails raises AssertionError.
    """

    bench: Bench
    accounts: dict[str, account.Account] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def clients(self) -> dict[str, object]:
        """The second reader's."""
        return account.clients(self.bench.cloud.url, sides.AWS)

    def read(self) -> account.Account:
        """The account as it is."""
        return account.read(self.clients)[0]

    def undisturbed(self, *scenarios: str) -> None:
        """Know the calls of each scenario and the account after it."""
        self.bench.cloud.reset()
        self.accounts["nothing"] = self.read()
        self.keep("first", self.bench.converge())
        if "change" in scenarios:
            self.keep("change", self.bench.converge(*CHANGES))
        if "destroy" in scenarios:
            if "change" in scenarios:
                self.begin("destroy")
            self.keep("destroy", self.bench.destroy())

    def keep(self, scenario: str, end: End) -> None:
        """Remember what an undisturbed run did."""
        assert end.code == 0, f"an undisturbed {scenario} failed:\n{end.failures or end.output[-2000:]}"
        self.accounts[scenario], self.calls[scenario] = self.read(), end.calls

    def begin(self, scenario: str) -> None:
        """Bring the account to where the scenario begins."""
        self.bench.cloud.reset()
        if scenario != "first":
            end = self.bench.converge()
            assert end.code == 0, end.failures

    def run(self, scenario: str, *faults: Fault) -> End:
        """Run the scenario's playbook."""
        if scenario == "destroy":
            return self.bench.destroy(faults=faults)
        return self.bench.converge(*(CHANGES if scenario == "change" else ()), faults=faults)

    def problems(self, scenario: str) -> list[str]:
        """A sentence for each way in which the account is not as after an undisturbed run."""
        return account.differences(self.read(), self.accounts[scenario])

    def cases(self, storage: str, scenarios: tuple[str, ...], kinds: tuple[str, ...], every: bool) -> Iterator[Case]:
        """Every case: the first call of each name, or every call."""
        for scenario in scenarios:
            for call, times in Counter(self.calls[scenario]).items():
                for nth in range(1, times + 1 if every else 2):
                    yield from (Case(scenario, storage, call, nth, kind) for kind in kinds)

    def together(self, other: str) -> list[str]:
        """What is wrong after a converge beside another playbook of the same stack, and an undisturbed run of that."""
        self.begin(other)
        beside = self.bench.start(sides.destroy()) if other == "destroy" else self.bench.start(sides.converge())
        runs = [beside, self.bench.start(sides.converge(), *(CHANGES if other == "destroy" else ()))]
        ends = [(finish(process), log.read_text()) for process, log in runs]
        wrong = [f"a run beside another ended with {code}: {said[-600:]}" for code, said in ends if "Traceback" in said]
        done = [code for code, _ in ends].count(0)
        refused = [said for code, said in ends if code == 2 and "is being changed by" in said]
        if (done, len(refused)) != (1, 1):
            wrong.append(f"{done} of two runs did it, {len(refused)} were refused: {[said[-600:] for _, said in ends]}")
        end = self.run(other)
        if end.code:
            return [*wrong, f"the next run ended with {end.code}: {end.failures or end.output[-600:]}"]
        return [*wrong, *self.problems(other)]

    def check(self, case: Case) -> list[str]:
        """What is wrong after the fault, a sentence each; [] when all is right."""
        self.begin(case.scenario)
        return self.after(case.scenario, Fault(case.call, case.kind, nth=case.nth))

    def after(self, scenario: str, *faults: Fault) -> list[str]:
        """Run the scenario under `faults` and say what is wrong then."""
        end = self.run(scenario, *faults)
        if not end.hits:
            return [f"the fault did not happen; the run ended with {end.code}"]
        killed = any(fault.kind.startswith("killed") for fault in faults)
        if end.code != (-9 if killed else 0):
            return [f"the run ended with {end.code}: {end.failures or end.output[-600:]}"]
        if killed:
            end = self.run(scenario)
            if end.code:
                return [f"the next run ended with {end.code}: {end.failures or end.output[-600:]}"]
        wrong = self.problems(scenario)
        if scenario == "first" and not wrong and "destroy" in self.accounts:
            end = self.run("destroy")
            wrong = self.problems("destroy") if end.code == 0 else [f"destroy ended with {end.code}: {end.failures}"]
            wrong = [f"after destroy: {each}" for each in wrong]
        return wrong
