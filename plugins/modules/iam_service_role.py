#!/usr/bin/python
"""Manage one IAM role of an AWS service; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_role
short_description: Manage one IAM role that an AWS service assumes
description:
  - Manages everything that decides what the role may do, in one task. What is not asked for goes, such as inline
    policies and attached managed policies that somebody has added by hand, a permissions boundary or tags.
  - Policy documents are compared by their meaning, so the order of their statements and a list of one do not matter.
  - Unlike C(amazon.aws.iam_role) with C(amazon.aws.iam_policy) it predicts the whole role in check mode.
  - AWS cannot move a role to another path; a difference there is refused.
options:
  name:
    description: Name of the role, unique in the account whatever its path is.
    type: str
    required: true
  path:
    description: Path of the role. O(state=absent) leaves a role of this name at another path alone.
    type: str
    default: /mlflow/
  description:
    description: Description of the role.
    type: str
    default: ""
  trust:
    description: Policy that says who may assume the role. Required with O(state=present).
    type: dict
  boundary_arn:
    description: ARN of the managed policy that bounds the role; an empty string removes a boundary.
    type: str
    default: ""
  max_session_duration:
    description: Seconds that a session may take at most.
    type: int
    default: 3600
  policies:
    description: The exact inline policies, each document by the name of its policy.
    type: dict
    default: {}
  managed_policy_arns:
    description: ARNs of exactly those managed policies that are attached.
    type: list
    elements: str
    default: []
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) removes the role with its policies, and takes it out of instance profiles.
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
- name: Converge the role of the tasks
  iam_service_role:
    name: mlflow-team-a-eu-west-1-task
    description: Tracking server of team-a
    trust: "{{ lookup('ansible.builtin.template', 'trust.json.j2') }}"
    policies:
      keep-artifacts: "{{ lookup('ansible.builtin.template', 'task_policy.json.j2') | from_json }}"
    tags: "{{ ecs_service_tags }}"

- name: Remove the role of the tasks
  iam_service_role:
    name: mlflow-team-a-eu-west-1-task
    state: absent
"""

RETURN = r"""
role_arn:
  description: ARN of the role; null when it is absent or would be created by a check.
  returned: always
  type: str
"""

import json  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    found,
    patiently,
    tag_changes,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies  # noqa: E402

Properties = dict[str, Any]
MISSING = "NoSuchEntity"


def listed(iam: Any, operation: str, key: str, **arguments: str) -> list[Any]:
    """Return all of `key` that the paged `operation` answers."""
    pages = iam.get_paginator(operation).paginate(**arguments)
    return [each for page in pages for each in page[key]]


def attached(iam: Any, name: str) -> list[str]:
    """Return the sorted ARNs of the managed policies of the role `name`."""
    found = listed(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=name)
    return sorted(policy["PolicyArn"] for policy in found)


def inline(iam: Any, name: str) -> dict[str, Any]:
    """Return the inline policies of the role `name`, each document by its policy's name."""
    return {
        policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in listed(iam, "list_role_policies", "PolicyNames", RoleName=name)
    }


def current(iam: Any, name: str) -> tuple[str | None, Properties]:
    """Return (ARN, properties) of the role `name`, or (None, {})."""
    answer = found(iam.get_role, MISSING, RoleName=name)
    if answer is None:
        return None, {}
    role = answer["Role"]
    return role["Arn"], {
        "path": role["Path"],
        "description": role.get("Description", ""),
        "trust": role["AssumeRolePolicyDocument"],
        "boundary_arn": (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn", ""),
        "max_session_duration": role.get("MaxSessionDuration", 3600),
        "policies": inline(iam, name),
        "managed_policy_arns": attached(iam, name),
        "tags": tag_dict(role.get("Tags")),
    }


def same(document: Any, other: Any) -> bool:
    """Return whether two policy documents mean the same."""
    return bool(document) and bool(other) and not compare_policies(document, other)


def kept(before: Any, after: Any) -> Any:
    """Return `before` where both documents mean the same, so that they compare equal, else `after`."""
    return before if same(before, after) else after


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for, in the form of `current`."""
    policies = before.get("policies", {})
    return {
        "path": params["path"],
        "description": params["description"],
        "trust": kept(before.get("trust"), params["trust"]),
        "boundary_arn": params["boundary_arn"],
        "max_session_duration": params["max_session_duration"],
        "policies": {name: kept(policies.get(name), document) for name, document in params["policies"].items()},
        "managed_policy_arns": sorted(set(params["managed_policy_arns"])),
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def refuse(module: AnsibleAWSModule, before: Properties) -> None:
    """Fail where the name is taken by a role at another path."""
    name, path = module.params["name"], module.params["path"]
    if before and before["path"] != path:
        module.fail_json(
            msg=f"The role {name} is at the path {before['path']} instead of {path}, and AWS cannot move a role; "
            "delete it, or choose another name."
        )


def make(module: AnsibleAWSModule, iam: Any, after: Properties) -> tuple[str, Properties]:
    """Create the role without its policies and return (ARN, properties), also where an earlier answer got lost."""
    name = module.params["name"]
    request = {
        "RoleName": name,
        "Path": after["path"],
        "AssumeRolePolicyDocument": json.dumps(after["trust"]),
        "MaxSessionDuration": after["max_session_duration"],
        **({"Description": after["description"]} if after["description"] else {}),
        **({"PermissionsBoundary": after["boundary_arn"]} if after["boundary_arn"] else {}),
        **({"Tags": tag_list(after["tags"])} if after["tags"] else {}),
    }

    def look() -> tuple[str, Properties] | None:
        arn, before = current(iam, name)
        return (arn, before) if arn else None

    made = create(module, "iam", "create_role", look, already=("EntityAlreadyExists",), **request)
    if isinstance(made, tuple):
        refuse(module, made[1])
        return made
    return str(made["Role"]["Arn"]), {**after, "policies": {}, "managed_policy_arns": []}


def apply_policies(iam: Any, name: str, before: Properties, after: Properties) -> None:
    """Bring the attached and inline policies to `after`; what goes, goes first."""
    for arn in sorted(set(before["managed_policy_arns"]) - set(after["managed_policy_arns"])):
        found(iam.detach_role_policy, MISSING, RoleName=name, PolicyArn=arn)
    for policy in sorted(set(before["policies"]) - set(after["policies"])):
        found(iam.delete_role_policy, MISSING, RoleName=name, PolicyName=policy)
    for policy, document in sorted(after["policies"].items()):
        if before["policies"].get(policy) != document:
            put = patiently(iam.put_role_policy, MISSING)
            put(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    for arn in sorted(set(after["managed_policy_arns"]) - set(before["managed_policy_arns"])):
        patiently(iam.attach_role_policy, MISSING)(RoleName=name, PolicyArn=arn)


def apply(iam: Any, name: str, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`; a boundary is there before anything that it has to bound."""
    if before["boundary_arn"] != after["boundary_arn"] and after["boundary_arn"]:
        iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=after["boundary_arn"])
    if before["trust"] != after["trust"]:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(after["trust"]))
    apply_policies(iam, name, before, after)
    if before["boundary_arn"] and not after["boundary_arn"]:
        found(iam.delete_role_permissions_boundary, MISSING, RoleName=name)
    if any(before[key] != after[key] for key in ("description", "max_session_duration")):
        iam.update_role(
            RoleName=name, Description=after["description"], MaxSessionDuration=after["max_session_duration"]
        )
    setting, removing = tag_changes(before["tags"], after["tags"])
    if setting:
        iam.tag_role(RoleName=name, Tags=tag_list(setting))
    if removing:
        iam.untag_role(RoleName=name, TagKeys=removing)


def remove(iam: Any, name: str, before: Properties) -> None:
    """Delete the role, after what AWS wants to be taken off it."""
    apply_policies(iam, name, before, {"policies": {}, "managed_policy_arns": []})
    for profile in listed(iam, "list_instance_profiles_for_role", "InstanceProfiles", RoleName=name):
        profile_name = profile["InstanceProfileName"]
        found(iam.remove_role_from_instance_profile, MISSING, RoleName=name, InstanceProfileName=profile_name)
    found(patiently(iam.delete_role, "DeleteConflict", "ConcurrentModification"), MISSING, RoleName=name)


def converge(module: AnsibleAWSModule, iam: Any, arn: str | None, before: Properties, after: Properties) -> str | None:
    """Bring the role from `before` to `after`, either of them empty where there is no role, and return its ARN."""
    name = module.params["name"]
    if not after:
        remove(iam, name, before)
        return None
    if not arn:
        arn, before = make(module, iam, after)
        after = wanted(module.params, before)
    apply(iam, name, before, after)
    return arn


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "default": "/mlflow/"},
        "description": {"type": "str", "default": ""},
        "trust": {"type": "dict"},
        "boundary_arn": {"type": "str", "default": ""},
        "max_session_duration": {"type": "int", "default": 3600},
        "policies": {"type": "dict", "default": {}},
        "managed_policy_arns": {"type": "list", "elements": "str", "default": []},
        "tags": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=argument_spec(), required_if=[("state", "present", ["trust"])], supports_check_mode=True
    )
    name, present = module.params["name"], module.params["state"] == "present"
    iam = module.client("iam")
    with doing(module, f"read the role {name}"):
        arn, before = current(iam, name)
    if present:
        refuse(module, before)
    elif before and before["path"] != module.params["path"]:
        arn, before = None, {}
    after = wanted(module.params, before) if present else {}
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'delete'} the role {name}"):
            arn = converge(module, iam, arn, before, after)
    module.exit_json(role_arn=arn, **result)


if __name__ == "__main__":
    main()
