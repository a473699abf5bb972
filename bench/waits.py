"""Reads from the order of calls whether a run waited while it still had something to do.

The log is the one that bench.moto_server writes with --pending: "service action", the seconds since its start, and the
kind of resource that the call was told to be pending, with tabs between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Nobody who has something to do is silent for so long; a pause between two polls is longer.
SILENCE_SECONDS = 4.0
# How many calls before and after a silence may belong to one look at what is pending.
LOOK = 6
CHANGES = ("Create", "Put", "Register", "Run", "Allocate", "Request", "Start")
# Whose changes may come after a wait for that kind: the service and what follows it needs all of it.
LAST = ("ecs", "application-autoscaling", "ssm")
MAY_FOLLOW: dict[str, tuple[str, ...]] = {
    "DBInstance": LAST,
    "FakeLoadBalancer": LAST,
    # The ways out through the gateway.
    "NatGateway": (*LAST, "ec2 CreateRoute", "ec2 CreateVpcEndpoint"),
}


class Call(NamedTuple):
    """One line of the log."""

    name: str  # "service action"
    seconds: float
    pending: str  # the kind that was pending, or ""

    def changes(self) -> bool:
        """Whether the call makes something."""
        service, _, action = self.name.partition(" ")
        return action.startswith((*CHANGES, "PUT") if service == "s3" else CHANGES)


class Wait(NamedTuple):
    """A silence between two polls of the same thing."""

    kind: str
    call: str
    at: int  # index of the poll after the silence


def parse(lines: Sequence[str]) -> list[Call]:
    """The calls of a log; ValueError for one that was written without --pending."""
    calls = []
    for line in lines:
        name, seconds, pending = line.rstrip("\n").split("\t")
        calls.append(Call(name, float(seconds), pending))
    return calls


def waits(calls: Sequence[Call]) -> Iterator[Wait]:
    """Each silence in which the run did nothing but wait for what it then asked for again."""
    for index in range(1, len(calls)):
        if calls[index].seconds - calls[index - 1].seconds < SILENCE_SECONDS:
            continue
        before = {call.name: call.pending for call in calls[max(0, index - LOOK) : index] if call.pending}
        for call in calls[index : index + LOOK]:
            if call.name in before:
                yield Wait(before[call.name], call.name, index)
                break


def early(calls: Sequence[Call]) -> list[str]:
    """What was begun only after a wait that it does not need; one sentence for each wait and call."""
    found: dict[str, None] = {}
    for wait in waits(calls):
        allowed = MAY_FOLLOW[wait.kind]
        for call in calls[wait.at :]:
            if call.changes() and not call.name.startswith(allowed):
                found[f"{call.name} came after the wait in which {wait.call} saw a pending {wait.kind}"] = None
    return list(found)
