"""Role preflight in real ansible-playbook runs, with a stand-in for STS that counts the calls."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "mlflow@sha256:" + "0a" * 32
IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws-cn:iam::123456789012:user/x</Arn><UserId>x</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
EXPIRED = """<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>hunter2</Message></Error>
</ErrorResponse>"""
PLAY = [
    {
        "hosts": "mlflow",
        "gather_facts": False,
        "environment": {
            "AWS_ENDPOINT_URL": "{{ endpoint }}",
            "AWS_ACCESS_KEY_ID": "{{ key | default('GOOD') }}",
            "AWS_REGION": "{{ mlflow_region | default('') }}",
        },
        "tasks": [
            {"ansible.builtin.import_role": {"name": "preflight", "rolespec_validate": False}},
            {"ansible.builtin.debug": {"msg": "FACT:{{ mlflow | to_json | b64encode }}"}},
        ],
    }
]


class Sts(BaseHTTPRequestHandler):
    """STS, and an SSM in which stack `older` has published its outputs."""

    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key = re.findall(r"Credential=(\w+)/", self.headers["Authorization"])[0]
        Sts.calls.append(self.headers.get("X-Amz-Target", key))
        body, code = (IDENTITY, 200) if key == "GOOD" else (EXPIRED, 403)
        if "X-Amz-Target" in self.headers:
            found = [{"Name": name} for name in json.loads(asked)["Names"] if "/older/" in name]
            body, code = json.dumps({"Parameters": found}), 400 if "/forbidden/" in asked else 200
        self._answer(body.encode(), code)

    def _answer(self, body: bytes, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def sts() -> Iterator[tuple[str, list[str]]]:
    """URL of an STS, and the access keys that called it."""
    Sts.calls = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Sts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Sts.calls
        server.shutdown()


def play(folder: Path, hosts: dict[str, dict[str, Any]], *options: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a run with these hosts; `environment` is all that it knows of AWS."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    sound = {
        "mlflow_stack_name": "{{ inventory_hostname }}",
        "mlflow_account_id": "123456789012",
        "mlflow_region": "eu-west-1",
        "mlflow_image": IMAGE,
    }
    inventory = {"mlflow": {"vars": common, "hosts": {name: sound | values for name, values in hosts.items()}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    (folder / "vault").write_text("password")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "ANSIBLE_", "MLFLOW_")) and not name.lower().endswith("_proxy")
    }
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_VAULT_PASSWORD_FILE": str(folder / "vault"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "-i",
            str(folder / "hosts.yml"),
            str(folder / "play.yml"),
            *options,
        ],
        env=kept | settings | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def facts(output: str) -> dict[str, dict[str, Any]]:
    """The fact `mlflow` of each host that got as far, by stack name."""
    found = [json.loads(base64.b64decode(text)) for text in re.findall(r"FACT:([\w+/=]+)", output)]
    return {fact["stack_name"]: fact for fact in found}


def test_good_hosts(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, calls = sts
    survey = {"mlflow_storage": "rds", "mlflow_capacity_max": "2", "mlflow_verify": "false", "mlflow_domain": ""}
    hosts: dict[str, dict[str, Any]] = {
        "plain": {"endpoint": url},
        "survey": {"endpoint": url, **survey},
        "templates": {
            "endpoint": url,
            "mlflow_region": "{{ lookup('ansible.builtin.env', 'NOT_SET') }}",
            "mlflow_storage": "{{ lookup('ansible.builtin.env', 'STORAGE') }}",
            "mlflow_capacity_max": "{{ 2 if mlflow_storage == 'rds' else 1 }}",
            "mlflow_allowed_cidrs": ["{{ mlflow_vpc_cidr }}"],
            "mlflow_vpc_cidr": "10.9.0.0/16",
            "mlflow_tags": {"team": "{{ inventory_hostname }}", "n": 1},
        },
        "loud": {
            "endpoint": url,
            "mlflow_exposure": "public",
            "mlflow_allowed_cidrs": "203.0.113.0/24",
            "mlflow_allow_plain_http": "yes",
        },
    }
    code, output = play(
        tmp_path, hosts, "--check", AWS_SECRET_ACCESS_KEY="hunter2", STORAGE="rds", AWS_REGION="eu-west-1"
    )
    assert code == 0, output
    assert calls == ["GOOD"] * len(hosts)
    found = facts(output)
    assert (found["plain"]["account_id"], found["plain"]["partition"]) == ("123456789012", "aws-cn")
    assert [found["survey"][name] for name in ("capacity_max", "verify", "domain")] == [2, False, ""]
    assert [found["templates"][name] for name in ("region", "capacity_max", "allowed_cidrs")] == [
        "eu-west-1",
        2,
        ["10.9.0.0/16"],
    ]
    assert (found["templates"]["tags"]["team"], found["templates"]["tags"]["n"]) == ("templates", "1")
    assert "Stack loud is public over plain HTTP" in " ".join(output.split())
    assert "changed=0" in output and "hunter2" not in output


def test_bad_hosts_never_reach_aws(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, calls = sts
    encrypt = [sys.executable, "-m", "ansible", "vault", "encrypt_string", "hunter2", "--name", "mlflow_domain"]
    environment = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_LOCAL_TEMP=str(tmp_path / "tmp"))
    (tmp_path / "vault").write_text("password")
    environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(tmp_path / "vault")
    vaulted = subprocess.run(encrypt, env=environment, capture_output=True, text=True, check=True).stdout
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "vaulted.yml").write_text(vaulted)
    inner = vaulted.partition(": ")[2].replace("\n", "\n  ")
    listed = f"mlflow_allowed_cidrs:\n  - 10.0.0.0\n  - {inner}\nmlflow_tags:\n  a&b: {inner}\n"
    (tmp_path / "host_vars" / "nested.yml").write_text(vaulted + listed)
    hosts = {
        "many": {
            "endpoint": url,
            "mlflow_storag": "rds",
            "mlflow_admin_password": "hunter2",
            "mlflow_auth": "none",
            "mlflow_exposure": "public",
            "mlflow_capacity_max": "2",
            "mlflow_cpu": "{{ nowhere }}",
            "ansible_python_interpreter": "auto",
        },
        "vaulted": {"endpoint": url},
        "nested": {
            "endpoint": url,
            "mlflow_environment": "{{ mlflow_domain }}/x y",
            "mlflow_permissions_boundary_arn": "{{ made_of }}",
            "made_of": "arn:{{ mlflow_domain }}",
        },
        "dead": {"endpoint": "http://127.0.0.1:1"},
        "elsewhere": {"endpoint": url, "mlflow_region": "us-east-1"},
    }
    code, output = play(tmp_path, hosts, AWS_SECRET_ACCESS_KEY="hunter2", AWS_REGION="eu-west-1")
    assert code == 2 and calls == [] and facts(output) == {}
    assert "Traceback" not in output and "hunter2" not in output
    for line in (
        "many cannot be deployed, 8 things to change:",
        "- mlflow_storag is set: there is no such setting; did you mean mlflow_storage.",
        "- mlflow_admin_password is set: there is no such setting; ",
        "- mlflow_auth is none: with mlflow_exposure public ",
        "- mlflow_allowed_cidrs is not set: ",
        "- mlflow_capacity_max is 2: two tasks on one SQLite file",
        "- mlflow_cpu is unreadable: 'nowhere' is undefined; ",
        "- ansible_python_interpreter is auto: ",
        "vaulted cannot be deployed, 1 thing to change:",
        "- mlflow_domain is (vaulted): it does not have the right form; ",
        "nested cannot be deployed, 6 things to change:",
        "- mlflow_allowed_cidrs is (vaulted): it has no prefix length; ",
        "- mlflow_allowed_cidrs is (vaulted): it is not an IPv4 network; ",
        "- mlflow_environment is (vaulted): it does not have the right form; ",
        "- mlflow_permissions_boundary_arn is (vaulted): it does not have the right form; ",
        "- mlflow_tags is (vaulted): ",
        "- AWS_ENDPOINT_URL is http://127.0.0.1:1: it cannot be reached (Connection refused); ",
        "- AWS_REGION is eu-west-1: mlflow_region is us-east-1; ",
    ):
        assert line in output, output


def test_a_login_for_another_account_is_refused_before_any_other_call(
    sts: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, calls = sts
    hosts = {"elsewhere": {"endpoint": url, "mlflow_account_id": "210987654321"}}
    code, output = play(tmp_path, hosts, AWS_SECRET_ACCESS_KEY="hunter2")
    assert code == 2 and calls == ["GOOD"] and facts(output) == {}
    assert "- mlflow_account_id is 210987654321: the AWS login is for account 123456789012; log in to " in output


def test_a_run_begins_with_the_account_where_none_is_named(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, calls = sts
    hosts = {name: {"endpoint": url, "mlflow_account_id": ""} for name in ("older", "newer", "forbidden")}
    code, output = play(tmp_path, hosts, AWS_SECRET_ACCESS_KEY="hunter2")
    assert code == 0, output
    assert sorted(calls) == ["AmazonSSM.GetParameters"] * 3 + ["GOOD"] * 3
    account = "is in account 123456789012, eu-west-1"
    advice = ' To have another refused, set mlflow_account_id: "123456789012".'
    assert f"older {account}, where it was deployed before.{advice}" in output
    assert f"newer {account}, where it was never deployed: a deployment makes a new one.{advice}" in output
    assert f"forbidden {account}.{advice}" in output


def test_only_settings_come_from_outside(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, calls = sts
    hosts = {
        "door": {"endpoint": url, "alb_scheme": "internet-facing", "alb_deletion_protection": False},
        "far": {"endpoint": url, "ansible_connection": "ssh"},
        "sound": {"endpoint": url, "team_networks": ["10.0.0.0/8"]},
    }
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "door.yml").write_text("mlfow_region: hunter2\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "mlflow.yml").write_text("ecs_service_auth: none\n")
    code, output = play(tmp_path, hosts, "-e", "preflight_refuse=false", AWS_SECRET_ACCESS_KEY="hunter2")
    assert code == 2 and calls == [] and "hunter2" not in output
    follows = "and follows from the settings"
    for line in (
        f"- alb_scheme is set by host door: it is role alb's, {follows}; set mlflow_exposure in its place.",
        f"- alb_deletion_protection is set by host door: it is role alb's, {follows}; set mlflow_deletion_prot",
        "- mlfow_region is set by host door: there is no such setting; did you mean mlflow_region.",
        f"- ecs_service_auth is set by group mlflow: it is role ecs_service's, {follows}; set mlflow_auth in its pl",
        "- ansible_connection is ssh: modules have to run on this machine, with its AWS login; remove it, ",
        f"- preflight_refuse is set by -e: it is role preflight's, {follows}; remove it.",
        "sound cannot be deployed, 2 things to change:",
    ):
        assert line in output, output


def test_a_test_may_give_a_roles_input_and_the_run_says_so(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = sts
    given = ("-e", "preflight_refuse=false")
    code, output = play(
        tmp_path, {"sound": {"endpoint": url}}, *given, AWS_SECRET_ACCESS_KEY="hunter2", MLFLOW_TEST_INPUTS="1"
    )
    assert code == 0, output
    assert (
        "[WARNING]: MLFLOW_TEST_INPUTS=1, so -e goes past every check of the settings with preflight_refuse." in output
    )


def test_no_and_expired_credentials(sts: tuple[str, list[str]], tmp_path: Path) -> None:
    url, calls = sts
    hosts = {"expired": {"endpoint": url, "key": "OLD"}, "none": {"endpoint": url, "key": ""}}
    code, output = play(tmp_path, hosts, "--limit", "none")
    assert code == 2 and calls == []
    assert "- the AWS login is not set: no credentials were found; set AWS_PROFILE" in output
    code, output = play(tmp_path, hosts, "--limit", "expired", AWS_SECRET_ACCESS_KEY="hunter2")
    assert code == 2 and calls == ["OLD"]
    assert "- the AWS login is expired: sts:GetCallerIdentity answered ExpiredToken; log in again" in output
    assert "Traceback" not in output and "hunter2" not in output


def test_every_play_leaves_the_check_to_preflight() -> None:
    """Ansible's own check of the spec runs first otherwise, and refuses empty and surveyed values."""
    used = 0
    for path in (ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml"))):
        for found in yaml.safe_load(path.read_text("utf-8")) or []:
            for task in [*found.get("pre_tasks", []), *found.get("tasks", [])]:
                role = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
                if role.get("name") == "preflight" and "tasks_from" not in role:
                    used += 1
                    assert role.get("rolespec_validate") is False, f"{path.name} needs rolespec_validate: false"
    assert used
