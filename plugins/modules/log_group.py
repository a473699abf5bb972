#!/usr/bin/python
"""Manage one CloudWatch Logs log group; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_group
short_description: Manage one CloudWatch Logs log group
description:
  - Keeps retention and tags, and removes what sends the group's lines elsewhere or hides them. Unlike
    C(amazon.aws.cloudwatchlogs_log_group) it sees subscription filters, metric filters, a KMS key, a data protection
    policy and deletion protection, and nobody asks for any of these here.
  - The class of a log group is left alone, since AWS cannot change it.
options:
  name:
    description: Name of the log group.
    type: str
    required: true
  retention_days:
    description: Days that lines are kept. Required with O(state=present).
    type: int
    choices: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) deletes the log group with its lines.
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
- name: Keep the lines of the server for a month
  log_group:
    name: /mlflow/team-a
    retention_days: 30
    tags: "{{ ecs_service_tags }}"

- name: Remove the log group
  log_group:
    name: /mlflow/team-a
    state: absent
"""

RETURN = r"""
log_group_arn:
  description: ARN of the log group, without C(:*); null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: "arn:aws:logs:eu-west-1:123456789012:log-group:/mlflow/team-a"
"""

from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, found, tag_changes  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
RETENTION = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
GONE = "ResourceNotFoundException"
# What a new log group is like.
NEW: Properties = {
    "retention_days": None,
    "kms_key_id": None,
    "data_protection": False,
    "deletion_protection": False,
    "subscription_filters": [],
    "metric_filters": [],
    "tags": {},
}


class LogGroup:
    """One log group. After `read`, `standing` is CloudWatch's description of it, or None."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.name: str = module.params["name"]
        self.logs = module.client("logs")
        self.standing: Properties | None = None

    def read(self) -> Properties | None:
        """Find the group by its exact name."""
        pages = self.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=self.name)
        groups = (group for page in pages for group in page["logGroups"])
        self.standing = next((group for group in groups if group["logGroupName"] == self.name), None)
        return self.standing

    @property
    def arn(self) -> str | None:
        """ARN of the group, in the form that tags and policies take."""
        return str(self.standing["arn"]).removesuffix(":*") if self.standing else None

    def properties(self) -> Properties:
        """Return what AWS describes of the group, in the form of NEW, or {}."""
        if self.standing is None:
            return {}
        subscriptions = self.logs.describe_subscription_filters(logGroupName=self.name)["subscriptionFilters"]
        metrics = self.logs.describe_metric_filters(logGroupName=self.name)["metricFilters"]
        return {
            "retention_days": self.standing.get("retentionInDays"),
            "kms_key_id": self.standing.get("kmsKeyId"),
            "data_protection": self.standing.get("dataProtectionStatus") in ("ACTIVATED", "DISABLED"),
            "deletion_protection": bool(self.standing.get("deletionProtectionEnabled")),
            "subscription_filters": sorted(each["filterName"] for each in subscriptions),
            "metric_filters": sorted(each["filterName"] for each in metrics),
            "tags": self.logs.list_tags_for_resource(resourceArn=self.arn).get("tags", {}),
        }

    def create(self, tags: dict[str, str]) -> None:
        """Create the group with its tags, or find the one that an earlier attempt has made."""
        create(
            self.module,
            "logs",
            "create_log_group",
            self.read,
            already=["ResourceAlreadyExistsException"],
            logGroupName=self.name,
            **({"tags": tags} if tags else {}),
        )
        self.read()

    def apply(self, before: Properties, after: Properties) -> None:
        """Bring every property that differs from `before` to `after`."""
        steps: dict[str, Callable[[], Any]] = {
            "retention_days": lambda: self.logs.put_retention_policy(
                logGroupName=self.name, retentionInDays=after["retention_days"]
            ),
            "kms_key_id": lambda: self.logs.disassociate_kms_key(logGroupName=self.name),
            "data_protection": lambda: self.logs.delete_data_protection_policy(logGroupIdentifier=self.name),
            "deletion_protection": self._unprotect,
            "subscription_filters": lambda: self._unfilter(
                self.logs.delete_subscription_filter, before["subscription_filters"]
            ),
            "metric_filters": lambda: self._unfilter(self.logs.delete_metric_filter, before["metric_filters"]),
            "tags": lambda: self._retag(before["tags"], after["tags"]),
        }
        for name, step in steps.items():
            if before[name] != after[name]:
                with doing(self.module, f"set {name} of the log group {self.name}"):
                    step()

    def delete(self) -> None:
        """Delete the group with its lines."""
        if self.standing and self.standing.get("deletionProtectionEnabled"):
            self._unprotect()
        found(self.logs.delete_log_group, GONE, logGroupName=self.name)
        self.standing = None

    def _unprotect(self) -> None:
        self.logs.put_log_group_deletion_protection(logGroupIdentifier=self.name, deletionProtectionEnabled=False)

    def _unfilter(self, delete: Callable[..., Any], names: list[str]) -> None:
        for name in names:
            found(delete, GONE, logGroupName=self.name, filterName=name)

    def _retag(self, before: dict[str, str], after: dict[str, str]) -> None:
        setting, removing = tag_changes(before, after)
        if setting:
            self.logs.tag_resource(resourceArn=self.arn, tags=setting)
        if removing:
            self.logs.untag_resource(resourceArn=self.arn, tagKeys=removing)


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; tags that they leave open are as in `before`."""
    tags = before.get("tags", {}) if params["tags"] is None else params["tags"]
    return {**NEW, "retention_days": params["retention_days"], "tags": tags}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "retention_days": {"type": "int", "choices": RETENTION},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["retention_days"])],
        supports_check_mode=True,
    )
    group = LogGroup(module)
    with doing(module, f"read the log group {group.name}"):
        group.read()
        before = group.properties()
    after = wanted(module.params, before) if module.params["state"] == "present" else {}
    changed = before != after
    if changed and not module.check_mode:
        if after:
            if not before:
                with doing(module, f"create the log group {group.name}"):
                    group.create(after["tags"])
                    before_now = group.properties()
            group.apply(before or before_now, after)
        else:
            with doing(module, f"delete the log group {group.name}"):
                group.delete()
    module.exit_json(changed=changed, diff=diff(before, after), log_group_arn=group.arn)


if __name__ == "__main__":
    main()
