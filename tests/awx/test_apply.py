"""playbooks/awx.yml against a stand-in for AWX that refuses what a real one refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.awx import jobs, rules, stub

NEEDED = ("ansible.cfg", "awx", "group_vars", "inventories", "playbooks", "plugins", "roles", "site.yml")
GIVEN = ("-e", "awx_scm_url=https://git.example.com/mlflow.git", "-e", "awx_ee_image=registry.example.com/ee:1")
HOOK = ("-e", "awx_notification_url=https://hooks.example.com/token-of-the-hook")
# Each request would read all certificates of this machine, though none is for TLS.
HERE = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the playbook reads, with an environment more."""
    root = tmp_path_factory.mktemp("tree")
    for name in NEEDED:
        source = rules.ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, root / name, **({"symlinks": True} if source.is_dir() else {}))
    shutil.copytree(root / "inventories/dev", root / "inventories/research")
    return root


def new_awx(tree: Path) -> stub.Awx:
    """An AWX in which nothing is, whose project has what the tree has."""
    playbooks = {"site.yml", *(f"playbooks/{path.name}" for path in (tree / "playbooks").glob("*.yml"))}
    inventories = {f"inventories/{path.parent.name}/hosts" for path in (tree / "inventories").glob("*/hosts")}
    return stub.Awx(playbooks=playbooks, inventories=inventories)


@pytest.fixture
def awx(tree: Path) -> Iterator[tuple[stub.Awx, str]]:
    """(a new AWX, its address)."""
    one = new_awx(tree)
    with stub.Server(one) as server:
        yield one, server.url


def play(tree: Path, host: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the playbook: (exit code, all that it said)."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CONTROLLER_", "ANSIBLE_"))}
    login = {} if "CONTROLLER_OAUTH_TOKEN" in environment else {"CONTROLLER_OAUTH_TOKEN": stub.TOKEN}
    env = own | HERE | {"CONTROLLER_HOST": host} | login | environment
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "playbooks/awx.yml", *arguments]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=900)
    return done.returncode, done.stdout + done.stderr


def changed(said: str) -> int:
    """How many tasks changed something."""
    match = re.search(r"changed=(\d+)", said)
    assert match, said
    return int(match[1])


def test_applied_twice_then_removed(tree: Path, awx: tuple[stub.Awx, str], tmp_path: Path) -> None:
    one, url = awx
    code, said = play(tree, url, *GIVEN, *HOOK, "-vvv")
    assert code == 0, said
    assert "token-of-the-hook" not in said
    assert stub.TOKEN not in said
    wanted = rules.load(tree)
    for kind, endpoint in (
        ("templates", "job_templates"),
        ("workflows", "workflow_job_templates"),
        ("schedules", "schedules"),
        ("inventories", "inventories"),
        ("inventory_sources", "inventory_sources"),
        ("credentials", "credentials"),
        ("labels", "labels"),
        ("notifications", "notification_templates"),
    ):
        assert {item["name"] for item in one.objects[endpoint].values()} == rules.names(wanted, kind)
    assert "mlflow_plan_research" in {item["name"] for item in one.objects["job_templates"].values()}
    assert edges(one) == {
        (workflow["name"], name, when, each)
        for workflow in wanted["workflows"]
        for name, node in rules.nodes(workflow).items()
        for when in stub.NEXT_NODES
        for each in node.get(when, [])
    }

    one.requests.clear()
    code, said = play(tree, url, *GIVEN, *HOOK, "--tags", "notifications")
    assert (code, changed(said)) == (0, 0), said
    # All of it from AWX itself, and without the address that is notified, which stays.
    template = next(dict(each) for each in wanted["templates"] if each["name"] == "mlflow_configure_awx")
    template["extra_vars"] = json.loads(
        next(item["extra_vars"] for item in one.objects["job_templates"].values() if item["name"] == template["name"])
    )
    job = jobs.run(tmp_path / "job", tree, template, jobs.EMPTY, injected(url))
    assert job.status == "successful", job.said
    assert changed(jobs.plain(job.said)) == 0
    assert {method for method, _ in one.requests} == {"GET"}
    assert one.objects["notification_templates"]

    code, said = play(tree, url, "-e", "awx_state=absent")
    assert code == 0, said
    left = {kind: sorted(item["name"] for item in items.values()) for kind, items in one.objects.items() if items}
    # A label went with the last template that had it.
    assert left == {"organizations": ["Default", "mlflow"], "credential_types": sorted(rules.BUILT_IN)}

    code, said = play(tree, url, "-e", "awx_state=absent")
    assert (code, changed(said)) == (0, 0), said


def test_removed_means_gone(tree: Path, awx: tuple[stub.Awx, str]) -> None:
    one, url = awx
    organization = one.add("organizations", {"name": "mlflow"})["id"]
    one.add("inventories", {"name": "mlflow_dev", "organization": organization})
    one.deletion = 6
    code, said = play(tree, url, "-e", "awx_state=absent", "--tags", "inventories")
    assert code == 0, said
    one.settle()
    assert not one.objects["inventories"]


def injected(url: str) -> dict[str, str]:
    """What AWX's own credential sets in a job, with a token and an untouched box for TLS."""
    values = {"HOST": url, "USERNAME": "", "PASSWORD": "", "VERIFY_SSL": "False", "OAUTH_TOKEN": stub.TOKEN}
    names = {f"{prefix}_{name}": value for prefix in ("CONTROLLER", "TOWER") for name, value in values.items()}
    return names | HERE


def test_says_what_awx_cannot_read(tree: Path, awx: tuple[stub.Awx, str]) -> None:
    one, url = awx
    one.readable = False
    code, said = play(tree, url, *GIVEN, "--tags", "labels,execution_environments,projects")
    assert code != 0
    assert f"read awx_scm_url {GIVEN[1].partition('=')[2]} at awx_scm_branch main" in " ".join(said.split())

    one.readable = True
    one.playbooks.remove("playbooks/destroy.yml")
    code, said = play(tree, url, *GIVEN, "--tags", "inventories,credentials,templates")
    assert code != 0
    assert "AWX does not find playbooks/destroy.yml in awx_scm_url" in " ".join(said.split())
    assert not one.objects["job_templates"]


def edges(one: stub.Awx) -> set[tuple[str, str, str, str]]:
    """(workflow, node, when, the node after it) of all workflows."""
    nodes = one.objects["workflow_job_template_nodes"]
    return {
        (
            one.objects["workflow_job_templates"][nodes[at]["workflow_job_template"]]["name"],
            nodes[at]["identifier"],
            when,
            each,
        )
        for (at, when), targets in one.links.items()
        if when in stub.NEXT_NODES
        for each in (nodes[target]["identifier"] for target in targets)
    }


def test_one_kind_alone_and_gone_nodes(tree: Path, awx: tuple[stub.Awx, str]) -> None:
    one, url = awx
    code, said = play(tree, url, *GIVEN, "--tags", "labels,projects,execution_environments,inventories,credentials")
    assert code == 0, said
    assert not one.objects["job_templates"]
    assert len(one.objects["projects"]) == 1
    # A playbook that came after AWX had read the project.
    one.synced.clear()
    code, said = play(tree, url, *GIVEN, "--tags", "templates,workflows")
    assert code == 0, said
    assert not one.objects["schedules"]
    assert not one.objects["notification_templates"]
    workflow = next(
        item for item in one.objects["workflow_job_templates"].values() if item["name"] == "mlflow_release_dev"
    )
    one.add("workflow_job_template_nodes", {"identifier": "old", "workflow_job_template": workflow["id"]})
    code, said = play(tree, url, *GIVEN, "--tags", "workflows")
    assert code == 0, said
    assert changed(said) == 1
    assert "old" not in {item["identifier"] for item in one.objects["workflow_job_template_nodes"].values()}


@pytest.mark.parametrize(
    ("arguments", "environment", "version", "sentence"),
    [
        ((), {}, "24.6.1", "awx_scm_url is missing"),
        (GIVEN[:2], {}, "24.6.1", "awx_ee_image is missing"),
        (GIVEN, {"CONTROLLER_HOST": ""}, "24.6.1", "CONTROLLER_HOST is missing"),
        (GIVEN, {"CONTROLLER_OAUTH_TOKEN": ""}, "24.6.1", "CONTROLLER_OAUTH_TOKEN is missing"),
        (GIVEN, {"CONTROLLER_HOST": "http://127.0.0.1:9"}, "24.6.1", "which does not answer as an AWX does"),
        (GIVEN, {"CONTROLLER_OAUTH_TOKEN": "wrong-token-of-somebody"}, "24.6.1", "CONTROLLER_OAUTH_TOKEN is refused"),
        (
            GIVEN,
            {"CONTROLLER_OAUTH_TOKEN": "", "CONTROLLER_USERNAME": "admin", "CONTROLLER_PASSWORD": "wrong-password"},
            "24.6.1",
            "The login admin given by CONTROLLER_USERNAME is refused",
        ),
        (GIVEN, {"CONTROLLER_OAUTH_TOKEN": stub.READER}, "24.6.1", "reader is no system administrator"),
        (GIVEN, {}, "19.5.0", "AWX 19.5.0 answers: 23.0.0 or newer is needed"),
        (("-e", "awx_state=absent", "-e", "awx_organization=Nobody"), {}, "24.6.1", "awx_organization is Nobody"),
        ((*GIVEN, "-e", "awx_scm_credential=git"), {}, "24.6.1", "awx_scm_credential is git, which AWX does not have"),
        ((*GIVEN, "-e", "awx_ee_credential=hub"), {}, "24.6.1", "make it there as Container Registry"),
        (("-e", "awx_state=absent", "-e", "awx_job_id=7"), {}, "24.6.1", "this is job 7 of what would be removed"),
    ],
)
def test_refused_with_one_sentence(
    tree: Path,
    awx: tuple[stub.Awx, str],
    arguments: tuple[str, ...],
    environment: dict[str, str],
    version: str,
    sentence: str,
) -> None:
    one, url = awx
    one.version = version
    code, said = play(tree, url, *arguments, "-vvv", **environment)
    assert code != 0
    assert sentence in " ".join(said.split())
    assert "Traceback" not in said
    assert "wrong-password" not in said.replace("'CONTROLLER_PASSWORD'", "")
    assert {method for method, _ in one.requests} <= {"GET"}


def test_login_by_password(tree: Path, awx: tuple[stub.Awx, str]) -> None:
    one, url = awx
    login = {"CONTROLLER_USERNAME": stub.USER, "CONTROLLER_PASSWORD": stub.PASSWORD, "CONTROLLER_OAUTH_TOKEN": ""}
    code, said = play(tree, url, *GIVEN, "--tags", "labels", **login)
    assert code == 0, said
    assert one.objects["labels"]
    assert stub.PASSWORD not in said
