"""Every case of tests/faults/cases.py: `make faults`, or `python -m tests.faults --only PATTERN --resume`.

It takes hours. Each case is printed with its verdict, and kept in FILE, so that the next run can leave out what was
right.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults import cases, runs

KEPT = Path(tempfile.gettempdir()) / "mlflow-faults.jsonl"


def right(path: Path) -> set[str]:
    """The cases that were right when they were tried last."""
    verdicts: dict[str, bool] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        verdicts[entry["case"]] = not entry["wrong"]
    return {case for case, good in verdicts.items() if good}


class Tally:
    """What was tried, of which kind, and how often it was wrong; each case is printed and kept in a file."""

    def __init__(self, file: Path, only: str, done: set[str]) -> None:
        self.file = file
        self.only = only
        self.done = done
        self.tried: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def attempt(self, case: str, kind: str, check: Callable[[], list[str]]) -> None:
        """Try a case, unless it was not asked for or was right before."""
        if case in self.done or not fnmatch.fnmatchcase(case, self.only):
            return
        begin = time.monotonic()
        try:
            sentences = check()
        except AssertionError as error:
            sentences = [str(error)]
        self.tried[kind] += 1
        self.wrong[kind] += bool(sentences)
        print(f"{case}: {'wrong' if sentences else 'right'} after {time.monotonic() - begin:.0f} s", flush=True)
        for sentence in sentences:
            print(f"  {sentence}", flush=True)
        with self.file.open("a") as kept:
            kept.write(json.dumps({"case": case, "wrong": sentences}) + "\n")


def attempt(storage: str, chosen: argparse.Namespace, tally: Tally) -> None:
    """Try the cases of one storage."""
    with runs.bench(f"mlflow_storage={storage}", *cases.STORAGES[storage], *cases.SETTINGS) as bench:
        trial = cases.Trial(bench)
        trial.undisturbed(*cases.SCENARIOS)
        for case in trial.cases(storage, cases.SCENARIOS, tuple(chosen.kind), chosen.every):
            tally.attempt(str(case), case.kind, functools.partial(trial.check, case))
        for other in ("first", "destroy"):
            name = f"together {storage}: a converge beside a {other.replace('first', 'first converge')}"
            tally.attempt(name, "together", functools.partial(trial.together, other))


def main() -> int:
    """Try them; the number of cases that were wrong, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", default="*", help='cases, with * and ?, such as "first rds: ec2 CreateVpc*"')
    parser.add_argument("--storage", action="append", choices=cases.STORAGES)
    parser.add_argument("--kind", action="append", choices=cases.KINDS)
    parser.add_argument("--every", action="store_true", help="every call, and not the first of each name only")
    parser.add_argument("--resume", action="store_true", help="leave out what was right before")
    parser.add_argument("--file", type=Path, default=KEPT)
    chosen = parser.parse_args()
    chosen.kind = chosen.kind or list(cases.KINDS)
    tally = Tally(chosen.file, chosen.only, right(chosen.file) if chosen.resume else set())
    for storage in chosen.storage or cases.STORAGES:
        attempt(storage, chosen, tally)
    for kind, times in sorted(tally.tried.items()):
        print(f"{kind}: {times} tried, {tally.wrong[kind]} wrong")
    if tally.done:
        print(f"{len(tally.done)} were right before and left out")
    return min(1, tally.wrong.total())


if __name__ == "__main__":
    sys.exit(main())
