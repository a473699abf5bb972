"""Every case of tests/faults/cases.py: `make faults`, or `python -m tests.faults --only PATTERN --resume`.

It takes hours. Each case is printed with its verdict, and kept in FILE, so that the next run can leave out what was
right.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
import time
from collections import Counter
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


def attempt(storage: str, chosen: argparse.Namespace, done: set[str], tried: Counter[str], wrong: Counter[str]) -> None:
    """Try the cases of one storage."""
    with runs.bench(f"mlflow_storage={storage}", *cases.SETTINGS) as bench, chosen.file.open("a") as kept:
        trial = cases.Trial(bench)
        trial.undisturbed(*cases.SCENARIOS)
        for case in trial.cases(storage, cases.SCENARIOS, tuple(chosen.kind), chosen.every):
            if str(case) in done or not fnmatch.fnmatchcase(str(case), chosen.only):
                continue
            begin = time.monotonic()
            try:
                sentences = trial.check(case)
            except AssertionError as error:
                sentences = [str(error)]
            tried[case.kind] += 1
            wrong[case.kind] += bool(sentences)
            print(f"{case}: {'wrong' if sentences else 'right'} after {time.monotonic() - begin:.0f} s", flush=True)
            print(*(f"  {sentence}" for sentence in sentences), sep="\n", end="\n" if sentences else "", flush=True)
            kept.write(json.dumps({"case": str(case), "wrong": sentences}) + "\n")
            kept.flush()


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
    done = right(chosen.file) if chosen.resume else set()
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for storage in chosen.storage or cases.STORAGES:
        attempt(storage, chosen, done, tried, wrong)
    for kind in chosen.kind:
        print(f"{kind}: {tried[kind]} tried, {wrong[kind]} wrong")
    if done:
        print(f"{len(done)} were right before and left out")
    return min(1, wrong.total())


if __name__ == "__main__":
    sys.exit(main())
