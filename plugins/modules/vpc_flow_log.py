#!/usr/bin/python
"""Manage one flow log of a VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_flow_log
short_description: Manage one flow log from a VPC to a CloudWatch log group
description:
  - A VPC has at most one flow log to a log group; this module finds it by both, so it needs no name.
  - AWS cannot change a flow log. When anything but its tags differs, it is deleted and created again; so is a second
    one to the same group deleted.
options:
  vpc_id:
    description: The VPC.
    type: str
    required: true
  log_group:
    description: Name of the log group that receives the records.
    type: str
    required: true
  role_arn:
    description: Role by which the flow log writes. Required with O(state=present).
    type: str
  traffic_type:
    description: The traffic to record.
    type: str
    choices: [ALL, ACCEPT, REJECT]
    default: ALL
  tags:
    description: The exact tags of the flow log. Without them its tags are left alone.
    type: dict
  state:
    description: Whether the flow log shall be there.
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
- name: Record the traffic of the VPC
  vpc_flow_log:
    vpc_id: "{{ network_vpc_id }}"
    log_group: /mlflow/team-a/flow
    role_arn: "{{ network_flow_log_role_arn }}"
    tags: "{{ network_tags }}"
"""

RETURN = r"""
flow_log_id:
  description: Identifier of the flow log; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: fl-0a1b2c3d4e5f60718
"""

import uuid  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, filters, retag_ec2, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
# What AWS sets where nobody says.
FORMAT = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} "
    "${bytes} ${start} ${end} ${action} ${log-status}"
)
SECONDS = 600


def to_group(flow_log: dict[str, Any], log_group: str) -> bool:
    """Return whether a flow log writes to the group of that name."""
    destination = str(flow_log.get("LogGroupName") or flow_log.get("LogDestination", ""))
    return destination == log_group or destination.removesuffix(":*").endswith(f":log-group:{log_group}")


def current(ec2: Any, vpc_id: str, log_group: str) -> list[dict[str, Any]]:
    """Return the flow logs from `vpc_id` to `log_group` as EC2 describes them."""
    pages = ec2.get_paginator("describe_flow_logs").paginate(Filters=filters(**{"resource-id": vpc_id}))
    flow_logs = [dict(flow_log) for page in pages for flow_log in page["FlowLogs"]]
    mine = [each for each in flow_logs if each.get("ResourceId", vpc_id) == vpc_id and to_group(each, log_group)]
    return sorted(mine, key=lambda each: str(each["FlowLogId"]))


def described(flow_log: dict[str, Any]) -> Properties:
    """Return the properties of `flow_log` in the form of `wanted`."""
    return {
        "role_arn": flow_log.get("DeliverLogsPermissionArn"),
        "traffic_type": flow_log.get("TrafficType"),
        "format": flow_log.get("LogFormat") or FORMAT,
        "aggregation_seconds": flow_log.get("MaxAggregationInterval") or SECONDS,
        "tags": tag_dict(flow_log.get("Tags")),
    }


def wanted(params: dict[str, Any], before: Properties) -> Properties:
    """Return what `params` ask for; tags they leave open are as in `before`."""
    return {
        "role_arn": params["role_arn"],
        "traffic_type": params["traffic_type"],
        "format": FORMAT,
        "aggregation_seconds": SECONDS,
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def same_record(before: Properties, after: Properties) -> bool:
    """Return whether two flow logs differ at most in their tags."""
    return {**before, "tags": {}} == {**after, "tags": {}}


class FlowLog:
    """The flow log from one VPC to one log group; `kept` may stay (None = missing), `old` are the others."""

    def __init__(self, module: Any) -> None:
        """Find the flow logs."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.vpc: str = module.params["vpc_id"]
        self.ec2 = module.client("ec2")
        with doing(module, f"read the flow logs of {self.vpc}"):
            flow_logs = current(self.ec2, self.vpc, self.params["log_group"])
        present = module.params["state"] == "present"
        fit = [each for each in flow_logs if present and same_record(described(each), wanted(self.params, {}))]
        self.kept = next(iter(fit), None)
        self.old = [each for each in flow_logs if each is not self.kept]

    def properties(self) -> Properties:
        """Return what there is, in the form of `wanted`; what cannot stay is under `replaced`."""
        kept = described(self.kept) if self.kept else {}
        return {**kept, **({"replaced": [described(each) for each in self.old]} if self.old else {})}

    def apply(self, after: Properties) -> None:
        """Delete what cannot stay, and create or tag the flow log `after`; {} is none."""
        if self.old:
            ids = [each["FlowLogId"] for each in self.old]
            with doing(self.module, f"delete the flow log {', '.join(ids)}"):
                self.ec2.delete_flow_logs(FlowLogIds=ids)
        if after and self.kept:
            with doing(self.module, f"tag the flow log {self.kept['FlowLogId']}"):
                retag_ec2(self.ec2, self.kept["FlowLogId"], tag_dict(self.kept.get("Tags")), after["tags"])
        elif after:
            self._create(after)

    def _create(self, after: Properties) -> None:
        request: dict[str, Any] = {
            "ResourceIds": [self.vpc],
            "ResourceType": "VPC",
            "LogDestinationType": "cloud-watch-logs",
            "LogGroupName": self.params["log_group"],
            "DeliverLogsPermissionArn": after["role_arn"],
            "TrafficType": after["traffic_type"],
            "ClientToken": str(uuid.uuid4()),
        }
        if after["tags"]:
            request["TagSpecifications"] = [{"ResourceType": "vpc-flow-log", "Tags": tag_list(after["tags"])}]
        with doing(self.module, f"create the flow log of {self.vpc}"):
            answer = create(
                self.module, "ec2", "create_flow_logs", self._created, already=("FlowLogAlreadyExists",), **request
            )
        for failure in answer.get("Unsuccessful", []):
            message = failure["Error"]["Message"].rstrip(".")
            self.module.fail_json(msg=f"Could not create the flow log of {self.vpc}: {message}.")
        self.kept = {"FlowLogId": str(answer["FlowLogIds"][0])}

    def _created(self) -> dict[str, Any] | None:
        there = current(self.ec2, self.vpc, self.params["log_group"])
        return {"FlowLogIds": [there[0]["FlowLogId"]]} if there else None


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "log_group": {"type": "str", "required": True},
            "role_arn": {"type": "str"},
            "traffic_type": {"type": "str", "choices": ["ALL", "ACCEPT", "REJECT"], "default": "ALL"},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["role_arn"])],
        supports_check_mode=True,
    )
    flow_log = FlowLog(module)
    before = flow_log.properties()
    after = wanted(module.params, before) if module.params["state"] == "present" else {}
    changed = before != after
    if changed and not module.check_mode:
        flow_log.apply(after)
    module.exit_json(
        changed=changed,
        flow_log_id=flow_log.kept["FlowLogId"] if flow_log.kept else None,
        diff=diff(before, after),
    )


if __name__ == "__main__":
    main()
