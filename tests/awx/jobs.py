"""Playbooks as jobs of AWX: by ansible-runner, with the files and in the environment that AWX gives them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import sides
from tests.awx import rules

REVISION = "0123456789abcdef0123456789abcdef01234567"
# What AWX writes for an inventory without hosts.
EMPTY = {"all": {"hosts": []}, "_meta": {"hostvars": {}}}


class _Dumper(yaml.SafeDumper):
    """Marks every text as unsafe, as AWX does with answers and with what a node hands on."""


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


def meta(name: str, inventory: str) -> dict[str, Any]:
    """What AWX tells every job."""
    told = {"job_id": 7, "job_launch_type": "workflow", "project_revision": REVISION, "project_scm_branch": "main"}
    told |= {"job_template_name": name, "inventory_id": 3, "inventory_name": inventory, "user_name": "admin"}
    return {f"{prefix}_{key}": value for prefix in ("awx", "tower") for key, value in told.items()}


def environment(folder: Path) -> dict[str, str]:
    """What AWX 24 sets for a job, over what the shell has for no other AWS or Ansible."""
    ansible = {
        "ANSIBLE_FORCE_COLOR": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_ROLES_PATH": "/runner/requirements_roles:roles:~/.ansible/roles:/usr/share/ansible/roles",
        "ANSIBLE_COLLECTIONS_PATH": "/runner/requirements_collections:~/.ansible/collections",
    }
    return sides.own_environment(os.environ) | ansible | {"HOME": str(folder / "no-home"), "JOB_ID": "7"}


def extra_vars(told: Mapping[str, Any], trusted: Mapping[str, Any]) -> str:
    """The variables as AWX writes them: only what the template itself sets may hold templates."""
    return "".join(
        yaml.dump({name: value}, Dumper=yaml.SafeDumper if trusted.get(name) == value else _Dumper)
        for name, value in told.items()
    )


def ansible_inventory(*arguments: str) -> dict[str, Any]:
    """What ansible-inventory says under the repository's own configuration."""
    program = Path(sys.executable).with_name("ansible-inventory")
    env = sides.own_environment(os.environ)
    done = subprocess.run([program, *arguments], cwd=rules.ROOT, env=env, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def flattened(source: Path) -> dict[str, Any]:
    """The inventory as AWX keeps it."""
    read = ansible_inventory("-i", str(source), "--list", "--export")
    flat: dict[str, Any] = {"all": {"hosts": [], "vars": {}}, "_meta": read["_meta"]}
    for name, group in read.items():
        if name == "_meta":
            continue
        # What AWX keeps of a group is its hosts, its children and its variables; those of `all` become the inventory's.
        target = flat.setdefault(name, {})
        target.update({key: group[key] for key in ("hosts", "children", "vars") if key in group})
    return flat


def write_script(inventory: Mapping[str, Any], script: Path) -> Path:
    """Write the inventory as a job gets it: a script, away from the files that it came from."""
    script.write_text(f"#!{sys.executable}\nprint({json.dumps(inventory)!r})\n")
    script.chmod(0o700)
    return script


def run(
    folder: Path,
    project: Path,
    template: Mapping[str, Any],
    inventory: Mapping[str, Any],
    credential: Mapping[str, str],
    limit: str = "",
    **handed: Any,
) -> Job:
    """Run a job template; `handed` is from the survey or the node before, `credential` what a credential sets.

    `limit` is what was asked for on launch.
    """
    for part in ("env", "inventory"):
        (folder / part).mkdir(parents=True)
    (folder / "no-home").mkdir(mode=0o500)
    write_script(inventory, folder / "inventory/hosts")
    told = template.get("extra_vars", {}) | handed | meta(template["name"], template["inventory"])
    (folder / "env/extravars").write_text(extra_vars(told, template.get("extra_vars", {})))
    flags = (
        ["-u root"] + ["--check"] * (template["job_type"] == "check") + ["--diff"] * template.get("diff_mode", False)
    )
    (folder / "env/cmdline").write_text(" ".join(flags + [f"-l {limit}"] * bool(limit)))
    (folder / "env/envvars").write_text(json.dumps(environment(folder) | dict(credential)))
    program = str(Path(sys.executable).with_name("ansible-runner"))
    command = [program, "run", str(folder), "--playbook", template["playbook"], "--project-dir", str(project)]
    running = subprocess.Popen(
        [*command, "--ident", "7", "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    warm = False
    while running.poll() is None:
        warm = warm or runs("warm_server.py", project)
        time.sleep(0.2)
    left = folder / "artifacts/7"
    events = sorted(map(json.loads, (path.read_text() for path in left.glob("job_events/*.json"))), key=counter)
    stats = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
    said = "\n".join(event["stdout"] for event in events)
    return Job((left / "status").read_text(), said, stats[0].get("artifact_data", {}) if stats else {}, warm)


def plain(said: str) -> str:
    """What a job said, without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", said)


def counter(event: Mapping[str, Any]) -> int:
    """The place of an event among all."""
    return int(event["counter"])


def runs(word: str, project: Path) -> bool:
    """Whether a process of the project runs that has `word` in its command."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in command and str(project) in command:
            return True
    return False
