#!/usr/bin/python
"""Manage the public NAT gateways of one stack with their addresses; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nat_gateways
short_description: Manage the public NAT gateways of one stack with their addresses
description:
  - Manages all gateways in one task. A gateway is found by its subnet, so one whose tags were taken off is tagged
    again, and its address likewise. Unlike C(amazon.aws.ec2_vpc_nat_gateway) it tags the address in the call that
    allocates it, so that an interrupted run leaks none.
  - Waits for nothing. The address of a gateway that is being deleted is released by a later call.
options:
  name:
    description: Name of the stack. The Name tag of a gateway and of its address is this and the zone.
    type: str
    required: true
  vpc_id:
    description: The VPC; every NAT gateway in it is this stack's. Without it they are found by their tags.
    type: str
  gateways:
    description: The exact gateways, one a zone.
    type: list
    elements: dict
    default: []
    suboptions:
      zone:
        description: Availability zone.
        type: str
        required: true
      subnet_id:
        description: Public subnet of the gateway.
        type: str
        required: true
  tags:
    description: The exact tags beside Name of the gateways and of their addresses, the tag Stack among them.
    type: dict
    required: true
  purge:
    description: Whether what is surplus goes now. Routes have to lead elsewhere first.
    type: bool
    default: true
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
- name: Start one NAT gateway
  nat_gateways:
    name: team-a
    vpc_id: "{{ network_vpc_id }}"
    gateways:
      - {zone: eu-west-1a, subnet_id: "{{ network_public_subnet_ids[0] }}"}
    tags: "{{ network_tags }}"
    purge: false

- name: Delete all NAT gateways, and release the addresses of those that are gone
  nat_gateways:
    name: team-a
    tags: "{{ network_tags }}"
"""

RETURN = r"""
nat_gateway_ids:
  description: Identifier of the gateway of each zone; null when a check would create it.
  returned: always
  type: dict
  sample: {eu-west-1a: nat-0a1b2c3d4e5f60718}
surplus:
  description: Whether a gateway or an address that nobody asks for is left, also one that is being deleted.
  returned: always
  type: bool
"""

import functools  # noqa: E402
import uuid  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    filters,
    found,
    retag_ec2,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Resource = dict[str, Any]
SERVING = ("pending", "available")


class Gateways:
    """The NAT gateways of one stack and their addresses.

    After `read`, `kept` has the gateway of each zone and `addresses` the address of each zone, `old` the gateways that
    nobody asks for, `leaving` those that are being deleted, and `spare` the addresses that nobody needs.
    """

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.stack: str = module.params["tags"]["Stack"]
        self.subnets: dict[str, str] = {each["zone"]: each["subnet_id"] for each in module.params["gateways"]}
        self.ec2 = module.client("ec2")
        self.kept: dict[str, Resource] = {}
        self.addresses: dict[str, Resource] = {}
        self.old: list[Resource] = []
        self.leaving: list[Resource] = []
        self.spare: list[Resource] = []

    def tags_of(self, zone: str) -> dict[str, str]:
        """Return the tags of a zone's gateway and address."""
        return {**self.params["tags"], "Name": f"{self.params['name']}-{zone}"}

    def read(self) -> None:
        """Find the gateways and the addresses."""
        with doing(self.module, f"read the NAT gateways of {self.params['name']}"):
            gateways = self._gateways()
            serving = [gateway for gateway in gateways if gateway["State"] in SERVING]
            self.leaving = [gateway for gateway in gateways if gateway["State"] == "deleting"]
            self.kept = {}
            for zone, subnet in self.subnets.items():
                fit = [each for each in serving if each["SubnetId"] == subnet and _is_public(each)]
                if fit:
                    self.kept[zone] = min(fit, key=functools.partial(self._distance, zone))
            ids = [gateway["NatGatewayId"] for gateway in self.kept.values()]
            self.old = [gateway for gateway in serving if gateway["NatGatewayId"] not in ids]
            self._read_addresses()

    def _gateways(self) -> list[Resource]:
        vpc = self.params["vpc_id"]
        wanted = filters(**({"vpc-id": vpc} if vpc else {"tag:Stack": self.stack}))
        pages = self.ec2.get_paginator("describe_nat_gateways").paginate(Filters=wanted)
        gateways = [gateway for page in pages for gateway in page["NatGateways"]]
        # Not every API that calls itself EC2 honours a filter, and what is found here may be deleted.
        return [each for each in gateways if (each["VpcId"] == vpc if vpc else self._is_mine(each))]

    def _is_mine(self, resource: Resource) -> bool:
        return tag_dict(resource.get("Tags")).get("Stack") == self.stack

    def _distance(self, zone: str, gateway: Resource) -> tuple[bool, bool, str]:
        same = self.tags_of(zone).items() <= tag_dict(gateway.get("Tags")).items()
        return (not same, gateway["State"] != "available", gateway["NatGatewayId"])

    def _read_addresses(self) -> None:
        answer = self.ec2.describe_addresses(Filters=filters(**{"tag:Stack": self.stack}))["Addresses"]
        mine = {address["AllocationId"]: address for address in answer if self._is_mine(address)}
        used = {zone: _allocation(gateway) for zone, gateway in self.kept.items()}
        unknown = sorted({each for each in used.values() if each and each not in mine})
        if unknown:
            # Their tags were taken off; the gateway still says whose they are.
            for address in self.ec2.describe_addresses(AllocationIds=unknown)["Addresses"]:
                mine[address["AllocationId"]] = address
        self.addresses = {zone: mine[each] for zone, each in used.items() if each in mine}
        busy = {*used.values(), *(_allocation(gateway) for gateway in [*self.old, *self.leaving])}
        free = [mine[each] for each in sorted(mine) if each not in busy and not _is_used(mine[each])]
        for zone in self.subnets:
            if zone not in self.addresses:
                self._take(zone, free)
        taken = [address["AllocationId"] for address in self.addresses.values()]
        self.spare = [address for address in free if address["AllocationId"] not in taken]

    def _take(self, zone: str, free: list[Resource]) -> None:
        """Have `zone` take its own of the free addresses, or any while it has no gateway yet."""
        name = self.tags_of(zone)["Name"]
        others = [self.tags_of(each)["Name"] for each in self.subnets if each != zone]
        named = [each for each in free if tag_dict(each.get("Tags")).get("Name") == name]
        spare = [each for each in free if tag_dict(each.get("Tags")).get("Name") not in others]
        fit = named or ([] if zone in self.kept else spare)
        if fit:
            self.addresses[zone] = fit[0]
            free.remove(fit[0])

    def properties(self) -> Resource:
        """Return what there is, in the form of `wanted`."""
        values: Resource = {}
        for zone, gateway in self.kept.items():
            values[f"gateway {zone}"] = {"subnet_id": gateway["SubnetId"], "tags": tag_dict(gateway.get("Tags"))}
        for zone, address in self.addresses.items():
            values[f"address {zone}"] = {"tags": tag_dict(address.get("Tags"))}
        surplus = [gateway["NatGatewayId"] for gateway in self.old] + [each["AllocationId"] for each in self.spare]
        return {**values, **({"surplus": surplus} if surplus and self.params["purge"] else {})}

    def wanted(self) -> Resource:
        """Return what the parameters ask for."""
        values: Resource = {}
        for zone, subnet in self.subnets.items():
            values[f"gateway {zone}"] = {"subnet_id": subnet, "tags": self.tags_of(zone)}
            values[f"address {zone}"] = {"tags": self.tags_of(zone)}
        return values

    def apply(self) -> None:
        """Create what is missing, repair tags, and remove what is surplus."""
        for zone in self.subnets:
            if zone in self.addresses:
                self._retag(self.addresses[zone], "AllocationId", zone)
            elif zone not in self.kept:
                self._allocate(zone)
            if zone in self.kept:
                self._retag(self.kept[zone], "NatGatewayId", zone)
            else:
                self._create(zone)
        if self.params["purge"]:
            self._remove()

    def _retag(self, resource: Resource, key: str, zone: str) -> None:
        with doing(self.module, f"tag {resource[key]}"):
            retag_ec2(self.ec2, resource[key], tag_dict(resource.get("Tags")), self.tags_of(zone))

    def _allocate(self, zone: str) -> None:
        with doing(self.module, f"allocate the address of the NAT gateway in {zone}"):
            self.addresses[zone] = create(
                self.module,
                "ec2",
                "allocate_address",
                functools.partial(self._allocated, zone),
                Domain="vpc",
                TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tag_list(self.tags_of(zone))}],
            )

    def _allocated(self, zone: str) -> Resource | None:
        tags = {key: self.tags_of(zone)[key] for key in ("Name", "Stack")}
        named = filters(**{f"tag:{key}": value for key, value in tags.items()})
        answer = self.ec2.describe_addresses(Filters=named)["Addresses"]
        mine = (each for each in answer if tags.items() <= tag_dict(each.get("Tags")).items() and not _is_used(each))
        return next(mine, None)

    def _create(self, zone: str) -> None:
        with doing(self.module, f"create the NAT gateway in {zone}"):
            self.kept[zone] = create(
                self.module,
                "ec2",
                "create_nat_gateway",
                functools.partial(self._created, zone),
                ClientToken=str(uuid.uuid4()),
                SubnetId=self.subnets[zone],
                AllocationId=self.addresses[zone]["AllocationId"],
                TagSpecifications=[{"ResourceType": "natgateway", "Tags": tag_list(self.tags_of(zone))}],
            )["NatGateway"]

    def _created(self, zone: str) -> Resource | None:
        wanted = (self.addresses[zone]["AllocationId"], self.subnets[zone])
        serving = (each for each in self._gateways() if each["State"] in SERVING)
        mine = ({"NatGateway": each} for each in serving if (_allocation(each), each["SubnetId"]) == wanted)
        return next(mine, None)

    def _remove(self) -> None:
        for gateway in self.old:
            self._mark(gateway)
            with doing(self.module, f"delete the NAT gateway {gateway['NatGatewayId']}"):
                found(self.ec2.delete_nat_gateway, "NatGatewayNotFound", NatGatewayId=gateway["NatGatewayId"])
        for address in self.spare:
            with doing(self.module, f"release the address {address['AllocationId']}"):
                found(
                    self.ec2.release_address,
                    "InvalidAllocationID.NotFound",
                    AllocationId=address["AllocationId"],
                )

    def _mark(self, gateway: Resource) -> None:
        """Tag the address of a gateway of this stack that goes: without the gateway nothing else says whose it is."""
        address = _allocation(gateway)
        if address and self._is_mine(gateway):
            name = tag_dict(gateway.get("Tags")).get("Name", self.params["name"])
            with doing(self.module, f"tag {address}"):
                self.ec2.create_tags(Resources=[address], Tags=tag_list({"Name": name, "Stack": self.stack}))

    def converge(self) -> bool:
        """Do what is needed, and return whether something is left to go."""
        before = bool(self.old or self.spare)
        self.apply()
        if not before or not self.params["purge"]:
            return before or bool(self.leaving)
        # What is gone at once leaves its address to be released.
        self.read()
        if self.spare and not self.old:
            self._remove()
            self.spare = []
        return bool(self.old or self.leaving or self.spare)


def _is_public(gateway: Resource) -> bool:
    return str(gateway.get("ConnectivityType", "public")) == "public"


def _is_used(address: Resource) -> bool:
    return bool(address.get("NetworkInterfaceId") or address.get("InstanceId"))


def _allocation(gateway: Resource) -> str | None:
    """Return the address of a gateway; None where EC2 does not say yet."""
    addresses = sorted(gateway.get("NatGatewayAddresses", []), key=lambda each: not each.get("IsPrimary", False))
    return next((str(each["AllocationId"]) for each in addresses if each.get("AllocationId")), None)


def main() -> None:
    """Run the module."""
    gateway = {"zone": {"type": "str", "required": True}, "subnet_id": {"type": "str", "required": True}}
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "vpc_id": {"type": "str"},
            "gateways": {"type": "list", "elements": "dict", "default": [], "options": gateway},
            "tags": {"type": "dict", "required": True},
            "purge": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if "Stack" not in module.params["tags"]:
        module.fail_json(msg="tags has no Stack; add the name of the stack, by which its addresses are found again.")
    gateways = Gateways(module)
    gateways.read()
    before, after = gateways.properties(), gateways.wanted()
    changed = before != after
    surplus = bool(gateways.old or gateways.leaving or gateways.spare)
    if changed and not module.check_mode:
        surplus = gateways.converge()
    ids = {zone: gateways.kept[zone]["NatGatewayId"] if zone in gateways.kept else None for zone in gateways.subnets}
    module.exit_json(changed=changed, diff=diff(before, after), nat_gateway_ids=ids, surplus=surplus)


if __name__ == "__main__":
    main()
