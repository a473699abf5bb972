#!/usr/bin/python
"""Manage the task definition of one family; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_definition
short_description: Manage the task definition of one family for Fargate
description:
  - Compares all that is asked for with the newest active revision and registers another one where anything differs.
    Older revisions are never taken up again.
  - Unlike C(community.aws.ecs_taskdefinition) it compares the whole definition - the elements of lists, roles, size,
    platform and volumes - and tags it. What AWS fills in by itself is no difference; what is set and not asked for is.
options:
  family:
    description: Name of the family.
    type: str
    required: true
  containers:
    description:
      - The containers as ECS takes them. The order does not count where ECS gives it no meaning, as of environment,
        secrets, ports and mounts. Required with O(state=present).
    type: list
    elements: dict
  volumes:
    description: The volumes as ECS takes them.
    type: list
    elements: dict
    default: []
  cpu:
    description: CPU units of a task, 1024 to a vCPU. Required with O(state=present).
    type: str
  memory:
    description: Memory of a task in MiB. Required with O(state=present).
    type: str
  architecture:
    description: CPU architecture of the tasks.
    type: str
    choices: [X86_64, ARM64]
    default: X86_64
  ephemeral_storage_gib:
    description: Storage of a task in GiB, 21 to 200. Without it ECS gives 20.
    type: int
  execution_role_arn:
    description: Role that starts the tasks.
    type: str
  task_role_arn:
    description: Role of the containers.
    type: str
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) deregisters every revision of the family.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Register the task definition
  ecs_task_definition:
    family: team-a
    cpu: 512
    memory: 1024
    containers:
      - name: web
        image: example/web@sha256:0123
        portMappings: [{containerPort: 8080}]

- name: Deregister every revision
  ecs_task_definition:
    family: team-a
    state: absent
"""

RETURN = r"""
task_definition_arn:
  description: ARN of the newest revision; null when there is none or a check would register it.
  returned: always
  type: str
  sample: "arn:aws:ecs:eu-west-1:123456789012:task-definition/team-a:3"
revision:
  description: Its family and number, also where a check would register it. Null with O(state=absent).
  returned: always
  type: str
  sample: team-a:3
"""

import time  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    BotoCoreError,
    ClientError,
    create,
    diff,
    doing,
    error_code,
    patiently,
    reason,
)
from ansible.module_utils.mlflow_ecs import ecs_tag_dict, ecs_tag_list, meaningful, retag_ecs  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
# What AWS says of a revision and nobody asks for.
NOT_ASKED = frozenset(
    (
        "compatibilities",
        "deleteRequestedAt",
        "deregisteredAt",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "revision",
        "status",
        "taskDefinitionArn",
    )
)
# Lists whose order has no meaning, by what their elements are known by.
KEYS = {
    "containerDefinitions": "name",
    "credentialSpecs": "",
    "dependsOn": "containerName",
    "dockerSecurityOptions": "",
    "environment": "name",
    "extraHosts": "hostname",
    "mountPoints": "containerPath",
    "portMappings": "containerPort",
    "requiresCompatibilities": "",
    "resourceRequirements": "type",
    "secretOptions": "name",
    "secrets": "name",
    "systemControls": "namespace",
    "tmpfs": "containerPath",
    "ulimits": "name",
    "volumes": "name",
    "volumesFrom": "sourceContainer",
    "add": "",
    "drop": "",
}
# What a field of an element means where it is left out.
CONTAINER_DEFAULTS = {"essential": True, "versionConsistency": "enabled"}
HEALTH_CHECK_DEFAULTS = {"interval": 30, "timeout": 5, "retries": 3, "startPeriod": 0}
EFS_DEFAULTS = {"rootDirectory": "/", "transitEncryption": "DISABLED"}
PLATFORM_DEFAULTS = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"}
# A role that has just been made is not known everywhere yet.
UNKNOWN_ROLE = ("role is not valid", "unable to assume", "cannot be assumed")
ROLE_ATTEMPTS = 12
ROLE_PAUSE_SECONDS = 5.0


def with_defaults(container: Mapping[str, Any]) -> Properties:
    """Return a container with the values that ECS fills in."""
    full = {**CONTAINER_DEFAULTS, **meaningful(container)}
    if container.get("essential") is False:
        full["essential"] = "false"
    if full.get("cpu") == 0:
        del full["cpu"]
    if "healthCheck" in full:
        full["healthCheck"] = {**HEALTH_CHECK_DEFAULTS, **full["healthCheck"]}
    full["portMappings"] = [
        {"hostPort": port.get("containerPort"), "protocol": "tcp", **port} for port in full.get("portMappings", [])
    ]
    return full


def volume_with_defaults(volume: Mapping[str, Any]) -> Properties:
    """Return a volume with the values that ECS fills in."""
    full: Properties = meaningful(volume)
    if "efsVolumeConfiguration" in full:
        efs = {**EFS_DEFAULTS, **full["efsVolumeConfiguration"]}
        if efs.get("authorizationConfig"):
            efs["authorizationConfig"] = {"iam": "DISABLED", **efs["authorizationConfig"]}
        full["efsVolumeConfiguration"] = efs
    return full


def by_key(name: str, value: Any) -> Any:
    """Return `value` of the field `name` with its lists, at any depth, in a form in which only meaning counts."""
    if isinstance(value, dict):
        return {key: by_key(key, item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    elements = [by_key("", item) for item in value]
    key = KEYS.get(name)
    if key is None:
        return elements
    names = [str(element.get(key)) for element in elements] if key else []
    if key and len(set(names)) == len(names):
        return {
            one: {field: item for field, item in element.items() if field != key}
            for one, element in zip(names, elements, strict=True)
        }
    return sorted(elements, key=str)


def comparable(definition: Mapping[str, Any]) -> Properties:
    """Return a definition, as asked for or as AWS describes it, so that equal ones are equal; {} of {}."""
    if not definition:
        return {}
    full = {key: value for key, value in definition.items() if key not in NOT_ASKED}
    full["containerDefinitions"] = [with_defaults(each) for each in full.get("containerDefinitions") or []]
    full["volumes"] = [volume_with_defaults(each) for each in full.get("volumes") or []]
    full["runtimePlatform"] = {**PLATFORM_DEFAULTS, **meaningful(full.get("runtimePlatform") or {})}
    for size in ("cpu", "memory"):
        full[size] = str(full.get(size) or "")
    result: Properties = by_key("", meaningful(full))
    return result


def asked(params: Properties) -> Properties:
    """Return the definition that `params` ask for, as ECS takes it."""
    definition: Properties = {
        "family": params["family"],
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": params["cpu"],
        "memory": params["memory"],
        "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": params["architecture"]},
        "containerDefinitions": params["containers"],
        "volumes": params["volumes"],
    }
    if params["ephemeral_storage_gib"]:
        definition["ephemeralStorage"] = {"sizeInGiB": params["ephemeral_storage_gib"]}
    for key, name in (("executionRoleArn", "execution_role_arn"), ("taskRoleArn", "task_role_arn")):
        if params[name]:
            definition[key] = params[name]
    return definition


def newest(ecs: Any, family: str) -> tuple[Properties, dict[str, str]]:
    """Return (AWS's description of the newest active revision, its tags), or ({}, {})."""
    try:
        answer = ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
    except ClientError as error:
        # ECS has one code for all that is wrong with a request.
        if error_code(error) == "ClientException" and "unable to describe" in str(error).lower():
            return {}, {}
        raise
    definition = dict(answer["taskDefinition"])
    if definition["status"] != "ACTIVE":
        return {}, {}
    return definition, ecs_tag_dict(answer.get("tags"))


def active_revisions(ecs: Any, family: str) -> list[str]:
    """Return the ARNs of every active revision of `family`."""
    pages = ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status="ACTIVE")
    arns = [arn for page in pages for arn in page["taskDefinitionArns"]]
    # The prefix also finds the families whose names go on.
    return [arn for arn in arns if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == family]


def unknown_role(error: BaseException) -> bool:
    """Return whether ECS does not know a role yet."""
    text = reason(error).lower()
    return any(words in text for words in UNKNOWN_ROLE)


def register(module: Any, ecs: Any, definition: Properties, tags: dict[str, str]) -> Properties:
    """Register `definition` once and return AWS's description; a revision that a lost answer has left is taken."""

    def look() -> Properties | None:
        latest, _ = newest(ecs, definition["family"])
        return {"taskDefinition": latest} if comparable(latest) == comparable(definition) else None

    request = {**definition, **({"tags": ecs_tag_list(tags)} if tags else {})}
    for attempt in range(ROLE_ATTEMPTS):
        try:
            made = create(module, "ecs", "register_task_definition", look, **request)
            return dict(made["taskDefinition"])
        except (ClientError, BotoCoreError) as error:
            if not unknown_role(error) or attempt + 1 == ROLE_ATTEMPTS:
                raise
            time.sleep(ROLE_PAUSE_SECONDS)
    return {}


def converge(module: Any, ecs: Any) -> None:
    """Register or tag what `module` asks for, and end it."""
    params = module.params
    family = params["family"]
    with doing(module, f"read the task definition {family}"):
        standing, tags = newest(ecs, family)
    definition = asked(params)
    tags_after = tags if params["tags"] is None else params["tags"]
    before = {**comparable(standing), "tags": tags} if standing else {}
    after = {**comparable(definition), "tags": tags_after}
    registers = comparable(standing) != comparable(definition)
    number = standing.get("revision", 0) + registers
    arn = standing.get("taskDefinitionArn")
    if not module.check_mode and registers:
        with doing(module, f"register the task definition {family}"):
            made = register(module, ecs, definition, tags_after)
        arn, number = made["taskDefinitionArn"], made["revision"]
    elif not module.check_mode and before != after:
        with doing(module, f"tag the task definition {family}"):
            retag_ecs(ecs, str(arn), tags, tags_after)
    elif registers:
        arn = None
    result = {"task_definition_arn": arn, "revision": f"{family}:{number}"}
    module.exit_json(changed=before != after, diff=diff(before, after), **result)


def remove(module: Any, ecs: Any) -> None:
    """Deregister every revision, and end the module."""
    family = module.params["family"]
    with doing(module, f"list the task definitions of {family}"):
        arns = active_revisions(ecs, family)
    if not module.check_mode:
        with doing(module, f"deregister the task definitions of {family}"):
            for arn in arns:
                patiently(ecs.deregister_task_definition)(taskDefinition=arn)
    changes = diff({"revisions": arns}, {"revisions": []})
    module.exit_json(changed=bool(arns), diff=changes, task_definition_arn=None, revision=None)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "family": {"type": "str", "required": True},
            "containers": {"type": "list", "elements": "dict"},
            "volumes": {"type": "list", "elements": "dict", "default": []},
            "cpu": {"type": "str"},
            "memory": {"type": "str"},
            "architecture": {"type": "str", "choices": ["X86_64", "ARM64"], "default": "X86_64"},
            "ephemeral_storage_gib": {"type": "int"},
            "execution_role_arn": {"type": "str"},
            "task_role_arn": {"type": "str"},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["containers", "cpu", "memory"])],
        supports_check_mode=True,
    )
    ecs = module.client("ecs")
    if module.params["state"] == "present":
        converge(module, ecs)
    remove(module, ecs)


if __name__ == "__main__":
    main()
