"""The playbooks as jobs of AWX: by ansible-runner, in the environment and with the files that AWX gives them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from bench import sides
from tests.awx import rules
from tests.awx.test_flattened import as_script

REVISION = "0123456789abcdef0123456789abcdef01234567"


class _Dumper(yaml.SafeDumper):
    """Marks every text as unsafe, as AWX does with what it hands over."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


@dataclass
class Job:
    """How a job ended."""

    status: str
    said: str
    # What the next node of a workflow gets.
    artifacts: dict[str, Any]
    # Whether AWS modules ran warm.
    warm: bool


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sides.Cloud]:
    with sides.Cloud(tmp_path_factory.mktemp("aws")) as one:
        yield one


def template(name: str) -> dict[str, Any]:
    """A job template of dev by what it does."""
    return next(one for one in rules.load()["templates"] if one["name"] == f"mlflow_{name}_dev")


def meta(name: str) -> dict[str, Any]:
    """What AWX tells every job."""
    told = {"job_id": 7, "job_launch_type": "workflow", "project_revision": REVISION, "project_scm_branch": "main"}
    told |= {"job_template_name": name, "inventory_id": 3, "inventory_name": "mlflow_dev", "user_name": "admin"}
    return {f"{prefix}_{key}": value for prefix in ("awx", "tower") for key, value in told.items()}


def environment(folder: Path, cloud: sides.Cloud) -> dict[str, str]:
    """What AWX 24 sets for a job, with the credential's."""
    ansible = {
        "ANSIBLE_FORCE_COLOR": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_ROLES_PATH": "/runner/requirements_roles:roles:~/.ansible/roles:/usr/share/ansible/roles",
        "ANSIBLE_COLLECTIONS_PATH": "/runner/requirements_collections:~/.ansible/collections",
    }
    return cloud.environment() | ansible | {"HOME": str(folder / "no-home"), "JOB_ID": "7"}


def job(cloud: sides.Cloud, folder: Path, name: str, **handed: Any) -> Job:
    """Run the job template of dev on the stack of the bench; `handed` is from the survey or the node before."""
    one = template(name)
    for part in ("env", "inventory"):
        (folder / part).mkdir(parents=True)
    (folder / "no-home").mkdir(mode=0o500)
    as_script(rules.ROOT / "bench/inventory/hosts", folder / "inventory/hosts")
    told = one.get("extra_vars", {}) | handed | meta(one["name"])
    (folder / "env/extravars").write_text(yaml.dump(told, Dumper=_Dumper))
    flags = "-u root" + " --check" * (one["job_type"] == "check") + " --diff" * one.get("diff_mode", False)
    (folder / "env/cmdline").write_text(flags)
    (folder / "env/envvars").write_text(json.dumps(environment(folder, cloud)))
    command = [str(Path(sys.executable).with_name("ansible-runner")), "run", str(folder), "--playbook", one["playbook"]]
    command += ["--project-dir", str(rules.ROOT), "--ident", "7", "--quiet"]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    warm = False
    while running.poll() is None:
        warm = warm or runs("warm_server.py")
        time.sleep(0.2)
    left = folder / "artifacts/7"
    events = sorted(map(json.loads, (path.read_text() for path in left.glob("job_events/*.json"))), key=counter)
    stats = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
    said = "\n".join(event["stdout"] for event in events)
    return Job((left / "status").read_text(), said, stats[0].get("artifact_data", {}) if stats else {}, warm)


def counter(event: dict[str, Any]) -> int:
    """The place of an event among all."""
    return int(event["counter"])


def runs(word: str) -> bool:
    """Whether a process of this repository runs that has `word` in its command."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in command and str(rules.ROOT) in command:
            return True
    return False


def aws(cloud: sides.Cloud, service: str) -> Any:
    """A client of our own."""
    keys = (sides.AWS["AWS_ACCESS_KEY_ID"], sides.AWS["AWS_SECRET_ACCESS_KEY"], None, sides.REGION)
    return boto3.Session(*keys).client(service, endpoint_url=cloud.url)


def test_release(cloud: sides.Cloud, tmp_path: Path) -> None:
    """Plan, approval, deployment, nightly look, a change by hand, nightly look."""
    plan = job(cloud, tmp_path / "plan", "plan", mlflow_release_image="")
    assert plan.status == "successful", plan.said
    assert plan.artifacts == {"planned_revision_mlflow_dev": REVISION}
    assert plan.warm

    before = len(cloud.calls())
    other = job(cloud, tmp_path / "other", "deploy", planned_revision_mlflow_dev="f" * 40)
    assert other.status == "failed"
    assert f"was made for commit {'f' * 40}" in other.said
    assert len(cloud.calls()) - before == 1

    night = job(cloud, tmp_path / "empty", "drift")
    assert night.status == "failed"
    assert f"{sides.STACK} is not what git says" in night.said

    # What a promotion hands on from an environment before this one is not this one's.
    handed = plan.artifacts | {"planned_revision_mlflow_test": "f" * 40}
    deployed = job(cloud, tmp_path / "deploy", "deploy", mlflow_release_image="", **handed)
    assert deployed.status == "successful", deployed.said

    night = job(cloud, tmp_path / "night", "drift")
    assert night.status == "successful", night.said
    assert f"{sides.STACK} is what git says" in night.said

    aws(cloud, "ecs").update_service(cluster=sides.STACK, service=sides.STACK, desiredCount=0)
    night = job(cloud, tmp_path / "changed", "drift")
    assert night.status == "failed"
    assert f"{sides.STACK} is not what git says; this would change:" in night.said


def test_verify_and_inspect_ask_aws_where_the_server_is_out_of_reach(cloud: sides.Cloud, tmp_path: Path) -> None:
    deployed = job(cloud, tmp_path / "deploy", "deploy")
    assert deployed.status == "successful", deployed.said
    verify = job(cloud, tmp_path / "none", "verify")
    assert verify.status == "failed"
    assert f"{sides.STACK} has no healthy task (none is registered)" in verify.said

    elb = aws(cloud, "elbv2")
    [group] = elb.describe_target_groups(Names=[sides.STACK])["TargetGroups"]
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "10.0.0.9"}])
    verify = job(cloud, tmp_path / "one", "verify")
    assert verify.status == "successful", verify.said
    assert f"{sides.STACK} has 1 healthy tasks. The server itself was not asked" in verify.said

    inspect = job(cloud, tmp_path / "inspect", "inspect")
    assert inspect.status == "failed"
    assert "still runs, and has healthy tasks" in inspect.said
