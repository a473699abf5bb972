"""Run a command and say what it cost: `python bench/cpu.py RESULT COMMAND...`. Linux only.

RESULT gets JSON: {"wall": seconds until the command ended, "total": seconds until the last of its descendants had,
"cpu": seconds of all of them, "code": exit status}. A process that a descendant started in a session of its own counts
too: orphans come to this process, which collects them.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own has ended. Raises OSError where the kernel cannot."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def reap() -> None:
    """Wait for every descendant that is left."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def cost(command: list[str]) -> dict[str, float]:
    """Run `command` to its end and that of all it started; asked to end, ask the command."""
    adopt_orphans()
    begin = time.monotonic()
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    wall = time.monotonic() - begin
    reap()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "total": time.monotonic() - begin, "cpu": usage.ru_utime + usage.ru_stime, "code": code}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(cost(sys.argv[2:])))
