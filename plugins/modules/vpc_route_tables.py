#!/usr/bin/python
"""Keep route tables of one VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_route_tables
short_description: Keep the route tables of one VPC
description:
  - Converges all tables it is given with one look at the VPC and one call for each difference. Unlike
    C(amazon.aws.ec2_vpc_route_table) it looks up tags with the tables, and does not pause after a change.
  - A table is found by its Name tag, and by its Stack tag where O(tags) names one.
  - Of routes it sees those to IPv4 ranges that somebody made. The local route, propagated routes and those of gateway
    endpoints are left alone, and so are tables that are not named.
options:
  vpc_id:
    description: The VPC.
    type: str
    required: true
  tables:
    description: The tables.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name tag of the table.
        type: str
        required: true
      subnet_ids:
        description: The exact subnets that use it. One that uses another table moves. Without it they are left alone.
        type: list
        elements: str
      routes:
        description: The exact routes, each an IPv4 range and the id of an internet or NAT gateway. Without it they are
          left alone.
        type: dict
  tags:
    description: The exact tags of every table beside Name. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) takes the subnets off the tables and deletes these.
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
- name: Route the public subnets to the internet, and the database subnets nowhere
  vpc_route_tables:
    vpc_id: "{{ __network_vpc.vpc.id }}"
    tables:
      - name: team-a-public
        subnet_ids: "{{ network_public_subnet_ids }}"
        routes: {0.0.0.0/0: "{{ __network_igw.gateway_id }}"}
      - name: team-a-database
        subnet_ids: "{{ network_database_subnet_ids }}"
        routes: {}
    tags: "{{ network_tags }}"
"""

RETURN = r"""
route_table_ids:
  description: Identifier of each table by its name; null when it is absent or would be created by a check.
  returned: always
  type: dict
  sample: {team-a-public: rtb-0a1b2c3d4e5f60718}
"""

from typing import Any, NamedTuple  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, filters, patiently, retag_ec2, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Table = dict[str, Any]
# EC2 may not know for a moment what it has just made.
NOT_YET = ("InvalidRouteTableID.NotFound", "InvalidSubnetID.NotFound", "InvalidGatewayID.NotFound")
TARGETS = {"igw-": "GatewayId", "nat-": "NatGatewayId"}


class Association(NamedTuple):
    """That a subnet uses a table."""

    id: str
    table_id: str


class RouteTables:
    """The tables of one VPC. After `read`, `standing` has those that are named, `associations` those of each subnet."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.ec2 = module.client("ec2")
        self.standing: dict[str, Table] = {}
        self.associations: dict[str, Association] = {}

    def read(self) -> None:
        """Find the tables, and which table each subnet uses. Two of one name are refused."""
        vpc = self.params["vpc_id"]
        with doing(self.module, f"read the route tables of {vpc}"):
            pages = self.ec2.get_paginator("describe_route_tables").paginate(Filters=filters(**{"vpc-id": vpc}))
            tables = [table for page in pages for table in page["RouteTables"] if table["VpcId"] == vpc]
        for table in tables:
            for subnet, association in _associations(table):
                self.associations[subnet] = association
        for name in (wanted["name"] for wanted in self.params["tables"]):
            mine = [table for table in tables if self._identity(name).items() <= tag_dict(table.get("Tags")).items()]
            if len(mine) > 1:
                ids = ", ".join(sorted(table["RouteTableId"] for table in mine))
                self.module.fail_json(
                    msg=f"Several route tables of {vpc} are named {name} ({ids}); delete all but one."
                )
            if mine:
                self.standing[name] = mine[0]

    def _identity(self, name: str) -> dict[str, str]:
        tags = self.params["tags"] or {}
        return {"Name": name, **({"Stack": tags["Stack"]} if "Stack" in tags else {})}

    def properties(self) -> dict[str, Table]:
        """Return what stands, in the form of `wanted`."""
        return {
            name: {
                "subnets": sorted(subnet for subnet, _ in _associations(table)),
                "routes": _routes(table),
                "tags": tag_dict(table.get("Tags")),
            }
            for name, table in self.standing.items()
        }

    def wanted(self, before: dict[str, Table]) -> dict[str, Table]:
        """Return what the parameters ask for; what they leave open is as in `before`."""
        after = {}
        for table in self.params["tables"]:
            name, tags = table["name"], self.params["tags"]
            new: Table = {"subnets": [], "routes": {}, "tags": {"Name": name}}
            asked = {
                "subnets": None if table["subnet_ids"] is None else sorted(set(table["subnet_ids"])),
                "routes": table["routes"],
                "tags": None if tags is None else {**tags, "Name": name},
            }
            given = {key: value for key, value in asked.items() if value is not None}
            after[name] = {**new, **before.get(name, {}), **given}
        return after

    def apply(self, before: dict[str, Table], after: dict[str, Table]) -> None:
        """Make each table as in `after`. Subnets move before any is taken off, so that none is without its table."""
        for name, table in after.items():
            if name not in before:
                self._create(name, table["tags"])
            self._retag(name, before.get(name, {}).get("tags", table["tags"]), table["tags"])
            self._route(name, before.get(name, {}).get("routes", {}), table["routes"])
        for name, table in after.items():
            for subnet in table["subnets"]:
                self._associate(name, subnet)
        for name, table in before.items():
            for subnet in sorted(set(table["subnets"]) - set(after[name]["subnets"])):
                self._disassociate(name, subnet)

    def delete(self) -> None:
        """Delete the tables that stand."""
        for name in self.standing:
            for subnet, _ in _associations(self.standing[name]):
                self._disassociate(name, subnet)
            with doing(self.module, f"delete the route table {name}"):
                self.ec2.delete_route_table(RouteTableId=self._id(name))
        self.standing = {}

    def ids(self) -> dict[str, str | None]:
        """Return the identifier of each table that is named."""
        names = [table["name"] for table in self.params["tables"]]
        return {name: self._id(name) if name in self.standing else None for name in names}

    def _id(self, name: str) -> str:
        return str(self.standing[name]["RouteTableId"])

    def _create(self, name: str, tags: dict[str, str]) -> None:
        specification = [{"ResourceType": "route-table", "Tags": tag_list(tags)}]
        with doing(self.module, f"create the route table {name}"):
            answer = self.ec2.create_route_table(VpcId=self.params["vpc_id"], TagSpecifications=specification)
            self.standing[name] = answer["RouteTable"]

    def _retag(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        with doing(self.module, f"tag the route table {name}"):
            retag_ec2(self.ec2, self._id(name), before, after)

    def _route(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        for destination in sorted(set(before) - set(after)):
            with doing(self.module, f"remove the route to {destination} of {name}"):
                self.ec2.delete_route(RouteTableId=self._id(name), DestinationCidrBlock=destination)
        for destination, target in sorted(after.items()):
            if before.get(destination) == target:
                continue
            call = self.ec2.replace_route if destination in before else self.ec2.create_route
            with doing(self.module, f"route {destination} of {name} to {target}"):
                patiently(call, *NOT_YET)(
                    RouteTableId=self._id(name), DestinationCidrBlock=destination, **{_target_key(target): target}
                )

    def _associate(self, name: str, subnet: str) -> None:
        table, standing = self._id(name), self.associations.get(subnet)
        if standing and standing.table_id == table:
            return
        with doing(self.module, f"have {subnet} use the route table {name}"):
            if standing:
                answer = patiently(self.ec2.replace_route_table_association, *NOT_YET)(
                    AssociationId=standing.id, RouteTableId=table
                )
                self.associations[subnet] = Association(answer["NewAssociationId"], table)
            else:
                answer = patiently(self.ec2.associate_route_table, *NOT_YET)(SubnetId=subnet, RouteTableId=table)
                self.associations[subnet] = Association(answer["AssociationId"], table)

    def _disassociate(self, name: str, subnet: str) -> None:
        association = self.associations[subnet]
        # It may have moved to another table.
        if association.table_id == self._id(name):
            with doing(self.module, f"take {subnet} off the route table {name}"):
                self.ec2.disassociate_route_table(AssociationId=association.id)


def _associations(table: Table) -> list[tuple[str, Association]]:
    """Return (subnet, association) for each subnet that uses `table`."""
    return [
        (each["SubnetId"], Association(each["RouteTableAssociationId"], table["RouteTableId"]))
        for each in table.get("Associations", [])
        if each.get("SubnetId")
        and each.get("AssociationState", {}).get("State") not in ("disassociating", "disassociated")
    ]


def _routes(table: Table) -> dict[str, str]:
    """Return {range: target} of the IPv4 routes that somebody made."""
    return {
        route["DestinationCidrBlock"]: _target(route)
        for route in table.get("Routes", [])
        if route.get("DestinationCidrBlock")
        and route.get("Origin") == "CreateRoute"
        and not route.get("GatewayId", "").startswith("vpce-")
    }


def _target(route: dict[str, Any]) -> str:
    # A gateway, an interface, a peering: whatever it is, its id stands under a key of its own.
    keys = (key for key in sorted(route) if key.endswith("Id") and key != "InstanceOwnerId")
    return next((route[key] for key in keys if route[key]), "")


def _target_key(target: str) -> str:
    return TARGETS.get(target[:4], "GatewayId")


def main() -> None:
    """Run the module."""
    table = {
        "name": {"type": "str", "required": True},
        "subnet_ids": {"type": "list", "elements": "str"},
        "routes": {"type": "dict"},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "tables": {"type": "list", "elements": "dict", "required": True, "options": table},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    tables = RouteTables(module)
    tables.read()
    before = tables.properties()
    present = module.params["state"] == "present"
    after = tables.wanted(before) if present else {}
    changed = before != after
    if changed and not module.check_mode:
        if present:
            tables.apply(before, after)
        else:
            tables.delete()
    module.exit_json(changed=changed, diff=diff(before, after), route_table_ids=tables.ids())


if __name__ == "__main__":
    main()
