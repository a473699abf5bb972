"""Runs of site.yml with a configuration, on emulators that are made for them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import sides
from tests import fake_engine
from tests.paths import account, values, walk
from tests.paths.account import Account
from tests.paths.values import Config

# Questions that the emulator has no answer to; one more fails, since what is not read is not compared.
UNREAD = frozenset(("logs get_data_protection_policy",))
Outcome = Account | sides.Failed


@contextmanager
def engine() -> Iterator[Path]:
    """A folder for all that the runs write, with a stand-in for docker on the path."""
    folder = Path(tempfile.mkdtemp(prefix="paths-"))
    path = os.environ["PATH"]
    (folder / "bin").mkdir()
    fake_engine.Fake(folder / "bin", "docker", "Docker version 28.2.2", fake_engine.PYTHON)
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{path}"
    try:
        yield folder
    finally:
        os.environ["PATH"] = path
        sides.remove_outputs()
        shutil.rmtree(folder, ignore_errors=True)


def converge(cloud: sides.Cloud, config: Mapping[str, Any], step: str = "converge") -> str:
    """Run site.yml with `config`; its output. Raises sides.Failed."""
    number = len(list(cloud.folder.glob("*.log"))) + 1
    file = cloud.folder / f"{number}.json"
    file.write_text(json.dumps(dict(config) | with_certificate(cloud, config)))
    sides.measure(cloud, number, "paths", step, [*sides.converge(), "-e", f"@{file}"])
    return (cloud.folder / f"{number}-paths-{step}.log").read_text()


def with_certificate(cloud: sides.Cloud, config: Mapping[str, Any]) -> Config:
    """The ARN that a certificate of values.CERTIFICATES has on this emulator, which has none but those of its own."""
    made = cloud.folder / "certificates"
    if not made.exists():
        acm = account.clients(cloud.url, sides.AWS)["acm"]
        arns = {"": ""}
        # All of them, so that every account has the same.
        for number, wanted in enumerate(values.CERTIFICATES):
            names = [f"certificate-{number}.example.org", "*.example.org", "*.example.com"]
            answer = acm.request_certificate(DomainName=names[0], SubjectAlternativeNames=names)
            arns[wanted] = answer["CertificateArn"]
        made.write_text(json.dumps(arns))
    arns = json.loads(made.read_text())
    return {"mlflow_certificate_arn": arns[config["mlflow_certificate_arn"]]}


def read(cloud: sides.Cloud) -> Account:
    """The account, of which all must be read."""
    found, unread = account.read(account.clients(cloud.url, sides.AWS))
    assert unread <= UNREAD, f"not read: {unread - UNREAD}"
    return found


def outcome(cloud: sides.Cloud, config: Mapping[str, Any]) -> Outcome:
    """The account after a run, or why there is none."""
    try:
        converge(cloud, config)
    except sides.Failed as failure:
        return failure
    return read(cloud)


@dataclass
class Walked:
    """A path, the account after each of its configurations, and a fresh account of each."""

    family: Config
    path: list[Config]
    after: list[Outcome] = field(default_factory=list)
    fresh: list[Outcome] = field(default_factory=list)
    # The path that each account has behind it: it begins anew after a failed run.
    behind: list[list[Config]] = field(default_factory=list)


def walk_all(folder: Path, paths: Sequence[Walked]) -> None:
    """Fill in all of `paths`: the walks in one thread, the fresh accounts in another."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        fresh = pool.submit(lambda: [make_fresh(folder / f"fresh-{n}", each) for n, each in enumerate(paths)])
        walks = pool.submit(lambda: [walk_one(folder / f"walk-{n}", each) for n, each in enumerate(paths)])
        fresh.result()
        walks.result()


def make_fresh(folder: Path, walked: Walked) -> None:
    """An emulator of its own for each configuration but the first, from which the walk itself is fresh."""
    walked.fresh = [{}]
    for number, config in enumerate(walked.path[1:], 1):
        with sides.Cloud(folder / str(number)) as cloud:
            walked.fresh.append(outcome(cloud, config))


def walk_one(folder: Path, walked: Walked) -> None:
    """One emulator for the path; a new one after a run that failed, so that the rest is tried as well."""
    left = list(walked.path)
    part = 0
    while left:
        part += 1
        behind: list[Config] = []
        with sides.Cloud(folder / str(part)) as cloud:
            if walked.after:
                # The step that failed is not taken again; its configuration is where the next one begins.
                outcome(cloud, walked.path[len(walked.after) - 1])
                behind.append(walked.path[len(walked.after) - 1])
            while left:
                config = left.pop(0)
                behind.append(config)
                walked.after.append(outcome(cloud, config))
                walked.behind.append(list(behind))
                if isinstance(walked.after[-1], sides.Failed):
                    break


def changed(family: Config, before: Config, after: Config) -> list[str]:
    """What a step changes, a line for each setting."""
    return [
        f"  {name}: {account.show(before[name])} -> {account.show(after[name])}"
        for name in walk.walked(family)
        if before[name] != after[name]
    ]
