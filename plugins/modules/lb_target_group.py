#!/usr/bin/python
"""Manage one target group of ip targets; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_target_group
short_description: Manage one HTTP target group of ip targets
description:
  - Unlike C(community.aws.elb_target_group) it predicts in check mode. Attributes that it has no option for go back to
    AWS's defaults.
  - It never touches the registered targets, for ECS registers and deregisters them; one that somebody has registered by
    hand stays.
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
    description: Whether there is the target group.
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
- name: Create the target group
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

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    found,
    tag_changes,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
DELAY = "deregistration_delay.timeout_seconds"
# What AWS sets where nobody asks for anything else. The name of a cookie means nothing with these.
DEFAULTS = {
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "slow_start.duration_seconds": "0",
    "stickiness.app_cookie.duration_seconds": "86400",
    "stickiness.enabled": "false",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "stickiness.type": "lb_cookie",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}
HEALTH_CHECK = {
    "health_check_path": "HealthCheckPath",
    "health_check_interval": "HealthCheckIntervalSeconds",
    "health_check_timeout": "HealthCheckTimeoutSeconds",
    "healthy_threshold": "HealthyThresholdCount",
    "unhealthy_threshold": "UnhealthyThresholdCount",
}
# What of the health check is no option.
FIXED_CHECK = {
    "health_check_protocol": ("HealthCheckProtocol", "HTTP"),
    "health_check_port": ("HealthCheckPort", "traffic-port"),
    "health_check_enabled": ("HealthCheckEnabled", True),
}
IMMUTABLE = ("vpc_id", "port", "protocol", "protocol_version", "target_type", "ip_address_type")


def look(elb: Any, name: str) -> Properties | None:
    """Return the target group `name` as AWS describes it, or None."""
    answer = found(elb.describe_target_groups, "TargetGroupNotFound", Names=[name]) or {}
    groups: list[Properties] = answer.get("TargetGroups", [])
    return groups[0] if groups else None


def properties(elb: Any, group: Properties) -> Properties:
    """Return what is compared of `group`; of the attributes those in DEFAULTS that AWS lists, and the delay."""
    arn = group["TargetGroupArn"]
    attributes = tag_dict(elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
    tags = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return {
        "vpc_id": group.get("VpcId"),
        "port": group.get("Port"),
        "protocol": group.get("Protocol"),
        "protocol_version": group.get("ProtocolVersion") or "HTTP1",
        "target_type": group.get("TargetType"),
        "ip_address_type": group.get("IpAddressType") or "ipv4",
        **{name: group.get(key) for name, key in HEALTH_CHECK.items()},
        **{name: group.get(key, default) for name, (key, default) in FIXED_CHECK.items()},
        "success_codes": (group.get("Matcher") or {}).get("HttpCode"),
        "attributes": {name: attributes[name] for name in sorted({*DEFAULTS, DELAY}) if name in attributes},
        "tags": tag_dict(tags[0]["Tags"]) if tags else {},
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for, in the form of `properties`."""
    listed = before.get("attributes", {})
    return {
        **{name: params[name] for name in ("vpc_id", "port", *HEALTH_CHECK, "success_codes")},
        **{name: default for name, (_, default) in FIXED_CHECK.items()},
        "protocol": "HTTP",
        "protocol_version": "HTTP1",
        "target_type": "ip",
        "ip_address_type": "ipv4",
        "attributes": {name: value for name, value in DEFAULTS.items() if name in listed}
        | {DELAY: str(params["deregistration_delay"])},
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def health_check(after: Properties) -> Properties:
    """Return the health check of `after` as the ELB API takes it."""
    return {
        **{key: after[name] for name, key in HEALTH_CHECK.items()},
        **{key: after[name] for name, (key, _) in FIXED_CHECK.items()},
        "Matcher": {"HttpCode": after["success_codes"]},
    }


def make(module: Any, elb: Any, name: str, after: Properties) -> tuple[str, Properties]:
    """Create the target group; return its ARN and properties, as they are where another hand was first."""
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

    def standing() -> Properties | None:
        group = look(elb, name)
        return {"standing": group} if group else None

    answer = create(module, "elbv2", "create_target_group", standing, already=("DuplicateTargetGroupName",), **request)
    if "standing" in answer:
        return answer["standing"]["TargetGroupArn"], properties(elb, answer["standing"])
    return answer["TargetGroups"][0]["TargetGroupArn"], {**after, "attributes": {}}


def apply(elb: Any, arn: str, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`."""
    if any(before.get(name) != after[name] for name in (*HEALTH_CHECK, *FIXED_CHECK, "success_codes")):
        elb.modify_target_group(TargetGroupArn=arn, **health_check(after))
    setting, _ = tag_changes(before["attributes"], after["attributes"])
    if setting:
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=tag_list(setting))
    setting, removing = tag_changes(before.get("tags", {}), after["tags"])
    if setting:
        elb.add_tags(ResourceArns=[arn], Tags=tag_list(setting))
    if removing:
        elb.remove_tags(ResourceArns=[arn], TagKeys=removing)


def refuse(module: Any, name: str, before: Properties, after: Properties) -> None:
    """Fail `module` for what AWS cannot change."""
    for key in IMMUTABLE if before and after else ():
        if before[key] != after[key]:
            module.fail_json(
                msg=f"The target group {name} has {key} {before[key]} instead of {after[key]}, which AWS cannot "
                "change; delete it, or keep what it has."
            )


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
        group = look(elb, name)
        before = properties(elb, group) if group else {}
    arn = group["TargetGroupArn"] if group else None
    after = wanted(module.params, before) if module.params["state"] == "present" else {}
    refuse(module, name, before, after)
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'delete'} the target group {name}"):
            if arn and not after:
                elb.delete_target_group(TargetGroupArn=arn)
                arn = None
            else:
                if not arn:
                    arn, before = make(module, elb, name, after)
                    after = wanted(module.params, before)
                    refuse(module, name, before, after)
                apply(elb, arn, before, after)
    module.exit_json(target_group_arn=arn, **result)


if __name__ == "__main__":
    main()
