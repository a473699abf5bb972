#!/usr/bin/python
"""Manage one secret whose value is generated once; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: generated_secret
short_description: Manage one secret whose value is generated once
description:
  - The value is generated where the secret has none, and never again, never read and never returned.
  - What nobody asked for goes, such as a resource policy, a rotation, a replica, another KMS key or tags.
  - A secret that is scheduled for deletion and wanted again is restored, with the value that it had.
  - Unlike C(community.aws.secretsmanager_secret) it needs no right to read the value.
options:
  name:
    description: Name of the secret.
    type: str
    required: true
  description:
    description: Description of the secret.
    type: str
    default: ""
  username:
    description:
      - With it the value is JSON with the keys C(username) and C(password), of which the second is generated. Without
        it the whole value is.
    type: str
    default: ""
  length:
    description: Letters and digits that are generated.
    type: int
    default: 32
  copy_of:
    description:
      - Name of the secret whose value a new secret gets instead of a generated one. It needs the right to read
        that value. An empty string generates one.
    type: str
    default: ""
  kms_key_id:
    description: KMS key of the secret; an empty string is AWS's own key for Secrets Manager.
    type: str
    default: ""
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  recovery_days:
    description: Days in which a removed secret can be restored, 7 to 30; 0 removes it at once.
    type: int
    default: 30
  state:
    description: Whether the secret is present.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Never shows the value, only whether there is one.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Generate the administrator's password once
  generated_secret:
    name: mlflow/team-a/admin
    description: Administrator of team-a
    username: admin
    tags: "{{ ecs_service_tags }}"

- name: Remove it, and leave a week to think again
  generated_secret:
    name: mlflow/team-a/admin
    recovery_days: 7
    state: absent
"""

RETURN = r"""
secret_arn:
  description: ARN of the secret; null when it is absent or would be created by a check.
  returned: always
  type: str
"""

import json  # noqa: E402
import secrets  # noqa: E402
import string  # noqa: E402
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

Properties = dict[str, Any]
MISSING = "ResourceNotFoundException"
AWS_KEY = "alias/aws/secretsmanager"
CURRENT = "AWSCURRENT"


def key_of(key: str | None) -> str:
    """Return the KMS key `key` as the option has it."""
    return "" if not key or key.endswith(AWS_KEY) else key


def current(client: Any, name: str) -> tuple[str | None, Properties]:
    """Return (ARN, properties) of the secret `name`, or (None, {})."""
    secret = found(client.describe_secret, MISSING, SecretId=name)
    if secret is None:
        return None, {}
    deleted = bool(secret.get("DeletedDate"))
    # The policy of one that is scheduled for deletion cannot be read.
    policy = {} if deleted else client.get_resource_policy(SecretId=name)
    return secret["ARN"], {
        "description": secret.get("Description", ""),
        "kms_key_id": key_of(secret.get("KmsKeyId")),
        "value": any(CURRENT in stages for stages in (secret.get("VersionIdsToStages") or {}).values()),
        "scheduled_for_deletion": deleted,
        "resource_policy": policy.get("ResourcePolicy") or "",
        "rotation": bool(secret.get("RotationEnabled")),
        "replicas": sorted(each["Region"] for each in secret.get("ReplicationStatus") or []),
        "tags": tag_dict(secret.get("Tags")),
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for, in the form of `current`."""
    return {
        "description": params["description"],
        "kms_key_id": key_of(params["kms_key_id"]),
        "value": True,
        "scheduled_for_deletion": False,
        "resource_policy": "",
        "rotation": False,
        "replicas": [],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def new_value(client: Any, params: Properties) -> str:
    """Return the value of a secret that has none yet."""
    if params["copy_of"]:
        return str(client.get_secret_value(SecretId=params["copy_of"])["SecretString"])
    password = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(params["length"]))
    return json.dumps({"username": params["username"], "password": password}) if params["username"] else password


def make(module: AnsibleAWSModule, client: Any, after: Properties) -> tuple[str, Properties]:
    """Create the secret and return (ARN, properties), also where the answer of an earlier attempt got lost."""
    name = module.params["name"]
    request = {
        "Name": name,
        "SecretString": new_value(client, module.params),
        **({"Description": after["description"]} if after["description"] else {}),
        **({"KmsKeyId": after["kms_key_id"]} if after["kms_key_id"] else {}),
        **({"Tags": tag_list(after["tags"])} if after["tags"] else {}),
    }

    def look() -> tuple[str, Properties] | None:
        arn, before = current(client, name)
        return (arn, before) if arn else None

    def attempt() -> Any:
        exists = ("ResourceExistsException",)
        return create(module, "secretsmanager", "create_secret", look, already=exists, **request)

    # For a moment AWS remembers a name whose secret was removed at once.
    made = patiently(attempt, "InvalidRequestException")()
    return made if isinstance(made, tuple) else (str(made["ARN"]), after)


def apply(client: Any, params: Properties, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`."""
    name = params["name"]
    if before["scheduled_for_deletion"]:
        client.restore_secret(SecretId=name)
        # It comes back as it was, with a policy that could not be read until now.
        before = current(client, name)[1]
    if before["resource_policy"]:
        client.delete_resource_policy(SecretId=name)
    if before["rotation"]:
        client.cancel_rotate_secret(SecretId=name)
    if before["replicas"]:
        client.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=before["replicas"])
    if before["kms_key_id"] != after["kms_key_id"]:
        client.update_secret(SecretId=name, KmsKeyId=after["kms_key_id"] or AWS_KEY)
    if before["description"] != after["description"]:
        client.update_secret(SecretId=name, Description=after["description"])
    if not before["value"]:
        client.put_secret_value(SecretId=name, SecretString=new_value(client, params))
    setting, removing = tag_changes(before["tags"], after["tags"])
    if setting:
        client.tag_resource(SecretId=name, Tags=tag_list(setting))
    if removing:
        client.untag_resource(SecretId=name, TagKeys=removing)


def remove(client: Any, params: Properties) -> None:
    """Remove the secret, at once or after the recovery days."""
    days = params["recovery_days"]
    when = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    found(client.delete_secret, MISSING, SecretId=params["name"], **when)


def converge(module: AnsibleAWSModule, client: Any, arn: str | None, before: Properties, after: Properties) -> str:
    """Bring the secret from `before`, empty where there is none, to `after` and return its ARN."""
    if not arn:
        arn, before = make(module, client, after)
    apply(client, module.params, before, after)
    return arn


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "name": {"type": "str", "required": True},
        "description": {"type": "str", "default": ""},
        "username": {"type": "str", "default": ""},
        "length": {"type": "int", "default": 32},
        "copy_of": {"type": "str", "default": ""},
        "kms_key_id": {"type": "str", "default": ""},
        "tags": {"type": "dict"},
        "recovery_days": {"type": "int", "default": 30},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    name, present, days = (module.params[key] for key in ("name", "state", "recovery_days"))
    present = present == "present"
    if days and not 7 <= days <= 30:
        module.fail_json(msg=f"recovery_days is {days}: AWS takes 7 to 30; give one of those, or 0 to remove at once.")
    client = module.client("secretsmanager")
    with doing(module, f"read the secret {name}"):
        arn, before = current(client, name)
    if not present and before.get("scheduled_for_deletion") and days:
        arn, before = None, {}
    after = wanted(module.params, before) if present else {}
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'remove'} the secret {name}"):
            if after:
                arn = converge(module, client, arn, before, after)
            else:
                remove(client, module.params)
                arn = None
    module.exit_json(secret_arn=arn, **result)


if __name__ == "__main__":
    main()
