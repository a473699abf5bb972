#!/usr/bin/python
"""Keep one target group of ip targets; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_target_group
short_description: Keep one HTTP target group of ip targets
description:
  - Unlike C(community.aws.elb_target_group) it predicts in check mode. It never touches the registered targets.
  - AWS cannot change the port and the VPC of a target group; a difference there is refused.
options:
  name:
    description: Name of the target group.
    type: str
    required: true
  vpc_id:
    description: VPC of the targets. Required with O(state=present).
    type: str
  port:
    description: Port of the targets. Required with O(state=present).
    type: int
  health_check_path:
    description: Path of the health check.
    type: str
    default: /health
  health_check_interval:
    description: Seconds between two health checks.
    type: int
    default: 15
  health_check_timeout:
    description: Seconds after which a health check fails.
    type: int
    default: 5
  healthy_threshold:
    description: Successes after which a target is healthy.
    type: int
    default: 2
  unhealthy_threshold:
    description: Failures after which a target is unhealthy.
    type: int
    default: 3
  success_codes:
    description: HTTP codes that count as success.
    type: str
    default: "200"
  deregistration_delay:
    description: Seconds that a target which leaves may still finish its requests.
    type: int
    default: 120
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: Whether the target group stands.
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
- name: Make the target group
  lb_target_group:
    name: team-a
    vpc_id: "{{ alb_vpc_id }}"
    port: 5000
    tags: "{{ alb_tags }}"
"""

RETURN = r"""
target_group_arn:
  description: ARN of the target group; null when it is absent or would be created by a check.
  returned: always
  type: str
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, found, tag_changes, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
DELAY = "deregistration_delay.timeout_seconds"
HEALTH_CHECK = {
    "health_check_path": "HealthCheckPath",
    "health_check_interval": "HealthCheckIntervalSeconds",
    "health_check_timeout": "HealthCheckTimeoutSeconds",
    "healthy_threshold": "HealthyThresholdCount",
    "unhealthy_threshold": "UnhealthyThresholdCount",
}
IMMUTABLE = ("vpc_id", "port", "protocol", "target_type")


def current(elb: Any, name: str) -> tuple[str | None, Properties]:
    """Return (ARN, properties) of the target group `name`, or (None, {})."""
    answer = found(elb.describe_target_groups, "TargetGroupNotFound", Names=[name]) or {"TargetGroups": []}
    if not answer["TargetGroups"]:
        return None, {}
    group = answer["TargetGroups"][0]
    arn = group["TargetGroupArn"]
    attributes = tag_dict(elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
    tags = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return arn, {
        "vpc_id": group.get("VpcId"),
        "port": group.get("Port"),
        "protocol": group.get("Protocol"),
        "target_type": group.get("TargetType"),
        **{name: group.get(key) for name, key in HEALTH_CHECK.items()},
        "success_codes": (group.get("Matcher") or {}).get("HttpCode"),
        "deregistration_delay": int(attributes.get(DELAY, 300)),
        "tags": tag_dict(tags[0]["Tags"]) if tags else {},
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for, in the form of `current`."""
    names = ("vpc_id", "port", *HEALTH_CHECK, "success_codes", "deregistration_delay")
    return {
        **{name: params[name] for name in names},
        "protocol": "HTTP",
        "target_type": "ip",
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def health_check(after: Properties) -> Properties:
    """Return the health check of `after` as the ELB API takes it."""
    return {
        **{key: after[name] for name, key in HEALTH_CHECK.items()},
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port",
        "Matcher": {"HttpCode": after["success_codes"]},
    }


def create(elb: Any, name: str, after: Properties) -> str:
    """Create the target group and return its ARN."""
    request = {
        "Name": name,
        "VpcId": after["vpc_id"],
        "Port": after["port"],
        "Protocol": after["protocol"],
        "TargetType": after["target_type"],
        **health_check(after),
    }
    if after["tags"]:
        request["Tags"] = tag_list(after["tags"])
    return str(elb.create_target_group(**request)["TargetGroups"][0]["TargetGroupArn"])


def apply(elb: Any, arn: str, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`."""
    if any(before.get(name) != after[name] for name in (*HEALTH_CHECK, "success_codes")):
        elb.modify_target_group(TargetGroupArn=arn, **health_check(after))
    if before.get("deregistration_delay") != after["deregistration_delay"]:
        delay = {"Key": DELAY, "Value": str(after["deregistration_delay"])}
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
    setting, removing = tag_changes(before.get("tags", {}), after["tags"])
    if setting:
        elb.add_tags(ResourceArns=[arn], Tags=tag_list(setting))
    if removing:
        elb.remove_tags(ResourceArns=[arn], TagKeys=removing)


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "name": {"type": "str", "required": True},
        "vpc_id": {"type": "str"},
        "port": {"type": "int"},
        "health_check_path": {"type": "str", "default": "/health"},
        "health_check_interval": {"type": "int", "default": 15},
        "health_check_timeout": {"type": "int", "default": 5},
        "healthy_threshold": {"type": "int", "default": 2},
        "unhealthy_threshold": {"type": "int", "default": 3},
        "success_codes": {"type": "str", "default": "200"},
        "deregistration_delay": {"type": "int", "default": 120},
        "tags": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["vpc_id", "port"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    elb = module.client("elbv2")
    with doing(module, f"read the target group {name}"):
        arn, before = current(elb, name)
    after = wanted(module.params, before) if module.params["state"] == "present" else {}
    for key in IMMUTABLE if arn and after else ():
        if before[key] != after[key]:
            module.fail_json(
                msg=f"The target group {name} has {key} {before[key]} instead of {after[key]}, which AWS cannot "
                "change; delete it, or keep what it has."
            )
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'delete'} the target group {name}"):
            if arn and not after:
                elb.delete_target_group(TargetGroupArn=arn)
                arn = None
            else:
                if not arn:
                    arn = create(elb, name, after)
                    before = {**after, "deregistration_delay": None}
                apply(elb, arn, before, after)
    module.exit_json(target_group_arn=arn, **result)


if __name__ == "__main__":
    main()
