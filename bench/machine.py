"""The machine that is measured on: how busy it is, and what it is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

QUIET_SHARE = 0.05
QUIET_SECONDS = 60
TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def busy() -> float:
    """CPU seconds that all processes of the machine have taken since it started."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def cpu_of(pid: int) -> float:
    """CPU seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def share(seconds: float) -> float:
    """The share of the machine that is taken during the next `seconds`, 0 to 1."""
    begin = busy()
    time.sleep(seconds)
    return (busy() - begin) / seconds / (os.cpu_count() or 1)


def wait_until_quiet() -> float:
    """Wait, at most QUIET_SECONDS, until hardly anybody computes; the share of the last look."""
    deadline = time.monotonic() + QUIET_SECONDS
    while (taken := share(1)) > QUIET_SHARE and time.monotonic() < deadline:
        pass
    return taken


def description() -> dict[str, str]:
    """What whoever reads the figures wants to know of the machine."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    packages = ", ".join(f"{name} {version(name)}" for name in ("ansible-core", "ansible", "boto3", "moto"))
    return {
        "processor": f"{cores()} cores, {model}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "software": f"Python {platform.python_version()}, {packages}",
    }


def terraform_version(program: str, environment: dict[str, str]) -> str:
    """The first line that terraform says of itself."""
    done = subprocess.run([program, "version"], env=environment, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["terraform"])[0]
