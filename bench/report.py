"""Writes docs/benchmarks.md and its plot from the results of a run of the bench."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import figures
from bench.figures import Key, Step

NAMES = {
    "terraform": "Terraform",
    "ours": "this repository",
    "stock": "stock Ansible",
    "floor": "boto3 alone",
    "ten": "ten stacks",
    "up": "make up",
}
STEPS = {
    ("ours", "again"): "no-op, once more",
    ("ours", "full"): "no-op, every task",
    ("floor", "threads"): "the no-op's calls, 8 threads",
    ("floor", "noop"): "the no-op's calls",
    ("up", "second"): "again",
}
WORDS = {"noop": "no-op", "converge": "first converge", "apply": "first apply"}
# What the plot shows: a heading, and the steps below it.
PLOT: tuple[tuple[str, tuple[Key, ...]], ...] = (
    ("Nothing to change", (("stock", "noop"), ("ours", "noop"), ("terraform", "noop"), ("floor", "noop"))),
    ("From nothing", (("ours", "converge"), ("terraform", "apply"))),
    ("To nothing", (("ours", "destroy"), ("terraform", "destroy"))),
)


class Results(NamedTuple):
    """What one run of the bench found."""

    date: str
    about: dict[str, str]  # the machine, for whoever reads the figures
    rounds: int
    steps: list[Step]
    early: list[str] | None  # the sentences of bench.waits.early


def load(paths: Sequence[Path]) -> Results:
    """The results that `--save` kept, of several runs on one machine as one; rounds are numbered on."""
    first: Results | None = None
    for path in paths:
        kept = json.loads(path.read_text())
        one = Results(**{**kept, "steps": [Step(*step) for step in kept["steps"]]})
        if first is None:
            first = one
            continue
        moved = [step._replace(round=step.round + first.rounds) for step in one.steps]
        first = first._replace(rounds=first.rounds + one.rounds, steps=[*first.steps, *moved], early=one.early)
    assert first is not None
    return first


def title(key: Key) -> str:
    """What a step is called."""
    side, step = key
    return f"{NAMES[side]}, {STEPS.get(key) or WORDS.get(step, step)}"


def of_all(values: Sequence[float], digits: int) -> str:
    """A median with the least and the most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def details(steps: Sequence[Step]) -> str:
    """All steps as Markdown."""
    lines = [
        "| step | rounds | wall s | CPU s | CPU s of the AWS | calls | others' share |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in sorted(dict.fromkeys(step.key for step in steps), key=order):
        some = figures.of(steps, key)
        calls = sorted({step.calls for step in some})
        shown = f"{calls[0]} to {calls[-1]}" if len(calls) > 1 else str(calls[0])
        measured = key[0] != "up"
        cells = [
            title(key),
            str(len(some)),
            of_all([step.wall for step in some], 1),
            of_all([step.cpu for step in some], 1) if measured else "",
            f"{median(step.server for step in some):.1f}" if measured else "",
            shown if measured else "",
            f"{median(step.others for step in some):.0%}" if measured else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def order(key: Key) -> tuple[int, int]:
    """Where a step stands in the table."""
    steps = ("apply", "converge", "noop", "again", "full", "threads", "destroy", "second")
    return list(NAMES).index(key[0]), steps.index(key[1])


ROW, BAR, LEFT, WIDTH, HEAD = 44, 14, 130, 560, 34
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .head { font-weight: 600 }
  .wall { fill: #0969da }
  .cpu { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .wall { fill: #4493f8 }
    .cpu { fill: #e3873c }
  }
"""


def plot(steps: Sequence[Step]) -> str:
    """Wall and CPU seconds of each side as bars, an SVG for a light and a dark page."""
    shown = [(heading, [key for key in keys if figures.of(steps, key)]) for heading, keys in PLOT]
    most = max(max(step.wall, step.cpu) for _, keys in shown for key in keys for step in figures.of(steps, key))
    parts, y = [], HEAD
    legend = (("wall", "wall seconds", LEFT), ("cpu", "CPU seconds, all processes", LEFT + 130))
    for kind, text, x in legend:
        parts.append(f'<rect class="{kind}" x="{x}" y="10" width="{BAR}" height="{BAR}"/>')
        parts.append(f'<text x="{x + BAR + 6}" y="22">{text}</text>')
    for heading, keys in shown:
        if not keys:
            continue
        parts.append(f'<text class="head" x="10" y="{y + 18}">{heading}</text>')
        y += HEAD
        for key in keys:
            parts.append(f'<text x="{LEFT - 10}" y="{y + BAR + 5}" text-anchor="end">{NAMES[key[0]]}</text>')
            whats: tuple[tuple[str, Callable[[Step], float]], ...] = (("wall", figures.wall), ("cpu", figures.cpu))
            for line, (kind, what) in enumerate(whats):
                value = median(what(step) for step in figures.of(steps, key))
                length, top = max(1.0, value / most * WIDTH), y + line * (BAR + 2)
                parts.append(f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}"/>')
                parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{value:.1f} s</text>')
            y += ROW
    width = LEFT + WIDTH + 70
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img" '
        f'aria-label="Wall and CPU seconds of each side">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def document(results: Results) -> str:
    """docs/benchmarks.md."""
    about = "\n".join(f"| {name} | {text} |" for name, text in results.about.items())
    return f"""# How fast it is

Written by `make bench` on {results.date}; do not edit it. {results.rounds} rounds on one machine. In each round the
sides take turns step by step, each against an AWS of its own (`bench/moto_server.py`), and a ratio is that of two
neighbours: the median of the rounds, with the least and the most.

{figures.table(figures.goals(results.steps, results.early))}

![Where the time goes](benchmarks.svg)

## What is compared

Terraform's side is a configuration of the same stack, which lies outside this repository: `bench/inventory` describes
as much of it as both have. Terraform sleeps for fixed times in its first apply and its destroy, which is most of them.
Stock Ansible is this repository with `MLFLOW_FAST=0`, which runs every task in Ansible's own way; `mlflow_full_run`
runs every task too, but warm. The floor is what `bench/floor.py` takes to send the calls of
our no-op run again, one after the other, with nothing but boto3.

CPU seconds are those of a side with all its descendants (`bench/cpu.py`); those of the emulated AWS are apart.
Nothing is compared, or written here, when others took more than {figures.OTHERS_MOST:.0%} of the machine during a step
(the median of the rounds), or when the quartiles of a goal's ratio lie more than {figures.SPREAD_MOST:.0%} of its
median apart.

The early waits are read from the order of calls of a first converge in an AWS whose NAT gateway, database and load
balancer take their time (`bench/waits.py`, `tests/speed`): what was begun only after a wait that it does not need.

## The figures

Medians, with the least and the most.

{details(results.steps)}

## The machine

| | |
|---|---|
{about}

## Again

`make bench`, or `.venv/bin/python -m bench --help` for fewer rounds and parts, and for a latency of the AWS.
`YARDSTICK=folder` says where the stack in Terraform lies, `YARDSTICK_PLUGINS=folder` where its provider. Without
Terraform, stock Ansible and the floor stand in for it.
"""


def write(results: Results, folder: Path) -> list[Path]:
    """Write the document and its plot; their paths."""
    text, picture = folder / "benchmarks.md", folder / "benchmarks.svg"
    text.write_text(document(results))
    picture.write_text(plot(results.steps))
    return [text, picture]
