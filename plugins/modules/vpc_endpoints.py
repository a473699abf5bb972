#!/usr/bin/python
"""Manage the endpoints of one VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_endpoints
short_description: Manage the endpoints of one VPC
description:
  - Manages all endpoints in one task, with one read. An endpoint is found by its service, so there is never a second
    one, and one whose tags were taken off is tagged again. Unlike C(amazon.aws.ec2_vpc_endpoint) it repairs route
    tables, subnets, security groups, private DNS and policy, and does not take one that is deleted for present.
  - Waits for nothing.
options:
  vpc_id:
    description: The VPC.
    type: str
    required: true
  endpoints:
    description: The endpoints.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name of the service, such as V(com.amazonaws.eu-west-1.s3).
        type: str
        required: true
      name:
        description: Name tag.
        type: str
        required: true
      type:
        description: Kind of endpoint.
        type: str
        choices: [Gateway, Interface]
        default: Interface
      route_table_ids:
        description: The exact route tables of a gateway endpoint.
        type: list
        elements: str
        default: []
      subnet_ids:
        description: The exact subnets of an interface endpoint.
        type: list
        elements: str
        default: []
      security_group_ids:
        description: The exact security groups of an interface endpoint.
        type: list
        elements: str
        default: []
      policy:
        description: Policy of the endpoint. Without it the endpoint has the one that AWS gives, which allows all.
        type: dict
  tags:
    description: The exact tags beside Name.
    type: dict
    default: {}
  purge:
    description: Whether endpoints that nobody asks for go. V(stack) deletes those that carry the tag Stack of O(tags),
      or are a second one of a service; V(all) deletes every one in the VPC.
    type: str
    choices: [none, stack, all]
    default: stack
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
- name: Reach S3 without a NAT gateway
  vpc_endpoints:
    vpc_id: "{{ network_vpc_id }}"
    endpoints:
      - name: team-a-s3
        service: com.amazonaws.eu-west-1.s3
        type: Gateway
        route_table_ids: [rtb-0a1b2c3d4e5f60718]
    tags: "{{ network_tags }}"
"""

RETURN = r"""
endpoint_ids:
  description: Identifier of each endpoint by its service; null when a check would create it.
  returned: always
  type: dict
  sample: {com.amazonaws.eu-west-1.s3: vpce-0a1b2c3d4e5f60718}
pending:
  description: Whether an interface endpoint that is asked for is not available yet.
  returned: always
  type: bool
surplus:
  description: Whether an endpoint that O(purge) removes is left, or one is being deleted.
  returned: always
  type: bool
"""

import functools  # noqa: E402
import json  # noqa: E402
import uuid  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, filters, retag_ec2, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Resource = dict[str, Any]
GONE = ("deleted", "deleting", "rejected", "expired")
BROKEN = ("failed",)
# What AWS writes where no policy is given.
EVERYTHING: Resource = {
    "Version": "2008-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
}
# Property, and what ModifyVpcEndpoint calls it.
LISTS = (("route_tables", "RouteTableIds"), ("subnets", "SubnetIds"), ("security_groups", "SecurityGroupIds"))


class Endpoints:
    """The endpoints of one VPC. After `read`, `kept` has those asked for by service, `old` those that nobody needs."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.ec2 = module.client("ec2")
        self.asked: dict[str, Resource] = {each["service"]: each for each in module.params["endpoints"]}
        self.kept: dict[str, Resource] = {}
        self.old: list[Resource] = []
        self.leaving: list[Resource] = []

    def read(self) -> None:
        """Find the endpoints."""
        with doing(self.module, f"read the endpoints of {self.params['vpc_id']}"):
            endpoints = self._all()
        self.leaving = [each for each in endpoints if _state(each) == "deleting"]
        living = [each for each in endpoints if _state(each) not in GONE]
        self.kept = {}
        for service in self.asked:
            fit = [each for each in living if self._fits(service, each)]
            if fit:
                self.kept[service] = min(fit, key=self._distance)
        ids = [each["VpcEndpointId"] for each in self.kept.values()]
        self.old = [each for each in living if each["VpcEndpointId"] not in ids and self._is_surplus(each)]

    def _all(self) -> list[Resource]:
        vpc = self.params["vpc_id"]
        pages = self.ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=filters(**{"vpc-id": vpc}))
        return [each for page in pages for each in page["VpcEndpoints"] if each["VpcId"] == vpc]

    def _fits(self, service: str, endpoint: Resource) -> bool:
        same = endpoint["ServiceName"] == service and endpoint["VpcEndpointType"] == self.asked[service]["type"]
        return same and _state(endpoint) not in BROKEN

    def _is_mine(self, endpoint: Resource) -> bool:
        stack = self.params["tags"].get("Stack")
        return stack is not None and tag_dict(endpoint.get("Tags")).get("Stack") == stack

    def _distance(self, endpoint: Resource) -> tuple[bool, str]:
        return (not self._is_mine(endpoint), str(endpoint["VpcEndpointId"]))

    def _is_surplus(self, endpoint: Resource) -> bool:
        return self.params["purge"] == "all" or self._is_mine(endpoint) or endpoint["ServiceName"] in self.asked

    def properties(self) -> Resource:
        """Return what there is, in the form of `wanted`."""
        values: Resource = {service: _described(endpoint) for service, endpoint in self.kept.items()}
        surplus = sorted(each["VpcEndpointId"] for each in self.old)
        return {**values, **({"surplus": surplus} if surplus and self.params["purge"] != "none" else {})}

    def wanted(self) -> Resource:
        """Return what the parameters ask for."""
        return {
            service: {
                "route_tables": sorted(set(each["route_table_ids"])),
                "subnets": sorted(set(each["subnet_ids"])),
                "security_groups": sorted(set(each["security_group_ids"])),
                "private_dns": each["type"] == "Interface",
                "policy": each["policy"] or EVERYTHING,
                "tags": {**self.params["tags"], "Name": each["name"]},
            }
            for service, each in self.asked.items()
        }

    def apply(self, before: Resource, after: Resource) -> None:
        """Delete what is surplus, create what is missing, and repair what differs."""
        if self.old and self.params["purge"] != "none":
            self._delete()
        for service, endpoint in after.items():
            if service in before:
                self._repair(service, before[service], endpoint)
            else:
                self._create(service, endpoint)

    def _delete(self) -> None:
        ids = sorted(each["VpcEndpointId"] for each in self.old)
        with doing(self.module, f"delete the endpoints {', '.join(ids)}"):
            answer = self.ec2.delete_vpc_endpoints(VpcEndpointIds=ids)
        for failure in answer.get("Unsuccessful", []):
            self.module.fail_json(
                msg=f"Could not delete the endpoint {failure['ResourceId']}: {failure['Error']['Message'].rstrip('.')}."
            )

    def _create(self, service: str, endpoint: Resource) -> None:
        kind = self.asked[service]["type"]
        request: Resource = {name: endpoint[key] for key, name in LISTS if endpoint[key]}
        if kind == "Interface":
            request["PrivateDnsEnabled"] = endpoint["private_dns"]
        if endpoint["policy"] != EVERYTHING:
            request["PolicyDocument"] = json.dumps(endpoint["policy"])
        with doing(self.module, f"create the endpoint of {service}"):
            self.kept[service] = create(
                self.module,
                "ec2",
                "create_vpc_endpoint",
                functools.partial(self._created, service),
                ClientToken=str(uuid.uuid4()),
                VpcId=self.params["vpc_id"],
                ServiceName=service,
                VpcEndpointType=kind,
                TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": tag_list(endpoint["tags"])}],
                **request,
            )["VpcEndpoint"]

    def _created(self, service: str) -> Resource | None:
        living = (each for each in self._all() if _state(each) not in GONE and self._fits(service, each))
        return next(({"VpcEndpoint": each} for each in living), None)

    def _repair(self, service: str, before: Resource, after: Resource) -> None:
        identifier = self.kept[service]["VpcEndpointId"]
        request: Resource = {}
        for key, name in LISTS:
            adding, removing = set(after[key]) - set(before[key]), set(before[key]) - set(after[key])
            request |= {f"Add{name}": sorted(adding)} if adding else {}
            request |= {f"Remove{name}": sorted(removing)} if removing else {}
        if before["private_dns"] != after["private_dns"]:
            request["PrivateDnsEnabled"] = after["private_dns"]
        if before["policy"] != after["policy"]:
            request["PolicyDocument"] = json.dumps(after["policy"])
        with doing(self.module, f"repair the endpoint of {service}"):
            if request:
                self.ec2.modify_vpc_endpoint(VpcEndpointId=identifier, **request)
            retag_ec2(self.ec2, identifier, before["tags"], after["tags"])

    def facts(self) -> Resource:
        """Return the module's result."""
        states = [_state(self.kept[service]) if service in self.kept else "pending" for service in self.asked]
        return {
            "endpoint_ids": {
                service: self.kept[service]["VpcEndpointId"] if service in self.kept else None for service in self.asked
            },
            "pending": any(state != "available" for state in states),
            "surplus": bool(self.old or self.leaving),
        }


def _state(endpoint: Resource) -> str:
    return str(endpoint.get("State", "")).lower()


def _described(endpoint: Resource) -> Resource:
    interface = endpoint["VpcEndpointType"] == "Interface"
    policy = endpoint.get("PolicyDocument")
    return {
        "route_tables": sorted(endpoint.get("RouteTableIds", [])),
        "subnets": sorted(endpoint.get("SubnetIds", [])),
        "security_groups": sorted(group["GroupId"] for group in endpoint.get("Groups", [])),
        "private_dns": interface and bool(endpoint.get("PrivateDnsEnabled")),
        "policy": _policy(policy) if policy else EVERYTHING,
        "tags": tag_dict(endpoint.get("Tags")),
    }


def _policy(document: str) -> Resource:
    """Return a policy for comparison; one that says the same as AWS's own is that."""
    policy: Resource = json.loads(document)
    statements = policy.get("Statement", [])
    statements = statements if isinstance(statements, list) else [statements]
    everything = EVERYTHING["Statement"][0]
    known = [{key: value for key, value in each.items() if key != "Sid"} for each in statements]
    anybody = [{**each, "Principal": "*"} if each.get("Principal") == {"AWS": "*"} else each for each in known]
    return EVERYTHING if anybody == [everything] else policy


def main() -> None:
    """Run the module."""
    names = {"type": "list", "elements": "str", "default": []}
    endpoint = {
        "service": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "choices": ["Gateway", "Interface"], "default": "Interface"},
        "route_table_ids": names,
        "subnet_ids": names,
        "security_group_ids": names,
        "policy": {"type": "dict"},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "endpoints": {"type": "list", "elements": "dict", "default": [], "options": endpoint},
            "tags": {"type": "dict", "default": {}},
            "purge": {"type": "str", "choices": ["none", "stack", "all"], "default": "stack"},
        },
        supports_check_mode=True,
    )
    endpoints = Endpoints(module)
    endpoints.read()
    before, after = endpoints.properties(), endpoints.wanted()
    changed = before != after
    if changed and not module.check_mode:
        endpoints.apply(before, after)
    module.exit_json(changed=changed, diff=diff(before, after), **endpoints.facts())


if __name__ == "__main__":
    main()
