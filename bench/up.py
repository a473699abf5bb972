"""How long a second `make up` takes until it prints the URL, in a copy of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from bench.figures import Step
from bench.sides import ROOT, Failed, own_environment

ENVIRONMENTS = (".venv", ".venv-server")
# The line in which `make up` says that the server answers, before it has a client prove it.
LINE = "MLflow answers at http"
# What make and `make up` would take for themselves.
MAKES = ("MAKE", "MFLAGS", "LOCAL_STATE", "STORAGE", "EXPOSURE", "PORT", "GIT_")


def copy(folder: Path) -> None:
    """Copy what git knows or would know of this checkout, with its environments linked."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in names:
        source, target = ROOT / name, folder / name
        if name and (source.is_symlink() or source.is_file()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    for name in ENVIRONMENTS:
        (folder / name).symlink_to((ROOT / name).resolve())


def environment(folder: Path) -> dict[str, str]:
    """The environment of `make up`, whose state is below `folder`."""
    kept = {name: value for name, value in own_environment(os.environ).items() if not name.startswith(MAKES)}
    return {**kept, "LOCAL_STATE": str(folder / ".local")}


def until_url(folder: Path) -> float:
    """Seconds of one `make up` until the URL is printed. Raises Failed where it is not."""
    begin, shown = time.monotonic(), None
    lines = []
    with subprocess.Popen(
        ["make", "--no-print-directory", "up"],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if LINE in line and shown is None:
                shown = time.monotonic() - begin
    if process.returncode or shown is None:
        raise Failed("`make up` failed:\n" + "".join(lines[-40:]))
    return shown


def second(folder: Path, runs: int) -> list[Step]:
    """Bring it up once, then measure `runs` more times, and remove all of it."""
    folder.mkdir(parents=True)
    copy(folder)
    try:
        until_url(folder)
        walls = [until_url(folder) for _ in range(runs)]
    finally:
        subprocess.run(
            ["make", "clean"], cwd=folder, env=environment(folder), capture_output=True, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    # What it starts stays, so its CPU has no end to be counted at.
    return [Step(number, "up", "second", wall, 0.0, 0.0, 0, 0.0) for number, wall in enumerate(walls, 1)]
