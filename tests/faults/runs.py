"""Runs of the playbooks under faults, and the account after them.

A `Bench` is one emulator and the settings of one storage. A run under faults never raises: it says how it ended.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench import sides
from bench.faults import Fault

RUN_SECONDS = 600
FAILURE = re.compile(r"^.*(?:fatal:|\[ERROR\]).*(?:\n.+)*", re.MULTILINE)


class End(NamedTuple):
    """How a run ended: exit status (negative for a signal), output, faults that happened, changing calls, seconds."""

    code: int
    output: str
    hits: list[str]
    calls: list[str]
    seconds: float

    @property
    def failures(self) -> str:
        """What Ansible says of each failure: the line, and those up to the next empty one."""
        return "\n".join(found[0][:1500] for found in FAILURE.finditer(self.output))


class Bench:
    """One emulator for runs of one stack."""

    def __init__(self, cloud: sides.Cloud, *settings: str) -> None:
        self.cloud = cloud
        self.settings = [word for setting in settings for word in ("-e", setting)]
        self.number = 0

    def start(self, command: Sequence[str], *extra: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a playbook in a session of its own; (process, file of its output)."""
        self.number += 1
        log = self.cloud.folder / f"run-{self.number}.log"
        words = [*command, *self.settings, *(word for setting in extra for word in ("-e", setting))]
        with log.open("w") as output:
            process = subprocess.Popen(
                words,
                cwd=sides.ROOT,
                env=self.cloud.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, log

    def run(self, command: Sequence[str], *extra: str, faults: Sequence[Fault] = ()) -> End:
        """Run a playbook to its end, with `extra` settings, under `faults`; those that kill, kill it."""
        armed = [fault for fault in faults if not fault.kind.startswith("killed")]
        self.cloud.arm(*armed)
        begin = time.monotonic()
        process, log = self.start(command, *extra)
        if len(armed) < len(faults):
            self.cloud.arm(*(replace(fault, pid=process.pid) if fault not in armed else fault for fault in faults))
        code = finish(process)
        hits, calls = self.cloud.happened()
        self.cloud.arm()
        return End(code, log.read_text(), hits, calls, time.monotonic() - begin)

    def converge(self, *extra: str, faults: Sequence[Fault] = ()) -> End:
        """Run site.yml."""
        return self.run(sides.converge(), *extra, faults=faults)

    def destroy(self, *extra: str, faults: Sequence[Fault] = ()) -> End:
        """Run playbooks/destroy.yml."""
        return self.run(sides.destroy(), *extra, faults=faults)


def finish(process: subprocess.Popen[bytes]) -> int:
    """Wait for a run; end it where it takes too long."""
    try:
        return process.wait(RUN_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise


@contextmanager
def bench(*settings: str, folder: Path | None = None) -> Iterator[Bench]:
    """A bench with an empty account."""
    with sides.Cloud(folder or Path(tempfile.mkdtemp(prefix="faults-"))) as cloud:
        yield Bench(cloud, *settings)
    sides.remove_outputs()
