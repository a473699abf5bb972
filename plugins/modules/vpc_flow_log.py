#!/usr/bin/python
"""Keep one flow log of a VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_flow_log
short_description: Keep one flow log from a VPC to a CloudWatch log group
description:
  - A VPC has at most one flow log to a log group; this module finds it by both, so it needs no name.
  - AWS cannot change a flow log. When the role or the kind of traffic differs, it is deleted and created again.
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
    description: Whether the flow log stands.
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

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, retag_ec2, tag_dict  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402


def current(ec2: Any, vpc_id: str, log_group: str) -> dict[str, Any] | None:
    """Return the flow log from `vpc_id` to `log_group` as EC2 describes it, or None."""
    flow_logs = ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [vpc_id]}])["FlowLogs"]
    for flow_log in flow_logs:
        destination = flow_log.get("LogGroupName") or flow_log.get("LogDestination", "")
        if destination == log_group or destination.removesuffix(":*").endswith(f":log-group:{log_group}"):
            return dict(flow_log)
    return None


def wanted(params: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the properties that `params` ask for; what they leave open is as in `before`.

    A role that the API does not report counts as the right one: it cannot be compared.
    """
    unreported = before and before["role_arn"] is None
    return {
        "role_arn": None if unreported else params["role_arn"],
        "traffic_type": params["traffic_type"],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def describe(flow_log: dict[str, Any] | None) -> dict[str, Any]:
    """Return the properties of `flow_log` in the form of `wanted`."""
    if flow_log is None:
        return {}
    return {
        "role_arn": flow_log.get("DeliverLogsPermissionArn"),
        "traffic_type": flow_log.get("TrafficType"),
        "tags": tag_dict(flow_log.get("Tags")),
    }


def create(module: Any, ec2: Any, after: dict[str, Any]) -> str:
    """Create the flow log `after` and return its identifier."""
    request = {
        "ResourceIds": [module.params["vpc_id"]],
        "ResourceType": "VPC",
        "LogDestinationType": "cloud-watch-logs",
        "LogGroupName": module.params["log_group"],
        "DeliverLogsPermissionArn": module.params["role_arn"],
        "TrafficType": after["traffic_type"],
    }
    with doing(module, f"create the flow log of {module.params['vpc_id']}"):
        answer = ec2.create_flow_logs(**request)
    for failure in answer.get("Unsuccessful", []):
        module.fail_json(
            msg=f"Could not create the flow log of {module.params['vpc_id']}: {failure['Error']['Message']}"
        )
    flow_log_id = str(answer["FlowLogIds"][0])
    retag(module, ec2, flow_log_id, {}, after["tags"])
    return flow_log_id


def delete(module: Any, ec2: Any, flow_log_id: str) -> None:
    """Delete the flow log `flow_log_id`."""
    with doing(module, f"delete the flow log {flow_log_id}"):
        ec2.delete_flow_logs(FlowLogIds=[flow_log_id])


def retag(module: Any, ec2: Any, flow_log_id: str, before: dict[str, str], after: dict[str, str]) -> None:
    """Bring the tags of `flow_log_id` from `before` to `after`."""
    with doing(module, f"tag the flow log {flow_log_id}"):
        retag_ec2(ec2, flow_log_id, before, after)


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
    params = module.params
    ec2 = module.client("ec2")
    with doing(module, f"read the flow logs of {params['vpc_id']}"):
        flow_log = current(ec2, params["vpc_id"], params["log_group"])
    flow_log_id = flow_log["FlowLogId"] if flow_log else None
    before = describe(flow_log)
    after = wanted(params, before) if params["state"] == "present" else {}
    changed = before != after
    if changed and not module.check_mode:
        same_record = all(before.get(key) == after.get(key) for key in ("role_arn", "traffic_type"))
        if flow_log_id and after and same_record:
            retag(module, ec2, flow_log_id, before["tags"], after["tags"])
        else:
            if flow_log_id:
                delete(module, ec2, flow_log_id)
            flow_log_id = create(module, ec2, after) if after else None
    if params["state"] == "absent" and not module.check_mode:
        flow_log_id = None
    module.exit_json(changed=changed, flow_log_id=flow_log_id, diff=diff(before, after))


if __name__ == "__main__":
    main()
