"""Make the two environments: `python3 local/bootstrap.py [--tests]`, by any Python from 3.6 on, with nothing installed.

.venv has the tooling (requirements.txt, local/requirements.txt, with --tests also tests/requirements.txt), .venv-server
the MLflow server (docker/requirements-slim.txt). Each carries a stamp of the interpreter and of its requirement files:
what matches its stamp is left alone, anything else, such as what an interrupted call left, is made anew.
"""

# Old interpreters must get as far as the sentence that says what they lack: no newer syntax, no newer kinds of
# annotations, standard library only.
# ruff: noqa: UP006, UP031, UP035, UP045

import argparse
import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITABLE = ((3, 13), (3, 12), (3, 11))
NEEDED_BYTES = 3 * 1000**3
STAMP = ".bootstrap"
PROGRESS_EVERY = 15
LOCK = ".venv.lock"
# The interpreter below an environment, for the environment may be one that is about to be removed.
PROBE = (
    "import sys, venv, ensurepip, ssl, sqlite3;"
    "print('%d.%d.%d|%s' % (sys.version_info[:3] + (getattr(sys, '_base_executable', None) or sys.executable,)))"
)
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")


Version = Tuple[int, ...]
Probed = Tuple[Optional[Version], str, Optional[str]]


class Trouble(Exception):
    """One sentence for the person at the keyboard."""


def candidates(env: Mapping[str, str], home: str) -> List[str]:
    """Names and paths of interpreters worth a try, each once: $PYTHON alone if it is set, else PATH and pyenv."""
    if env.get("PYTHON"):
        return [env["PYTHON"]]
    found = []
    for folder in env.get("PATH", "").split(os.pathsep):
        for name in ["python%d.%d" % version for version in SUITABLE] + ["python3"]:
            path = os.path.join(folder, name)
            if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
                found.append(path)
    root = env.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    found.extend(sorted(glob.glob(os.path.join(root, "versions", "*", "bin", "python")), reverse=True))
    return list(dict.fromkeys(found))


def probe(command: str) -> Probed:
    """(version, executable, None) of an interpreter that has what is needed, else (None, command, why not)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(  # noqa: UP022 - capture_output is newer than the interpreters that must get here
            [command, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            env=env,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None, command, "does not run"
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if not lines or "|" not in lines[-1]:
        errors = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["does not run"]
        # A pyenv shim of a version that is not chosen exists, is executable, and only says so.
        return None, command, errors[-1] if "Error" in errors[-1] else "does not run"
    version, executable = lines[-1].split("|", 1)
    return tuple(int(part) for part in version.split(".")), executable, None


def choose(names: Iterable[str], prober: Callable[[str], Probed] = probe) -> Tuple[Version, str]:
    """(version, executable) of the newest suitable interpreter among `names`. Raises Trouble with what was found."""
    best = None  # type: Optional[Tuple[Version, str]]
    seen = []
    for name in names:
        version, executable, why = prober(name)
        if version is None:
            seen.append(f"{name} ({why})")
        elif version[:2] not in SUITABLE:
            seen.append("{} ({})".format(name, ".".join(str(part) for part in version)))
        elif best is None or version > best[0]:
            best = (version, executable)
    if best is None:
        raise Trouble(
            "No suitable Python: 3.11, 3.12 or 3.13 with venv, ssl and sqlite3 is needed; found %s. "
            "Install one, or name one by PYTHON=<path>." % (", ".join(seen) or "none at all")
        )
    return best


def stamp(version: Version, executable: str, files: Sequence[str]) -> str:
    """The text that says what an environment was made from."""
    total = hashlib.sha256()
    for path in files:
        with open(path, "rb") as source:
            total.update(source.read() + b"\0")
    return "{} {} {}\n".format(".".join(str(part) for part in version), os.path.realpath(executable), total.hexdigest())


def absolute(paths: Iterable[str]) -> List[str]:
    """Paths of the repository as absolute ones."""
    return [os.path.join(ROOT, path) for path in paths]


def made(folder: str, text: str) -> bool:
    """Whether `folder` is complete, from just this, and its interpreter is still there."""
    try:
        with open(os.path.join(folder, STAMP)) as source:
            return source.read() == text and os.path.exists(os.path.join(folder, "bin", "python"))
    except OSError:
        return False


class Maker(threading.Thread):
    """Makes one environment; `error` is a sentence if that failed."""

    def __init__(self, name: str, executable: str, files: List[str], text: str, locks: Tuple[int, ...] = ()) -> None:
        threading.Thread.__init__(self)
        self.daemon = True
        self.folder = os.path.join(ROOT, name)
        self.label = name
        self.executable = executable
        self.files = files
        self.text = text
        self.onto = False
        self.locks = locks
        self.error = None  # type: Optional[str]
        self.process = None  # type: Optional[subprocess.Popen[bytes]]

    def run(self) -> None:
        """Make it."""
        try:
            python = os.path.join(self.folder, "bin", "python")
            if self.onto:
                os.unlink(os.path.join(self.folder, STAMP))
            else:
                self._remove()
                if not self._call("python -m venv", [self.executable, "-m", "venv", self.folder]):
                    return
            install = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
            if self.label == ".venv-server":
                # The lock is complete, and leaves out on purpose what MLflow asks for and a server never loads.
                install.append("--no-deps")
            for path in self.files:
                install.extend(["-r", path])
            if not self._call("pip install", install):
                return
            with open(os.path.join(self.folder, STAMP), "w") as out:
                out.write(self.text)
        except OSError as error:
            self.error = f"{self.label}: {error}"

    def _remove(self) -> None:
        if os.path.islink(self.folder):
            os.unlink(self.folder)
        elif os.path.lexists(self.folder):
            shutil.rmtree(self.folder)

    def _call(self, what: str, command: List[str]) -> bool:
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        with tempfile.TemporaryFile() as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=ROOT,
                pass_fds=self.locks,
            )
            code = self.process.wait()
            out.seek(0)
            lines = out.read().decode("utf-8", "replace").strip().splitlines()
        if code != 0:
            last = "\n  ".join(lines[-8:]) or "it said nothing"
            self.error = f"{self.label}: {what} failed; the end of its output:\n  {last}"
            if any(word in line for line in lines for word in UNREACHABLE):
                self.error = "The package index cannot be reached: check the network or the proxy, then run it again."
        return code == 0


def watch(makers: Sequence[Maker]) -> float:
    """Wait for all `makers`, with a line now and then."""
    start = time.time()
    spoken = start
    try:
        while any(maker.is_alive() for maker in makers):
            for maker in makers:
                maker.join(0.2)
            if time.time() - spoken >= PROGRESS_EVERY:
                spoken = time.time()
                busy = ", ".join(maker.label for maker in makers if maker.is_alive())
                if busy:
                    say(f"[{spoken - start:4.0f} s] installing {busy}")
    except KeyboardInterrupt:
        for maker in makers:
            if maker.process is not None and maker.process.poll() is None:
                maker.process.terminate()
        raise
    return time.time() - start


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def adjust(makers: List[Maker], version: Version, executable: str, tests: bool) -> None:
    """Spare work where .venv differs from what is wanted by the test tools alone."""
    extra = os.path.join(ROOT, "tests", "requirements.txt")
    tooling = makers[0]
    if tests:
        tooling.onto = made(tooling.folder, stamp(version, executable, tooling.files[:-1]))
    elif os.path.isfile(extra) and made(tooling.folder, stamp(version, executable, [*tooling.files, extra])):
        # With the test tools it serves those as well who do not ask for them.
        makers.remove(tooling)


def settled(folder: str, files: Sequence[str]) -> bool:
    """Whether `folder` needs no look at interpreters: made from these files by one that is still there."""
    try:
        with open(os.path.join(folder, STAMP)) as source:
            version, executable, _ = source.read().split()
    except (OSError, ValueError):
        return False
    return os.path.exists(executable) and made(
        folder, stamp(tuple(int(part) for part in version.split(".")), executable, files)
    )


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """Hold the lock of the environments, waiting for whoever has it; gives its descriptor, which children keep."""
    with open(os.path.join(ROOT, LOCK), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Waiting for another call that makes the environments.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def bootstrap(tests: bool) -> None:
    """Make what is missing. Raises Trouble."""
    tooling = ["requirements.txt", os.path.join("local", "requirements.txt")]
    server = [os.path.join("docker", "requirements-slim.txt")]
    if tests:
        tooling.append(os.path.join("tests", "requirements.txt"))
    for path in tooling + server:
        if not os.path.isfile(os.path.join(ROOT, path)):
            raise Trouble(f"{path} is missing: this checkout is not complete.")
    extra = os.path.join("tests", "requirements.txt")
    with_tests = [*tooling, extra] if not tests and os.path.isfile(os.path.join(ROOT, extra)) else tooling
    tool_folder, server_folder = os.path.join(ROOT, ".venv"), os.path.join(ROOT, ".venv-server")
    tools_settled = settled(tool_folder, absolute(tooling)) or settled(tool_folder, absolute(with_tests))
    if not os.environ.get("PYTHON") and tools_settled and settled(server_folder, absolute(server)):
        return
    with only_one() as lock:
        make(tests, tooling, server, lock)


def make(tests: bool, tooling: List[str], server: List[str], lock: int) -> None:
    """Make what is missing, alone. Raises Trouble."""
    version, executable = choose(candidates(os.environ, os.path.expanduser("~")))
    makers = []
    for name, relative in ((".venv", tooling), (".venv-server", server)):
        folder = os.path.join(ROOT, name)
        files = absolute(relative)
        text = stamp(version, executable, files)
        if not made(folder, text):
            makers.append(Maker(name, executable, files, text, (lock,)))
    if makers and makers[0].label == ".venv":
        adjust(makers, version, executable, tests)
    if not makers:
        return
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        raise Trouble(
            f"Only {free / 1000.0**3:.1f} GB are free under {ROOT}, the environments need about 3 GB: make room."
        )
    names = " and ".join(maker.label for maker in makers)
    say(
        "Making {} with Python {}; this takes some minutes once.".format(names, ".".join(str(part) for part in version))
    )
    for maker in makers:
        maker.start()
    seconds = watch(makers)
    errors = [maker.error for maker in makers if maker.error]
    if errors:
        raise Trouble("\n".join(dict.fromkeys(errors)))
    say(f"[{seconds:4.0f} s] {names} ready")


def main() -> int:
    """0, or 1 after a sentence on stderr."""
    parser = argparse.ArgumentParser(description="Make the environments .venv and .venv-server.")
    parser.add_argument("--tests", action="store_true", help="with the tools of `make test`")
    chosen = parser.parse_args()
    try:
        bootstrap(chosen.tests)
    except Trouble as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.filename or ROOT}: {error.strerror}. This checkout must be yours to write.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the next call begins again.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
