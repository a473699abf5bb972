"""Measure this repository against Terraform, stock Ansible and bare boto3. `python -m bench`, or `make bench`.

Each side has an AWS of its own, so that they take turns step by step; what is compared are neighbours of one round.
docs/benchmarks.md and its plot are written only by a whole run of at least five rounds, on a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import figures, machine, report, sides, up, waits
from bench.figures import Step

THREADS = 8
PENDING_SECONDS = 60


class Clouds(NamedTuple):
    """The AWS of each side."""

    terraform: sides.Cloud
    ours: sides.Cloud
    ten: sides.Cloud


class Run:
    """The rounds of one run of the bench."""

    def __init__(self, folder: Path, clouds: Clouds, terraform: sides.Terraform | None, stock: bool, ten: bool) -> None:
        self.folder = folder
        self.clouds = clouds
        self.terraform = terraform
        self.stock = stock
        self.ten = ten
        self.inventory = sides.ten_inventory(folder / "ten-stacks")
        self.steps: list[Step] = []

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        print(
            f"{step.round:5} {step.side:9} {step.step:9} {step.wall:7.1f} s {step.cpu:7.1f} CPU s "
            f"{step.calls:5} calls {step.others:5.0%} others",
            flush=True,
        )

    def _turn(self, number: int, turns: Sequence[Callable[[], Step] | None]) -> None:
        """One step of each side, the other way round in every second round, each on a machine that is quiet."""
        there = [turn for turn in turns if turn]
        for turn in there if number % 2 else there[::-1]:
            machine.wait_until_quiet()
            self._note(turn())

    def _ours(self, number: int, step: str, command: list[str]) -> Callable[[], Step]:
        return lambda: sides.measure(self.clouds.ours, number, "ours", step, command)

    def _theirs(self, number: int, step: str) -> Callable[[], Step] | None:
        terraform = self.terraform
        return (lambda: terraform.run(number, step)) if terraform else None

    def _ten(self, number: int, step: str) -> Callable[[], Step] | None:
        command = sides.converge(self.inventory)
        return (lambda: sides.measure(self.clouds.ten, number, "ten", step, command)) if self.ten else None

    def _stock(self, number: int) -> Callable[[], Step] | None:
        run = sides.measure
        command = sides.converge()
        return (
            (lambda: run(self.clouds.ours, number, "stock", "noop", command, MLFLOW_FAST="0")) if self.stock else None
        )

    def _floor(self, number: int, step: str, record: Path, threads: int) -> Callable[[], Step]:
        command = [sys.executable, "-m", "bench.floor", str(record), str(threads)]
        return lambda: sides.measure(self.clouds.ours, number, "floor", step, command)

    def round(self, number: int) -> None:
        """All steps of all sides once, from nothing to nothing."""
        for cloud in (self.clouds.ours, self.clouds.ten):
            cloud.reset()
        if self.terraform:
            self.terraform.forget()
        self._turn(
            number,
            [
                self._theirs(number, "apply"),
                self._ours(number, "converge", sides.converge()),
                self._ten(number, "converge"),
            ],
        )
        known = len(self.clouds.ours.records())
        self._turn(
            number,
            [
                self._theirs(number, "noop"),
                self._ours(number, "noop", sides.converge()),
                self._ten(number, "noop"),
            ],
        )
        record = self.folder / "noop.record"
        record.write_text("\n".join(self.clouds.ours.records()[known:]))
        self._turn(
            number,
            [
                self._ours(number, "again", sides.converge()),
                self._ours(number, "full", sides.every_task()),
                self._floor(number, "noop", record, 1),
                self._floor(number, "threads", record, THREADS),
                self._stock(number),
            ],
        )
        self._turn(number, [self._theirs(number, "destroy"), self._ours(number, "destroy", sides.destroy())])


def look_for_early_waits(folder: Path) -> list[str]:
    """Converge once in an AWS where things take their time; what was begun too late."""
    with sides.Cloud(folder, pending=PENDING_SECONDS) as cloud:
        sides.measure(cloud, 1, "ours", "waits", sides.converge())
        return waits.early(waits.parse(cloud.calls()))


def measure_all(chosen: argparse.Namespace, folder: Path) -> report.Results:
    """Run what was asked for, and keep the figures after each round where that was asked for too."""
    reason = sides.why_no_terraform(chosen.yardstick)
    if reason:
        print(f"No Terraform: {reason}. Stock Ansible and the calls by boto3 stand in for it.", flush=True)
    about = {**machine.description(), "latency": f"{chosen.latency:g} ms for each call", "Terraform": reason or "none"}
    early = look_for_early_waits(folder / "waits")
    results = report.Results(time.strftime("%Y-%m-%d"), about, 0, [], early)
    with contextlib.ExitStack() as stack:
        clouds = Clouds(
            *(stack.enter_context(sides.Cloud(folder / name, chosen.latency)) for name in ("terraform", "ours", "ten"))
        )
        stack.callback(sides.remove_outputs)
        terraform = None
        if not reason:
            terraform = sides.Terraform(chosen.yardstick, folder / "tf", clouds.terraform)
            terraform.run(0, "init")
            about["Terraform"] = terraform.version
        run = Run(folder, clouds, terraform, not chosen.no_stock, not chosen.no_ten)
        for number in range(1, chosen.rounds + 1):
            run.round(number)
            results = results._replace(rounds=number, steps=list(run.steps))
            keep(results, chosen.save)
    if chosen.up:
        results = results._replace(steps=[*results.steps, *up.second(folder / "up", chosen.rounds)])
        keep(results, chosen.save)
    return results


def keep(results: report.Results, path: Path | None) -> None:
    """Write the single figures to `path`, if there is one."""
    if path:
        path.write_text(json.dumps(results._asdict()))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("-n", "--rounds", type=int, default=5, help="rounds; fewer than 5 write no document")
    parser.add_argument("-l", "--latency", type=float, default=0, metavar="MS", help="what each AWS call waits")
    parser.add_argument("--up", action="store_true", help="also a second `make up`, in a copy of this checkout")
    parser.add_argument("--no-stock", action="store_true", help="leave out stock Ansible, which is slow")
    parser.add_argument("--no-ten", action="store_true", help="leave out the ten stacks")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the single figures")
    parser.add_argument("--load", type=Path, metavar="FILE", nargs="+", help="measure nothing, report kept figures")
    default = Path(os.environ.get("YARDSTICK") or sides.ROOT.parent / "shared" / "yardstick" / "tf")
    parser.add_argument("--yardstick", type=Path, default=default, metavar="FOLDER", help="the stack in Terraform")
    return parser.parse_args()


def conclude(results: report.Results, chosen: argparse.Namespace) -> int:
    """Print the goals, and write the document of a whole run; 1 when the machine was too noisy to tell."""
    complaints = figures.noise(results.steps)
    if complaints:
        print("", *complaints, "The machine is too noisy to compare; nothing is written.", sep="\n")
        return 1
    print("", figures.table(figures.goals(results.steps, results.early)), sep="\n")
    if results.rounds < figures.FEWEST_ROUNDS or chosen.no_stock or chosen.no_ten:
        print("\nNot a whole run of at least five rounds: docs/benchmarks.md stays as it is.")
        return 0
    for path in report.write(results, sides.ROOT / "docs"):
        print(f"written: {path.relative_to(sides.ROOT)}")
    return 0


def main() -> int:
    """Measure and report; 1 when nothing can be told, 2 when something did not run."""
    chosen = arguments()
    if chosen.load:
        return conclude(report.load(chosen.load), chosen)
    if sys.platform != "linux":
        print("The bench counts the CPU of all descendants, which only Linux can.", file=sys.stderr)
        return 2
    # A terminated bench takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    taken = machine.wait_until_quiet()
    if taken > figures.OTHERS_MOST:
        print(
            f"Others take {taken:.0%} of this machine, {figures.OTHERS_MOST:.0%} is the most: nothing can be told now.",
            file=sys.stderr,
        )
        return 1
    folder = sides.scratch()
    try:
        results = measure_all(chosen, folder)
    except sides.Failed as failure:
        print(f"{failure}\nThe logs stay in {folder}.", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failure:
        print(f"{failure}\n{failure.stderr or ''}", file=sys.stderr)
        return 2
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
    return conclude(results, chosen)


if __name__ == "__main__":
    sys.exit(main())
