"""Callback refuse_empty: a run that would do nothing ends with one sentence and an exit status that is not 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.callback import refuse_empty

ROOT = Path(__file__).resolve().parents[2]
TWO = "[mlflow]\nteam-a\n[web]\nweb-1\n"


def play(cwd: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and the lines that say an error, without colour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *arguments],
        env=kept | {"ANSIBLE_NOCOLOR": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line.removeprefix("[ERROR]: ") for line in lines if line.startswith("[ERROR]: ")]


@pytest.mark.parametrize(
    ("hosts", "arguments", "sentence"),
    [
        (None, ["site.yml"], "has no host in group [mlflow]: pass -i inventories/<name>"),
        (None, ["-i", "inventories/nope", "site.yml"], "Completely failed to parse inventory source"),
        ("[mlflow]\n", ["site.yml"], "has no host in group [mlflow]: pass -i inventories/<name>, or add a host."),
        ("[web]\nweb-1\n", ["playbooks/destroy.yml"], "has no host in group [mlflow]: put web-1 below it."),
        (TWO, ["site.yml", "--limit", "nope"], "--limit leaves us with no hosts to target."),
        (
            TWO,
            ["site.yml", "--limit", "team-a,nope"],
            "--limit is team-a,nope, and there is no nope: hosts are team-a.",
        ),
        (TWO, ["playbooks/verify.yml", "--limit", "web-1"], "--limit is web-1, which leaves no host of group [mlflow]"),
        (TWO, ["site.yml", "--tags", "netwrk"], "--tags is netwrk, which no task has: did you mean network, of alb,"),
        (
            TWO,
            ["playbooks/move.yml", "--skip-tags", "efss"],
            "--skip-tags is efss, which no task has: did you mean efs",
        ),
        (TWO, ["site.yml", "--start-at-task", "x"], "--start-at-task is x, which would pass over the check"),
        (TWO, ["playbooks/verify.yml", "-e", '{"mlflow": {}}'], "mlflow is set by -e, and only the check"),
    ],
)
def test_a_run_that_would_do_nothing_fails(
    tmp_path: Path, hosts: str | None, arguments: list[str], sentence: str
) -> None:
    if hosts is not None:
        (tmp_path / "hosts").write_text(hosts)
        arguments = ["-i", str(tmp_path / "hosts"), *arguments]
    code, errors = play(ROOT, *arguments)
    assert code == 1
    assert len(errors) == 1 and sentence in errors[0], errors


@pytest.mark.parametrize("playbook", ["site.yml", *(f"playbooks/{name}.yml" for name in ("destroy", "move", "verify"))])
def test_from_another_folder_a_run_says_why_not(tmp_path: Path, playbook: str) -> None:
    (tmp_path / "hosts").write_text(TWO)
    code, errors = play(tmp_path, "-i", str(tmp_path / "hosts"), str(ROOT / playbook))
    assert code == 1
    wanted = f"run them in {ROOT}, or set ANSIBLE_CONFIG={ROOT / 'ansible.cfg'}."
    assert len(errors) == 1 and errors[0].endswith(wanted), errors


def test_every_playbook_is_covered() -> None:
    """Ansible loads the callbacks beside each playbook that is part of a run."""
    assert (ROOT / "playbooks/callback_plugins/refuse_empty.py").is_file()
    assert "playbooks/verify.yml" in (ROOT / "site.yml").read_text()


def test_tags_that_are_there_are_taken() -> None:
    known = {"network", "always", "rds"}
    for given in ({"all"}, {"network", "always"}, {"untagged"}):
        assert not list(refuse_empty.tag_refusals("--tags", given, known))
    assert list(refuse_empty.tag_refusals("--skip-tags", {"always"}, known))
    assert not list(refuse_empty.tag_refusals("--skip-tags", {"molecule-notest"}, known))
    assert list(refuse_empty.tag_refusals("--tags", {"molecule-notest"}, known))
    [sentence] = refuse_empty.tag_refusals("--tags", ["zzz"], known)
    assert sentence == "--tags is zzz, which no task has: this playbook has network, rds."


@pytest.mark.parametrize(
    "limit", [None, "a1", "a*", "mlflow:!a1", "all,&mlflow", "~a.*", "@file", "a[1:2]", "localhost"]
)
def test_a_limit_that_matches_is_taken(limit: str | None) -> None:
    assert not list(refuse_empty.limit_refusals(limit, {"all": ["a1", "a2"], "mlflow": ["a1"]}))


@pytest.mark.parametrize("limit", ["a1,aa2", "mlflow:!aa2", "all:&aa2"])
def test_a_part_of_a_limit_that_matches_nothing_is_refused(limit: str) -> None:
    [sentence] = refuse_empty.limit_refusals(limit, {"all": ["a1", "a2"], "mlflow": ["a1"]})
    assert sentence == f"--limit is {limit}, and there is no aa2: did you mean a2."


def test_hosts_that_are_there_are_taken() -> None:
    assert not list(refuse_empty.host_refusals({"all": ["a"], "mlflow": ["a"]}, ["x"]))
    assert not list(refuse_empty.fact_refusals(["mlflow_region"]))
    assert not list(refuse_empty.start_refusals(None))


def test_a_configuration_that_has_our_plugins_is_taken(tmp_path: Path) -> None:
    (tmp_path / "plugins/action").mkdir(parents=True)
    ours = [str(tmp_path / "plugins/action")]
    assert not list(refuse_empty.config_refusals(ours, "/etc/ansible/ansible.cfg", tmp_path))
    [sentence] = refuse_empty.config_refusals(["/usr/share/x"], None, tmp_path)
    assert sentence.startswith("ansible.cfg is not read, and these playbooks need ")
