"""Action plugin of role drift: gives the module of its name a digest of all that decides what a run does.

That is what the run was told, the code that runs, and the versions of what it runs on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore
from ansible import context
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version

ROOT = Path(__file__).resolve().parents[2]
# An action plugin runs outside of any package.
sys.path.append(str(ROOT))
from plugins.plugin_utils.as_task import run_as_task  # noqa: E402

CODE = ("site.yml", "group_vars", "roles", "plugins", "docker")
# The code that reads a stack: what it does not read, or reads in another way, has not been changed by anybody.
READS = ("plugins/modules/stack_drift.py", "plugins/module_utils/mlflow_drift.py")
COLLECTIONS = ("amazon.aws", "community.aws")
# They change nothing of the stack.
LOOKING = ("preflight", "drift", "lock", "verify")
# What is asked of one run only and changes nothing of the stack.
OF_ONE_RUN = (
    "accept_drift",
    "deployment_failed",
    "destroy_confirm",
    "fail_on_changes",
    "full_run",
    "release_image",
    "verify",
    "verify_url",
)


def files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files named, and all below the folders named, in one order; not what Python writes there itself."""
    for name in names:
        place = root / name
        below = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (file for file in below if file.is_file() and "__pycache__" not in file.parts)


def code(root: Path = ROOT, names: Iterable[str] = CODE) -> str:
    """SHA-256 of the code named, by default of all that converges."""
    total = hashlib.sha256()
    for file in files(root, names):
        total.update(f"{file.relative_to(root)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()


def content(path: str) -> str:
    """SHA-256 of a file that a setting names; "" for what is no file, such as a URL."""
    file = Path(path).expanduser()
    return hashlib.sha256(file.read_bytes()).hexdigest() if path and file.is_file() else ""


def collection_version(loader: Any, name: str) -> str:
    """The version of an installed collection, or where it is from when it says none."""
    found = loader.find_plugin_with_context(f"{name}.{'aws_caller_info' if name == 'amazon.aws' else 'ecs_cluster'}")
    folder = Path(found.plugin_resolved_path or "").parents[2] if found.resolved else None
    manifest = folder / "MANIFEST.json" if folder else None
    if manifest is None or not manifest.is_file():
        return str(folder)
    return str(json.loads(manifest.read_text())["collection_info"]["version"])


def overriding(variables: Mapping[str, Any], roles: Iterable[str]) -> dict[str, str]:
    """The variables of the roles and of the wiring, not yet templated: whoever sets one past the settings is seen."""
    prefixes = tuple(f"{under}{name}_" for name in (*roles, "wiring") for under in ("", "__"))
    return {name: repr(plain(value)) for name, value in sorted(variables.items()) if name.startswith(prefixes)}


def plain(value: Any) -> Any:
    """The value without Ansible's tags, whose text would differ."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def is_whole(cli: Mapping[str, Any]) -> bool:
    """Whether the command runs every task of the play."""
    everything = list(cli.get("tags") or ["all"]) == ["all"] and not cli.get("skip_tags")
    return everything and not cli.get("step") and not cli.get("start_at_task")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module with what it cannot know by itself."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what the module returns, and `whole`: whether this run leaves no task out."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        task = self._task.copy()
        # At the end of a run the variables of the roles hold what the run has found, so the first digest stays.
        if "before" not in task.args:
            settings = plain(self._templar.template(variables["mlflow"]))
            settings = {name: value for name, value in settings.items() if name not in OF_ONE_RUN}
            given = {"inputs": self._digest(settings, variables), "settings": settings, "reads": code(names=READS)}
            task.args = task.args | given
        return result | run_as_task(self, task, variables) | {"whole": is_whole(context.CLIARGS)}

    def _digest(self, settings: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
        roles = sorted(folder.name for folder in (ROOT / "roles").iterdir() if folder.name not in LOOKING)
        modules = self._shared_loader_obj.module_loader
        told = {
            "settings": settings,
            "overriding": overriding(variables, roles),
            "ca_bundle": content(settings["image_ca_bundle"]),
            "code": code(),
            "versions": [ansible_version, botocore.__version__, *(collection_version(modules, c) for c in COLLECTIONS)],
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
