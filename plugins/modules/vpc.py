#!/usr/bin/python
"""Manage one VPC with its internet gateway and its network ACLs; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc
short_description: Manage one VPC with its internet gateway and its network ACLs
description:
  - The VPC is the one whose tags Name and Stack are O(name) and that of O(tags). Where these tags were taken off, it is
    the one that holds subnets with the tag Stack.
  - An answer that gets lost, or a run that is killed, leaves no second VPC and no unattached internet gateway. What is
    tagged as this stack's, empty and surplus is removed; two VPCs with subnets are refused.
  - The default network ACL lets everything through, as AWS makes it, and is that of every subnet. Other network ACLs in
    the VPC are removed.
  - AWS cannot change the primary range of a VPC; that is refused. Other ranges are those of M(vpc_subnets).
options:
  name:
    description: Name tag of the VPC and of its internet gateway.
    type: str
    required: true
  cidr:
    description: IPv4 range. Required with O(state=present).
    type: str
  tags:
    description: The exact tags beside Name, the tag Stack among them.
    type: dict
    required: true
  state:
    description: V(absent) removes the VPC, which has to be empty, and its internet gateway.
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
- name: Create the VPC
  vpc:
    name: team-a
    cidr: 10.20.0.0/16
    tags: "{{ network_tags }}"
"""

RETURN = r"""
vpc_id:
  description: Identifier of the VPC; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: vpc-0a1b2c3d4e5f60718
internet_gateway_id:
  description: Identifier of the internet gateway; null likewise.
  returned: always
  type: str
  sample: igw-0a1b2c3d4e5f60718
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    filters,
    found,
    patiently,
    retag_ec2,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Resource = dict[str, Any]
# EC2 may not know for a moment what it has just made.
NOT_YET = ("InvalidVpcID.NotFound", "InvalidInternetGatewayID.NotFound")
ATTRIBUTES = {"dns_support": "EnableDnsSupport", "dns_hostnames": "EnableDnsHostnames"}
# The entries of a default network ACL: (egress, number) and what the number lets through. AWS adds the last by itself.
ALLOWED = {(egress, 100): ("-1", "allow", "0.0.0.0/0") for egress in (False, True)}
LAST = 32767


class Network:
    """One VPC. After `read`, `vpc` and `gateway` are what the stack has (None = missing), `surplus` what can go."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.name: str = module.params["name"]
        self.tags: dict[str, str] = {**module.params["tags"], "Name": self.name}
        self.ec2 = module.client("ec2")
        self.vpc: Resource | None = None
        self.gateway: Resource | None = None
        self.attributes: dict[str, bool] = {}
        self.acls: list[Resource] = []
        self.surplus_vpcs: list[str] = []
        self.surplus_gateways: list[str] = []

    def read(self) -> None:
        """Find the VPC, its internet gateway and its network ACLs."""
        with doing(self.module, f"read the VPC {self.name}"):
            self.vpc = self._vpc()
            self._read_gateways()
            if self.vpc:
                self._read_inside(self.vpc["VpcId"])

    def _vpc(self) -> Resource | None:
        vpcs = self._named()
        if len(vpcs) > 1:
            return self._chosen(vpcs)
        return vpcs[0] if vpcs else self._untagged()

    def _named(self) -> list[Resource]:
        wanted = {"Name": self.name, "Stack": self.tags["Stack"]}
        named = filters(**{f"tag:{key}": value for key, value in wanted.items()})
        answer = self.ec2.describe_vpcs(Filters=named)["Vpcs"]
        return [vpc for vpc in answer if wanted.items() <= tag_dict(vpc.get("Tags")).items()]

    def _chosen(self, vpcs: list[Resource]) -> Resource:
        """Return the one in use of several, and put the empty ones aside."""
        ids = sorted(vpc["VpcId"] for vpc in vpcs)
        subnets = self.ec2.describe_subnets(Filters=filters(**{"vpc-id": ids}))["Subnets"]
        used = sorted({subnet["VpcId"] for subnet in subnets} & set(ids))
        if len(used) > 1:
            self.module.fail_json(
                msg=f"Several VPCs with subnets are tagged Name={self.name} and Stack={self.tags['Stack']} "
                f"({', '.join(used)}); take the tag Stack off all but one."
            )
        mine = (used or ids)[0]
        self.surplus_vpcs = [vpc for vpc in ids if vpc != mine]
        return next(vpc for vpc in vpcs if vpc["VpcId"] == mine)

    def _untagged(self) -> Resource | None:
        """Return the VPC in which this stack's subnets are, although its own tags say nothing of the stack."""
        mine = self.ec2.describe_subnets(Filters=filters(**{"tag:Stack": self.tags["Stack"]}))["Subnets"]
        vpcs = {subnet["VpcId"] for subnet in mine if tag_dict(subnet.get("Tags")).get("Stack") == self.tags["Stack"]}
        if len(vpcs) != 1:
            return None
        return dict(self.ec2.describe_vpcs(VpcIds=sorted(vpcs))["Vpcs"][0])

    def _read_gateways(self) -> None:
        pages = self.ec2.get_paginator("describe_internet_gateways").paginate()
        gateways = [gateway for page in pages for gateway in page["InternetGateways"]]
        vpc = self.vpc["VpcId"] if self.vpc else None
        attached = [gateway for gateway in gateways if vpc and vpc in _vpcs(gateway)]
        free = [gateway for gateway in gateways if not _vpcs(gateway) and self._is_mine(gateway)]
        self.gateway = next(iter(attached + free), None)
        self.surplus_gateways = [gateway["InternetGatewayId"] for gateway in free if gateway is not self.gateway]

    def _is_mine(self, resource: Resource) -> bool:
        return {"Name": self.name, "Stack": self.tags["Stack"]}.items() <= tag_dict(resource.get("Tags")).items()

    def _read_inside(self, vpc: str) -> None:
        for name, attribute in ATTRIBUTES.items():
            answer = self.ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute[0].lower() + attribute[1:])
            self.attributes[name] = bool(answer[attribute]["Value"])
        pages = self.ec2.get_paginator("describe_network_acls").paginate(Filters=filters(**{"vpc-id": vpc}))
        self.acls = [acl for page in pages for acl in page["NetworkAcls"] if acl["VpcId"] == vpc]

    def properties(self) -> Resource:
        """Return what there is, in the form of `wanted`."""
        values: Resource = {}
        if self.vpc:
            values["vpc"] = {
                "cidr": self.vpc["CidrBlock"],
                "tags": tag_dict(self.vpc.get("Tags")),
                **self.attributes,
            }
        if self.gateway:
            attached = self.vpc is not None and self.vpc["VpcId"] in _vpcs(self.gateway)
            values["internet_gateway"] = {"attached": attached, "tags": tag_dict(self.gateway.get("Tags"))}
        default = next((acl for acl in self.acls if acl.get("IsDefault")), None)
        if default:
            values["network_acl"] = [_line(*entry) for entry in sorted(_entries(default).items())]
        foreign = sorted(acl["NetworkAclId"] for acl in self.acls if not acl.get("IsDefault"))
        surplus = foreign + self.surplus_vpcs + self.surplus_gateways
        return {**values, **({"surplus": surplus} if surplus else {})}

    def wanted(self) -> Resource:
        """Return what the parameters ask for."""
        return {
            "vpc": {"cidr": self.module.params["cidr"], "tags": self.tags, **dict.fromkeys(ATTRIBUTES, True)},
            "internet_gateway": {"attached": True, "tags": self.tags},
            "network_acl": [_line(*entry) for entry in sorted(ALLOWED.items())],
        }

    def apply(self, before: Resource) -> None:
        """Bring everything from `before` to what is wanted."""
        self._remove_surplus()
        if self.vpc is None:
            self._create_vpc()
            # AWS makes one that resolves names, and gives none.
            before = {**before, "vpc": {"tags": self.tags, "dns_support": True, "dns_hostnames": False}}
        vpc = str(self.vpc["VpcId"])  # type: ignore[index]
        with doing(self.module, f"repair the VPC {self.name}"):
            retag_ec2(self.ec2, vpc, before["vpc"]["tags"], self.tags)
            for name, attribute in ATTRIBUTES.items():
                if not before["vpc"][name]:
                    patiently(self.ec2.modify_vpc_attribute, *NOT_YET)(VpcId=vpc, **{attribute: {"Value": True}})
        self._converge_gateway(vpc, before.get("internet_gateway", {}))
        self._converge_acls()

    def _create_vpc(self) -> None:
        with doing(self.module, f"create the VPC {self.name}"):
            self.vpc = create(
                self.module,
                "ec2",
                "create_vpc",
                lambda: next(({"Vpc": vpc} for vpc in self._named()), None),
                CidrBlock=self.module.params["cidr"],
                TagSpecifications=[{"ResourceType": "vpc", "Tags": tag_list(self.tags)}],
            )["Vpc"]

    def _converge_gateway(self, vpc: str, before: Resource) -> None:
        if self.gateway is None:
            with doing(self.module, f"create the internet gateway of {self.name}"):
                self.gateway = create(
                    self.module,
                    "ec2",
                    "create_internet_gateway",
                    self._free_gateway,
                    TagSpecifications=[{"ResourceType": "internet-gateway", "Tags": tag_list(self.tags)}],
                )["InternetGateway"]
            before = {"attached": False, "tags": self.tags}
        gateway = str(self.gateway["InternetGatewayId"])
        with doing(self.module, f"tag the internet gateway {gateway}"):
            retag_ec2(self.ec2, gateway, before["tags"], self.tags)
        if before["attached"]:
            return
        with doing(self.module, f"attach the internet gateway {gateway} to {vpc}"):
            # That it is attached already is the answer after one that got lost.
            attach = patiently(self.ec2.attach_internet_gateway, *NOT_YET)
            found(attach, "Resource.AlreadyAssociated", InternetGatewayId=gateway, VpcId=vpc)

    def _free_gateway(self) -> Resource | None:
        self._read_gateways()
        return {"InternetGateway": self.gateway} if self.gateway else None

    def _converge_acls(self) -> None:
        default = next((acl for acl in self.acls if acl.get("IsDefault")), None)
        if default is None:
            return
        entries, identifier = _entries(default), default["NetworkAclId"]
        with doing(self.module, f"repair the network ACL {identifier}"):
            for egress, number in sorted(ALLOWED):
                if entries.get((egress, number)) != ALLOWED[egress, number]:
                    there = (egress, number) in entries
                    change = self.ec2.replace_network_acl_entry if there else self.ec2.create_network_acl_entry
                    protocol, action, cidr = ALLOWED[egress, number]
                    change(
                        NetworkAclId=identifier,
                        Egress=egress,
                        RuleNumber=number,
                        Protocol=protocol,
                        RuleAction=action,
                        CidrBlock=cidr,
                    )
            for egress, number in sorted(set(entries) - set(ALLOWED)):
                self.ec2.delete_network_acl_entry(NetworkAclId=identifier, Egress=egress, RuleNumber=number)
        for acl in self.acls:
            if not acl.get("IsDefault"):
                self._remove_acl(acl, identifier)

    def _remove_acl(self, acl: Resource, default: str) -> None:
        with doing(self.module, f"remove the network ACL {acl['NetworkAclId']}, which is none of {self.name}"):
            for association in acl.get("Associations", []):
                self.ec2.replace_network_acl_association(
                    AssociationId=association["NetworkAclAssociationId"], NetworkAclId=default
                )
            self.ec2.delete_network_acl(NetworkAclId=acl["NetworkAclId"])

    def _remove_surplus(self) -> None:
        for gateway in self.surplus_gateways:
            with doing(self.module, f"delete the surplus internet gateway {gateway}"):
                self.ec2.delete_internet_gateway(InternetGatewayId=gateway)
        for vpc in self.surplus_vpcs:
            with doing(self.module, f"delete the surplus VPC {vpc}"):
                inside = filters(**{"attachment.vpc-id": vpc})
                for gateway in self.ec2.describe_internet_gateways(Filters=inside)["InternetGateways"]:
                    if vpc in _vpcs(gateway):
                        self._delete_gateway(gateway["InternetGatewayId"], vpc)
                self.ec2.delete_vpc(VpcId=vpc)

    def _delete_gateway(self, gateway: str, vpc: str) -> None:
        self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=gateway)

    def delete(self) -> None:
        """Delete the VPC, its internet gateway and what is surplus."""
        self._remove_surplus()
        vpc = self.vpc["VpcId"] if self.vpc else None
        if self.gateway:
            gateway = self.gateway["InternetGatewayId"]
            with doing(self.module, f"delete the internet gateway {gateway}"):
                if _vpcs(self.gateway):
                    self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
                self.ec2.delete_internet_gateway(InternetGatewayId=gateway)
        if vpc:
            default = next((acl["NetworkAclId"] for acl in self.acls if acl.get("IsDefault")), "")
            for acl in self.acls:
                if not acl.get("IsDefault"):
                    self._remove_acl(acl, default)
            with doing(self.module, f"delete the VPC {vpc}"):
                self.ec2.delete_vpc(VpcId=vpc)
        self.vpc = self.gateway = None


def _vpcs(gateway: Resource) -> list[str]:
    """Return the VPCs, at most one, to which an internet gateway is attached."""
    return [each["VpcId"] for each in gateway.get("Attachments", []) if each.get("State") not in ("detached",)]


def _entries(acl: Resource) -> dict[tuple[bool, int], tuple[str, str, str]]:
    """Return {(egress, number): (protocol, action, range)} of an ACL, without the last one, which AWS has."""
    return {
        (bool(entry["Egress"]), int(entry["RuleNumber"])): (
            str(entry["Protocol"]),
            str(entry["RuleAction"]),
            str(entry.get("CidrBlock") or entry.get("Ipv6CidrBlock") or ""),
        )
        for entry in acl.get("Entries", [])
        if int(entry["RuleNumber"]) < LAST
    }


def _line(key: tuple[bool, int], value: tuple[str, str, str]) -> str:
    egress, number = key
    protocol, action, cidr = value
    return f"{'egress' if egress else 'ingress'} {number}: {action} {cidr} protocol {protocol}"


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cidr": {"type": "str"},
            "tags": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["cidr"])],
        supports_check_mode=True,
    )
    if "Stack" not in module.params["tags"]:
        module.fail_json(msg="tags has no Stack; add the name of the stack, by which its VPC is found again.")
    network = Network(module)
    network.read()
    before = network.properties()
    present = module.params["state"] == "present"
    after = network.wanted() if present else {}
    if present and network.vpc and before["vpc"]["cidr"] != after["vpc"]["cidr"]:
        module.fail_json(
            msg=f"The VPC {network.name} has the range {before['vpc']['cidr']} instead of {after['vpc']['cidr']}, "
            "which AWS cannot change; set it back, or give the stack another name."
        )
    # What a new VPC has by itself is no difference.
    compared = after if network.acls or not present else {key: after[key] for key in after if key != "network_acl"}
    changed = before != compared
    if changed and not module.check_mode:
        if present:
            network.apply(before)
        else:
            network.delete()
    module.exit_json(
        changed=changed,
        diff=diff(before, compared),
        vpc_id=network.vpc["VpcId"] if network.vpc else None,
        internet_gateway_id=network.gateway["InternetGatewayId"] if network.gateway else None,
    )


if __name__ == "__main__":
    main()
