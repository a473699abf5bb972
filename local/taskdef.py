"""What a task definition means on this machine: pure functions from its JSON to a process's command and environment."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import config

SERVER_PORT = "MLFLOW_PORT"
TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"


@dataclass(frozen=True)
class SecretRef:
    """A `valueFrom`: the secret's ARN (or name), and what of it is meant."""

    arn: str
    key: str = ""
    stage: str = ""
    version: str = ""


def parse_secret(reference: str) -> SecretRef:
    """Read `arn:aws:secretsmanager:region:account:secret:name[:json-key:version-stage:version-id]`.

    Raises ValueError for anything else that begins with `arn:`; a bare name is taken as it is, as ECS does.
    """
    if not reference.startswith("arn:"):
        return SecretRef(reference)
    parts = reference.split(":")
    if len(parts) not in (7, 10) or parts[2] != "secretsmanager" or parts[5] != "secret":
        raise ValueError(f"{reference} is not an ARN of a secret, with :json-key:version-stage:version-id or without")
    return SecretRef(":".join(parts[:7]), *parts[7:])


def secret_value(text: str, reference: SecretRef) -> str:
    """What `reference` means in the secret's text. Raises ValueError (which never shows the text)."""
    if not reference.key:
        return text
    try:
        value = json.loads(text)[reference.key]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{reference.arn} has no JSON key {reference.key}") from None
    return value if isinstance(value, str) else json.dumps(value)


def container(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one container of a task definition. Raises Trouble when there are more."""
    containers = definition.get("containerDefinitions") or []
    if len(containers) != 1:
        raise config.Trouble(f"{len(containers)} containers in one task: this machine's stand-in runs exactly one.")
    found: Mapping[str, Any] = containers[0]
    return found


def container_port(spec: Mapping[str, Any]) -> int | None:
    """The first port that the container offers."""
    mappings = spec.get("portMappings") or []
    return int(mappings[0]["containerPort"]) if mappings else None


@dataclass(frozen=True)
class Mount:
    """A folder in the container: its path and its volume, which is scratch where there is no EFS file system."""

    path: str
    volume: str
    file_system: str = ""
    access_point: str = ""
    with_role: bool = False
    read_only: bool = False


def volumes(definition: Mapping[str, Any]) -> list[Mount]:
    """The mounts of the container; `with_role` where the task role's rights decide."""
    known = {volume["name"]: volume for volume in definition.get("volumes") or []}
    found = []
    for mount in container(definition).get("mountPoints") or []:
        name = mount["sourceVolume"]
        efs = known.get(name, {}).get("efsVolumeConfiguration") or {}
        authorization = efs.get("authorizationConfig") or {}
        found.append(
            Mount(
                mount["containerPath"].rstrip("/") or "/",
                name,
                efs.get("fileSystemId", ""),
                authorization.get("accessPointId") or "",
                authorization.get("iam") == "ENABLED",
                bool(mount.get("readOnly")),
            )
        )
    return found


def mounts(definition: Mapping[str, Any], files: Path, scratch: Path) -> dict[str, Path]:
    """Folders by container path: an EFS volume's below `files`, any other volume's below `scratch`."""
    return {
        mount.path: files / mount.file_system / (mount.access_point or "root")
        if mount.file_system
        else scratch / mount.volume
        for mount in volumes(definition)
    }


def environment(definition: Mapping[str, Any], port: int, folders: Mapping[str, Path]) -> dict[str, str]:
    """The definition's own variables, moved to this machine.

    MLFLOW_PORT becomes `port` where it names the container's port, a value that is or begins with the path of a mount
    becomes the folder that stands for it, and the load balancer speaks from this machine.
    """
    spec = container(definition)
    inside = container_port(spec)
    result = {}
    for item in spec.get("environment") or []:
        name, value = item["name"], item["value"]
        if name == SERVER_PORT and value == str(inside):
            value = str(port)
        if name == TRUSTED_PROXIES:
            value = config.HOST
        for path in sorted(folders, key=len, reverse=True):
            if value == path or value.startswith(path + "/"):
                value = str(folders[path]) + value[len(path) :]
                break
        result[name] = value
    return result


def patience(definition: Mapping[str, Any], grace: int) -> tuple[float, float]:
    """Seconds: (how long a task may take to become healthy, how long a healthy one may fail its checks)."""
    check = container(definition).get("healthCheck") or {}
    window = float((check.get("interval") or 30) * (check.get("retries") or 3))
    # Never less than this: a start with a migration takes half a minute on two idle cores, and they may be busy.
    return max(float(check.get("startPeriod") or 0) + window, float(grace), 240.0), window


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches(patterns: Any, value: str) -> bool:
    return any(fnmatch.fnmatchcase(value, str(pattern)) for pattern in _listed(patterns))


def _conditions_hold(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    for operator, tests in conditions.items():
        for key, expected in tests.items():
            actual = context.get(key.lower())
            if actual is None:
                return operator.endswith("IfExists")
            if operator.startswith("Bool"):
                held = actual in [str(value).lower() for value in _listed(expected)]
            else:
                held = _matches(expected, actual)
            if not held:
                return False
    return True


def allowed(policies: Sequence[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether identity policies allow `action` on `resource`; `context` has condition keys in lower case.

    It knows what policies of task roles use: Allow and Deny, Action, Resource, string, ARN and Bool conditions.
    """
    answer = False
    for policy in policies:
        for statement in _listed(policy.get("Statement") or []):
            actions = [str(one).lower() for one in _listed(statement.get("Action") or [])]
            if not _matches(actions, action.lower()) or not _matches(statement.get("Resource") or [], resource):
                continue
            if not _conditions_hold(statement.get("Condition") or {}, context):
                continue
            if statement.get("Effect") == "Deny":
                return False
            answer = True
    return answer
