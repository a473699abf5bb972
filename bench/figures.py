"""From measured steps to medians, ratios, and whether the goals are met. No measuring here, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import NamedTuple

# Above either, a difference says more about the machine than about the sides.
OTHERS_MOST = 0.10
SPREAD_MOST = 0.25
FEWEST_ROUNDS = 5

Key = tuple[str, str]  # (side, step)


class Step(NamedTuple):
    """One measured step of one round."""

    round: int
    side: str  # terraform, ours, stock, floor, ten, up
    step: str
    wall: float  # seconds
    cpu: float  # seconds, of the side with all its descendants
    server: float  # CPU seconds of the AWS that answered
    calls: int
    others: float  # share of the machine that neither side nor AWS took, 0 to 1

    @property
    def key(self) -> Key:
        return self.side, self.step


class Goal(NamedTuple):
    """One row of the table of goals."""

    measure: str
    goal: str
    value: float | None  # None where it was not measured
    text: str  # the value as it is shown, or why there is none
    most: float | None = None  # the value that is still met; None where nothing is promised

    @property
    def met(self) -> str:
        if self.value is None or self.most is None:
            return ""
        return "met" if self.value <= self.most else "not met"


def of(steps: Sequence[Step], key: Key) -> list[Step]:
    """The steps of one kind, by round."""
    return sorted((step for step in steps if step.key == key), key=lambda step: step.round)


def ratios(steps: Sequence[Step], ours: Key, theirs: Key, what: Callable[[Step], float]) -> list[float]:
    """`what` of ours by that of theirs for each round that has both."""
    other = {step.round: what(step) for step in of(steps, theirs)}
    return [what(step) / other[step.round] for step in of(steps, ours) if other.get(step.round)]


def spread(values: Sequence[float]) -> float:
    """The distance of the quartiles by the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


def wall(step: Step) -> float:
    """Wall seconds."""
    return step.wall


def cpu(step: Step) -> float:
    """CPU seconds."""
    return step.cpu


class Comparison(NamedTuple):
    """What a ratio is made of."""

    measure: str
    ours: Key
    theirs: Key
    what: Callable[[Step], float]
    most: float | None


NOOP, TERRAFORM_NOOP = ("ours", "noop"), ("terraform", "noop")
COMPARISONS = (
    Comparison("no-op `site.yml`, wall, against Terraform's no-op apply", NOOP, TERRAFORM_NOOP, wall, 1.0),
    Comparison("no-op `site.yml`, CPU, against Terraform's no-op apply", NOOP, TERRAFORM_NOOP, cpu, 1.0),
    Comparison(
        "first converge, wall, against Terraform's apply", ("ours", "converge"), ("terraform", "apply"), wall, 0.5
    ),
    Comparison("`destroy`, wall, against Terraform's", ("ours", "destroy"), ("terraform", "destroy"), wall, 0.5),
    Comparison(
        "ten stacks in one run against one stack, first converge, wall",
        ("ten", "converge"),
        ("ours", "converge"),
        wall,
        5.0,
    ),
    Comparison("ten stacks in one run against one stack, no-op, wall", ("ten", "noop"), NOOP, wall, 5.0),
)
# What stands in for Terraform where there is none; and what is of interest anyway.
STAND_INS = (
    Comparison("no-op `site.yml`, wall, against stock Ansible", NOOP, ("stock", "noop"), wall, None),
    Comparison("no-op `site.yml`, CPU, against stock Ansible", NOOP, ("stock", "noop"), cpu, None),
    Comparison("no-op `site.yml`, wall, against the same calls by boto3", NOOP, ("floor", "noop"), wall, None),
    Comparison("no-op `site.yml`, CPU, against the same calls by boto3", NOOP, ("floor", "noop"), cpu, None),
)
UP_MOST_SECONDS = 15.0


def goal_of(steps: Sequence[Step], comparison: Comparison) -> Goal:
    """The row of a ratio."""
    goal = "" if comparison.most is None else f"≤ {comparison.most:g}"
    values = ratios(steps, comparison.ours, comparison.theirs, comparison.what)
    if not values:
        absent = comparison.theirs if not of(steps, comparison.theirs) else comparison.ours
        return Goal(comparison.measure, goal, None, f"not measured: no {' '.join(absent)} here", comparison.most)
    middle = median(values)
    text = f"{middle:.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)} rounds)"
    return Goal(comparison.measure, goal, middle, text, comparison.most)


def goal_of_calls(steps: Sequence[Step]) -> Goal:
    """The row of the calls of a no-op run; the worst of ours against the best of theirs."""
    measure = "AWS calls of a no-op run against Terraform's"
    ours, theirs = of(steps, NOOP), of(steps, TERRAFORM_NOOP)
    if not ours or not theirs:
        shown = f"{max(step.calls for step in ours)} calls, and " if ours else ""
        return Goal(measure, "≤ 1", None, f"{shown}not compared: no {'terraform' if ours else 'ours'} noop here", 1.0)
    most, least = max(step.calls for step in ours), min(step.calls for step in theirs)
    return Goal(measure, "≤ 1", most / least, f"{most / least:.2f} ({most} against {least})", 1.0)


def goal_of_up(steps: Sequence[Step]) -> Goal:
    """The row of a second `make up`."""
    measure = "second `make up` with nothing changed, until the URL is printed"
    values = [step.wall for step in of(steps, ("up", "second"))]
    if not values:
        return Goal(measure, "≤ 15 s", None, "not measured: asked for with --up", UP_MOST_SECONDS)
    text = f"{median(values):.1f} s ({min(values):.1f} to {max(values):.1f}, {len(values)} runs)"
    return Goal(measure, "≤ 15 s", median(values), text, UP_MOST_SECONDS)


def goal_of_waits(sentences: Sequence[str] | None) -> Goal:
    """The row of the early waits; None when they were not looked for."""
    measure = "blocking waits that are not on the longest chain (database → service)"
    if sentences is None:
        return Goal(measure, "0", None, "not measured", 0.0)
    return Goal(measure, "0", float(len(sentences)), "; ".join([str(len(sentences)), *sentences[:3]]), 0.0)


def goals(steps: Sequence[Step], early: Sequence[str] | None) -> list[Goal]:
    """The table of goals, and below it what is promised to nobody."""
    rows = [goal_of(steps, comparison) for comparison in COMPARISONS]
    rows.insert(3, goal_of_calls(steps))
    return [*rows, goal_of_up(steps), goal_of_waits(early), *(goal_of(steps, one) for one in STAND_INS)]


def noise(steps: Sequence[Step]) -> list[str]:
    """Why nothing can be told from these steps; each a sentence with the figure and the threshold."""
    complaints = []
    for key in dict.fromkeys(step.key for step in steps):
        share = median(step.others for step in of(steps, key))
        if share > OTHERS_MOST:
            complaints.append(
                f"During {' '.join(key)} others took {share:.0%} of the machine, {OTHERS_MOST:.0%} is the most."
            )
    for comparison in COMPARISONS:
        wide = spread(ratios(steps, comparison.ours, comparison.theirs, comparison.what))
        if wide > SPREAD_MOST:
            complaints.append(
                f"The quartiles of '{comparison.measure}' are {wide:.0%} of the median apart, "
                f"{SPREAD_MOST:.0%} is the most."
            )
    return complaints


def table(rows: Sequence[Goal]) -> str:
    """The goals as Markdown."""
    lines = ["| measure | goal | measured | |", "|---|---|---|---|"]
    lines += [f"| {row.measure} | {row.goal} | {row.text} | {row.met if row.goal else ''} |" for row in rows]
    return "\n".join(lines)
