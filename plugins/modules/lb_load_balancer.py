#!/usr/bin/python
"""Manage one application load balancer; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_load_balancer
short_description: Manage one application load balancer and its attributes
description:
  - Every input is repaired alone. An attribute that O(attributes) does not name goes back to AWS's default.
  - The bucket and the prefix of a log that is off mean nothing, and AWS refuses to empty them, so they are left alone;
    so is what only matters with IPv6.
  - AWS cannot change the scheme and the type; a difference there is refused.
options:
  name:
    description: Name of the load balancer.
    type: str
    required: true
  scheme:
    description: Who can route to it. Required with O(state=present).
    type: str
    choices: [internal, internet-facing]
  subnets:
    description: The exact subnets, in two zones at least. Required with O(state=present).
    type: list
    elements: str
  security_groups:
    description: The exact security groups. Required with O(state=present).
    type: list
    elements: str
  attributes:
    description: Attribute to value, both as the ELB API names them; values are strings.
    type: dict
    default: {}
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: Whether there is the load balancer. The module waits until it is gone, not until it is active.
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
- name: Create the load balancer
  lb_load_balancer:
    name: team-a
    scheme: internal
    subnets: "{{ alb_subnet_ids }}"
    security_groups: ["{{ alb_security_group_id }}"]
    attributes:
      deletion_protection.enabled: "true"
      access_logs.s3.enabled: "true"
      access_logs.s3.bucket: "{{ alb_log_bucket }}"
      access_logs.s3.prefix: alb
    tags: "{{ alb_tags }}"
"""

RETURN = r"""
load_balancer_arn:
  description: ARN of the load balancer; null when it is absent or would be created by a check.
  returned: always
  type: str
dns_name:
  description: DNS name of the load balancer; null likewise.
  returned: always
  type: str
"""

import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    ClientError,
    create,
    diff,
    doing,
    found,
    patiently,
    reason,
    tag_changes,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
IMMUTABLE = ("scheme", "type")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 90.0
GONE_SECONDS = 300.0
# What AWS sets where nobody asks for anything else, by its reference of the attributes of a load balancer.
DEFAULTS = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "deletion_protection.enabled": "false",
    "health_check_logs.s3.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}
# What the messages of errors that pass by themselves hold, and what is waited for then.
PASSING = {
    "access denied for bucket": "the policy of the log bucket to take effect",
    "service linked role": "the service-linked role of Elastic Load Balancing",
    "service-linked role": "the service-linked role of Elastic Load Balancing",
    "awsserviceroleforelasticloadbalancing": "the service-linked role of Elastic Load Balancing",
}


def passing(error: ClientError) -> str:
    """Return what has to take effect before the refused call is repeated, or "" where repeating is no help."""
    sentence = reason(error).lower()
    return next((what for words, what in PASSING.items() if words in sentence), "")


def with_patience(module: Any, call: Callable[[], Any]) -> Any:
    """Return `call()`, repeated for PATIENCE_SECONDS while AWS refuses it for what passes; a warning says so."""
    start, what = time.monotonic(), ""
    while True:
        try:
            answer = call()
        except ClientError as error:
            what = passing(error)
            if not what or time.monotonic() - start > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        if what:
            module.warn(f"AWS was waited for {time.monotonic() - start:.0f} s, for {what}.")
        return answer


def look(elb: Any, name: str) -> Properties | None:
    """Return the load balancer `name` as AWS describes it, or None."""
    answer = found(elb.describe_load_balancers, "LoadBalancerNotFound", Names=[name]) or {}
    balancers: list[Properties] = answer.get("LoadBalancers", [])
    return balancers[0] if balancers else None


def properties(elb: Any, balancer: Properties, given: dict[str, str]) -> Properties:
    """Return what is compared of `balancer`; of the attributes those in DEFAULTS and in `given`."""
    arn = balancer["LoadBalancerArn"]
    attributes = tag_dict(elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
    tags = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return {
        "scheme": balancer.get("Scheme"),
        "type": balancer.get("Type"),
        "subnets": sorted(zone["SubnetId"] for zone in balancer.get("AvailabilityZones", [])),
        "security_groups": sorted(balancer.get("SecurityGroups", [])),
        "ip_address_type": balancer.get("IpAddressType"),
        "attributes": {name: attributes[name] for name in sorted({*DEFAULTS, *given}) if name in attributes},
        "tags": tag_dict(tags[0]["Tags"]) if tags else {},
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; of the defaults only those that AWS lists in `before`."""
    listed = before.get("attributes", {})
    return {
        "scheme": params["scheme"],
        "type": "application",
        "subnets": sorted(params["subnets"]),
        "security_groups": sorted(params["security_groups"]),
        "ip_address_type": "ipv4",
        "attributes": {name: value for name, value in DEFAULTS.items() if name in listed} | params["attributes"],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def make(module: Any, elb: Any, name: str, after: Properties) -> tuple[Properties, Properties]:
    """Create the load balancer; return it and its properties, as they are where another hand was first."""
    request = {
        "Name": name,
        "Scheme": after["scheme"],
        "Type": after["type"],
        "Subnets": after["subnets"],
        "SecurityGroups": after["security_groups"],
        "IpAddressType": after["ip_address_type"],
    }
    if after["tags"]:
        request["Tags"] = tag_list(after["tags"])

    def standing() -> Properties | None:
        balancer = look(elb, name)
        return {"standing": balancer} if balancer else None

    answer = with_patience(
        module,
        lambda: create(
            module, "elbv2", "create_load_balancer", standing, already=("DuplicateLoadBalancerName",), **request
        ),
    )
    if "standing" in answer:
        return answer["standing"], properties(elb, answer["standing"], module.params["attributes"])
    return answer["LoadBalancers"][0], {**after, "attributes": {}}


def apply(module: Any, elb: Any, arn: str, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`."""
    if before["subnets"] != after["subnets"]:
        elb.set_subnets(LoadBalancerArn=arn, Subnets=after["subnets"])
    if before["security_groups"] != after["security_groups"]:
        elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=after["security_groups"])
    if before["ip_address_type"] != after["ip_address_type"]:
        elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType=after["ip_address_type"])
    setting, _ = tag_changes(before["attributes"], after["attributes"])
    if setting:
        # What was created a moment ago may not be known everywhere.
        modify = patiently(elb.modify_load_balancer_attributes, "LoadBalancerNotFound")
        with_patience(module, lambda: modify(LoadBalancerArn=arn, Attributes=tag_list(setting)))
    setting, removing = tag_changes(before["tags"], after["tags"])
    if setting:
        elb.add_tags(ResourceArns=[arn], Tags=tag_list(setting))
    if removing:
        elb.remove_tags(ResourceArns=[arn], TagKeys=removing)


def remove(module: Any, elb: Any, name: str, arn: str) -> None:
    """Delete the load balancer and wait until AWS knows it no longer."""
    elb.delete_load_balancer(LoadBalancerArn=arn)
    deadline = time.monotonic() + GONE_SECONDS
    while look(elb, name):
        if time.monotonic() > deadline:
            module.fail_json(msg=f"The load balancer {name} is still there after {GONE_SECONDS:.0f} s: run again.")
        time.sleep(POLL_SECONDS)


def refuse(module: Any, name: str, before: Properties, after: Properties) -> None:
    """Fail `module` for what AWS cannot change, and for attributes of the wrong type."""
    for attribute, value in module.params["attributes"].items():
        if not isinstance(value, str):
            module.fail_json(msg=f"attributes.{attribute} is {value!r}; the load balancer takes only strings.")
    for key in IMMUTABLE if before and after else ():
        if before[key] != after[key]:
            module.fail_json(
                msg=f"The load balancer {name} has {key} {before[key]} instead of {after[key]}, which AWS cannot "
                "change; delete it, or keep what it has."
            )


def ensure(module: Any, elb: Any, name: str) -> Properties:
    """Return what the module returns."""
    params = module.params
    with doing(module, f"read the load balancer {name}"):
        balancer = look(elb, name)
        before = properties(elb, balancer, params["attributes"]) if balancer else {}
    after = wanted(params, before) if params["state"] == "present" else {}
    refuse(module, name, before, after)
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'delete'} the load balancer {name}"):
            if balancer and not after:
                remove(module, elb, name, balancer["LoadBalancerArn"])
            else:
                if not balancer:
                    balancer, before = make(module, elb, name, after)
                    after = wanted(params, before)
                    refuse(module, name, before, after)
                apply(module, elb, balancer["LoadBalancerArn"], before, after)
    shown = (balancer or {}) if after else {}
    return {"load_balancer_arn": shown.get("LoadBalancerArn"), "dns_name": shown.get("DNSName"), **result}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "scheme": {"type": "str", "choices": ["internal", "internet-facing"]},
            "subnets": {"type": "list", "elements": "str"},
            "security_groups": {"type": "list", "elements": "str"},
            "attributes": {"type": "dict", "default": {}},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["scheme", "subnets", "security_groups"])],
        supports_check_mode=True,
    )
    refuse(module, module.params["name"], {}, {})
    module.exit_json(**ensure(module, module.client("elbv2"), module.params["name"]))


if __name__ == "__main__":
    main()
