"""The environments: which interpreter is chosen, and when they are made anew. Interpreters here are shell scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from local import bootstrap


def fake(path: Path, body: str) -> str:
    """An executable script at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def says(path: Path, version: str) -> str:
    """An interpreter of `version` that has all modules."""
    return fake(path, f"echo '{version}|{path}'")


def test_the_newest_suitable_one_wins(tmp_path: Path) -> None:
    names = [
        says(tmp_path / "a" / "python3", "3.11.9"),
        says(tmp_path / "b" / "python3.13", "3.13.0"),
        says(tmp_path / "c" / "python3.12", "3.12.8"),
        says(tmp_path / "d" / "python3.14", "3.14.0"),
        says(tmp_path / "e" / "python3.9", "3.9.1"),
    ]
    assert bootstrap.choose(names) == ((3, 13, 0), names[1])


def test_what_does_not_run_is_passed_over(tmp_path: Path) -> None:
    good = says(tmp_path / "good" / "python3.11", "3.11.2")
    shim = fake(tmp_path / "shims" / "python3.13", 'echo "pyenv: python3.13: command not found" >&2; exit 127')
    silent = fake(tmp_path / "silent" / "python3.13", "exit 0")
    bare = fake(tmp_path / "bare" / "python3.12", 'echo "ModuleNotFoundError: No module named ensurepip" >&2; exit 1')
    assert bootstrap.choose([shim, silent, bare, str(tmp_path / "absent"), good]) == ((3, 11, 2), good)


def test_the_sentence_names_what_was_found(tmp_path: Path) -> None:
    old = says(tmp_path / "python3", "3.8.18")
    shim = fake(tmp_path / "python3.13", "exit 127")
    bare = fake(tmp_path / "python3.12", 'echo "ModuleNotFoundError: No module named ensurepip" >&2; exit 1')
    with pytest.raises(bootstrap.Trouble) as caught:
        bootstrap.choose([old, shim, bare])
    text = str(caught.value)
    assert f"{old} (3.8.18)" in text
    assert f"{shim} (does not run)" in text
    assert "No module named ensurepip)" in text
    with pytest.raises(bootstrap.Trouble, match="found none at all"):
        bootstrap.choose([])


def test_candidates_from_path_and_pyenv(tmp_path: Path) -> None:
    one = says(tmp_path / "bin" / "python3.12", "3.12.1")
    two = says(tmp_path / "home" / ".pyenv" / "versions" / "3.13.1" / "bin" / "python", "3.13.1")
    (tmp_path / "bin" / "python3.11").mkdir()
    (tmp_path / "bin" / "python3.13").write_text("not executable")
    path = os.pathsep.join(["", str(tmp_path / "bin"), str(tmp_path / "absent"), str(tmp_path / "bin")])
    assert bootstrap.candidates({"PATH": path}, str(tmp_path / "home")) == [one, two]
    assert bootstrap.candidates({"PATH": path, "PYTHON": "/my/python"}, str(tmp_path)) == ["/my/python"]


def test_this_interpreter_passes_the_real_probe() -> None:
    version, executable, why = bootstrap.probe(sys.executable)
    assert (version, why) == (sys.version_info[:3], None)
    assert os.path.realpath(executable) == os.path.realpath(sys.executable)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with requirement files, and an interpreter whose venvs hold a pip that only counts its calls."""
    for name in (
        "requirements.txt",
        "local/requirements.txt",
        "docker/requirements-slim.txt",
        "tests/requirements.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x==1\n")
    script = f"""
case "$1 $2" in
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv $(basename "$3")" >> {tmp_path}/calls;;
"-m pip") shift; echo "pip $*" | sed 's#{tmp_path}/##g' >> {tmp_path}/calls;
    [ ! -e {tmp_path}/broken ] || {{ echo 'no such version'; exit 1; }};;
*) echo '3.12.1|{tmp_path}/python';;
esac"""
    monkeypatch.setenv("PYTHON", fake(tmp_path / "python", script))
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    return tmp_path


def calls(folder: Path) -> list[str]:
    """What was called since the last look, in a fixed order."""
    found = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
    (folder / "calls").unlink(missing_ok=True)
    return sorted(found)


PIP = "pip pip install --quiet --no-compile --disable-pip-version-check -r "
SERVER = PIP.replace("-r ", "--no-deps -r ") + "docker/requirements-slim.txt"


def test_both_are_made_once(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap.bootstrap(tests=False)
    assert calls(checkout) == [
        SERVER,
        PIP + "requirements.txt -r local/requirements.txt",
        "venv .venv",
        "venv .venv-server",
    ]
    bootstrap.bootstrap(tests=False)
    assert calls(checkout) == []
    monkeypatch.delenv("PYTHON")
    monkeypatch.setattr(bootstrap, "choose", lambda *_: pytest.fail("no interpreter needs a look"))
    bootstrap.bootstrap(tests=False)
    assert calls(checkout) == []


def test_a_changed_pin_remakes_only_its_environment(checkout: Path) -> None:
    bootstrap.bootstrap(tests=False)
    calls(checkout)
    (checkout / "docker" / "requirements-slim.txt").write_text("x==2\n")
    bootstrap.bootstrap(tests=False)
    assert calls(checkout) == [SERVER, "venv .venv-server"]


def test_test_tools_are_added_and_serve_both(checkout: Path) -> None:
    bootstrap.bootstrap(tests=False)
    calls(checkout)
    bootstrap.bootstrap(tests=True)
    assert calls(checkout) == [PIP + "requirements.txt -r local/requirements.txt -r tests/requirements.txt"]
    bootstrap.bootstrap(tests=False)
    bootstrap.bootstrap(tests=True)
    assert calls(checkout) == []


def test_test_tools_that_failed_to_install_are_repeated(checkout: Path) -> None:
    bootstrap.bootstrap(tests=False)
    (checkout / "broken").touch()
    with pytest.raises(bootstrap.Trouble, match="pip install failed"):
        bootstrap.bootstrap(tests=True)
    (checkout / "broken").unlink()
    calls(checkout)
    bootstrap.bootstrap(tests=False)
    assert "venv .venv" in calls(checkout)


def test_an_interrupted_one_is_repeated(checkout: Path) -> None:
    bootstrap.bootstrap(tests=False)
    calls(checkout)
    (checkout / ".venv" / bootstrap.STAMP).unlink()
    bootstrap.bootstrap(tests=False)
    assert "venv .venv" in calls(checkout)


def test_a_failing_pip_shows_its_end_and_is_repeated(checkout: Path) -> None:
    (checkout / "broken").touch()
    with pytest.raises(bootstrap.Trouble, match=r"(?s)pip install failed.*no such version"):
        bootstrap.bootstrap(tests=False)
    (checkout / "broken").unlink()
    calls(checkout)
    bootstrap.bootstrap(tests=False)
    assert len(calls(checkout)) == 4


def test_too_little_space_is_one_sentence(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(bootstrap.Trouble, match=r"Only 1\.0 GB are free"):
        bootstrap.bootstrap(tests=False)
    assert calls(checkout) == []


def test_progress_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bootstrap, "PROGRESS_EVERY", 0)
    ended = threading.Event()
    maker: Any = threading.Thread(target=ended.wait)
    maker.label = ".venv"
    maker.start()
    threading.Timer(0.5, ended.set).start()
    bootstrap.watch([maker])
    assert "installing .venv" in capsys.readouterr().out


def test_old_interpreters_can_read_the_file() -> None:
    import ast

    source = Path(bootstrap.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import annotations" not in source


def test_an_environments_interpreter_is_its_base(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    executable = bootstrap.probe(str(tmp_path / "env/bin/python"))[1]
    assert tmp_path not in Path(executable).parents


def test_a_network_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    maker = bootstrap.Maker(".venv", sys.executable, [], "")
    script = "import sys; sys.exit('WARNING: Retrying after connection broken by NewConnectionError(...)')"
    assert not maker._call("pip install", [sys.executable, "-c", script])
    assert maker.error == "The package index cannot be reached: check the network or the proxy, then run it again."


def test_a_missing_interpreter_is_one_sentence_on_stderr() -> None:
    env = {"PATH": "/nonexistent", "HOME": "/nonexistent", "PYTHON": "/nonexistent/python"}
    done = subprocess.run([sys.executable, bootstrap.__file__], env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        pytest.fail("it went on without an interpreter")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
