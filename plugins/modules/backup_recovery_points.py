#!/usr/bin/python
"""Manage what AWS Backup keeps of one resource; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_recovery_points
short_description: Manage the recovery points that AWS Backup keeps of one resource
description:
  - Counts them, or removes them. AWS Backup makes them, so V(present) changes nothing.
  - The vault of EFS's automatic backups has a policy that refuses every deletion until somebody changes it. A vault
    that refuses is named in a warning, and what it keeps counts as left.
options:
  resource_arn:
    description: ARN of the resource, which may be gone already.
    type: str
    required: true
  state:
    description: V(absent) removes the recovery points.
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
- name: Count the backups of the file system
  backup_recovery_points:
    resource_arn: "arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-0a1b2c3d4e5f60718"
  register: __efs_backups
"""

RETURN = r"""
count:
  description: How many recovery points there are afterwards.
  returned: always
  type: int
bytes:
  description: What they take together; what AWS does not say counts as nothing.
  returned: always
  type: int
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import ClientError, diff, doing, error_code, found  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

GONE = ("DELETING",)
DENIED = ("AccessDeniedException", "AccessDenied")


def read(backup: Any, resource: str) -> list[dict[str, Any]]:
    """Return the recovery points of `resource` as AWS Backup describes them, without those that go already."""
    points: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        answer = found(
            backup.list_recovery_points_by_resource, "ResourceNotFoundException", ResourceArn=resource, **more
        )
        points += (answer or {}).get("RecoveryPoints", [])
        if not (answer or {}).get("NextToken"):
            return [point for point in points if point.get("Status") not in GONE]
        more = {"NextToken": (answer or {})["NextToken"]}


def remove(module: Any, backup: Any, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove `points` and return those that a vault does not give away."""
    left: list[dict[str, Any]] = []
    for point in points:
        vault = point["BackupVaultName"]
        if vault in {other["BackupVaultName"] for other in left}:
            left.append(point)
            continue
        try:
            found(
                backup.delete_recovery_point,
                "ResourceNotFoundException",
                BackupVaultName=vault,
                RecoveryPointArn=point["RecoveryPointArn"],
            )
        except ClientError as error:
            if error_code(error) not in DENIED:
                raise
            left.append(point)
    for vault in sorted({point["BackupVaultName"] for point in left}):
        module.warn(
            f"The backup vault {vault} refuses to delete recovery points. Either its access policy does, as that of "
            "EFS's automatic backups by default (aws backup put-backup-vault-access-policy changes it), or this login "
            "has no right to backup:DeleteRecoveryPoint. What is left expires by itself."
        )
    return left


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "resource_arn": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    resource, absent = module.params["resource_arn"], module.params["state"] == "absent"
    backup = module.client("backup")
    with doing(module, f"read the recovery points of {resource}"):
        points = read(backup, resource)
    left = points
    if absent and module.check_mode:
        left = []
    elif absent:
        with doing(module, f"remove the recovery points of {resource}"):
            left = remove(module, backup, points)
    module.exit_json(
        changed=len(left) != len(points),
        diff=diff({"count": len(points)}, {"count": len(left)}),
        count=len(left),
        bytes=sum(point.get("BackupSizeBytes") or 0 for point in left),
    )


if __name__ == "__main__":
    main()
