#!/usr/bin/python
"""Manage the route tables of one VPC; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vpc_route_tables
short_description: Manage the route tables of one VPC
description:
  - Manages all tables it is given with one read of the VPC and one call for each difference. Unlike
    C(amazon.aws.ec2_vpc_route_table) it reads tags with the tables, and does not pause after a change.
  - A table is found by its Name tag, and by its Stack tag where O(tags) names one. Where these were taken off, it is
    the one that the subnets of O(tables[].subnet_ids) use.
  - Of several tables with one name the one that subnets use counts, and those that none uses are removed.
  - It sees every route that somebody made, to IPv4 and IPv6 ranges and to prefix lists. The local route, propagated
    routes and those of gateway endpoints are left alone.
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
  purge:
    description: Whether the VPC's other tables are removed, and the routes that somebody has added to its main table.
    type: bool
    default: false
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

import functools  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

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

Table = dict[str, Any]
# EC2 may not know for a moment what it has just made.
NOT_YET = ("InvalidRouteTableID.NotFound", "InvalidSubnetID.NotFound", "InvalidGatewayID.NotFound")
TARGETS = {"igw-": "GatewayId", "nat-": "NatGatewayId"}
# Where a route may lead, as EC2 describes it and takes it.
DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
MAIN = "(main)"


class Association(NamedTuple):
    """That a subnet uses a table."""

    id: str
    table_id: str


class RouteTables:
    """The tables of one VPC.

    After `read`, `standing` has those that are named, `associations` those of each subnet, `surplus` the tables that
    nobody needs, and `main` the VPC's main table where its routes are ours to remove.
    """

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: dict[str, Any] = module.params
        self.ec2 = module.client("ec2")
        self.standing: dict[str, Table] = {}
        self.associations: dict[str, Association] = {}
        self.surplus: list[Table] = []
        self.main: Table | None = None

    def read(self) -> None:
        """Find the tables, and which table each subnet uses. Two of one name that are both used are refused."""
        with doing(self.module, f"read the route tables of {self.params['vpc_id']}"):
            tables = self._tables()
        for table in tables:
            for subnet, association in _associations(table):
                self.associations[subnet] = association
        others = [table for table in tables if not _is_main(table)]
        for wanted in self.params["tables"]:
            mine = [table for table in others if self._has_name(table, wanted["name"])]
            self._keep(wanted["name"], mine or self._used_by(wanted["subnet_ids"] or [], others))
        if self.params["purge"]:
            kept = [table["RouteTableId"] for table in self.standing.values()]
            self.surplus = [table for table in others if table["RouteTableId"] not in kept]
            self.main = next((table for table in tables if _is_main(table)), None)

    def _tables(self) -> list[Table]:
        vpc = self.params["vpc_id"]
        pages = self.ec2.get_paginator("describe_route_tables").paginate(Filters=filters(**{"vpc-id": vpc}))
        return [table for page in pages for table in page["RouteTables"] if table["VpcId"] == vpc]

    def _keep(self, name: str, tables: list[Table]) -> None:
        used = [table for table in tables if _associations(table)]
        if len(used) > 1:
            ids = ", ".join(sorted(table["RouteTableId"] for table in used))
            self.module.fail_json(
                msg=f"Several route tables of {self.params['vpc_id']} are named {name} ({ids}); delete all but one."
            )
        if tables:
            kept = (used or sorted(tables, key=lambda table: str(table["RouteTableId"])))[0]
            self.standing[name] = kept
            self.surplus += [table for table in tables if table is not kept]

    def _has_name(self, table: Table, name: str) -> bool:
        return self._identity(name).items() <= tag_dict(table.get("Tags")).items()

    def _used_by(self, subnets: list[str], tables: list[Table]) -> list[Table]:
        """Return the table that most of `subnets` use, where it has the name of none of the tables."""
        ids = [self.associations[subnet].table_id for subnet in subnets if subnet in self.associations]
        names = [wanted["name"] for wanted in self.params["tables"]]
        free = [
            table
            for table in tables
            if table["RouteTableId"] in ids and not any(self._has_name(table, name) for name in names)
        ]
        return sorted(free, key=lambda table: -ids.count(table["RouteTableId"]))[:1]

    def _identity(self, name: str) -> dict[str, str]:
        tags = self.params["tags"] or {}
        return {"Name": name, **({"Stack": tags["Stack"]} if "Stack" in tags else {})}

    def properties(self) -> dict[str, Table]:
        """Return what there is, in the form of `wanted`."""
        found: dict[str, Any] = {
            name: {
                "subnets": sorted(subnet for subnet, _ in _associations(table)),
                "routes": _routes(table),
                "tags": tag_dict(table.get("Tags")),
            }
            for name, table in self.standing.items()
        }
        if self.main and _routes(self.main):
            found[MAIN] = {"routes": _routes(self.main)}
        if self.surplus:
            found["(surplus)"] = sorted(table["RouteTableId"] for table in self.surplus)
        return found

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
        for name in self.standing:
            used = before.get(name, {}).get("subnets", [])
            for subnet in sorted(set(used) - set(after[name]["subnets"])):
                self._disassociate(name, subnet)
        self.remove_surplus()

    def remove_surplus(self) -> None:
        """Delete the tables that nobody needs, and the routes of the main one."""
        for table in self.surplus:
            identifier = table["RouteTableId"]
            with doing(self.module, f"delete the route table {identifier}, which git does not ask for"):
                for subnet, association in _associations(table):
                    # It may have moved to another table.
                    if self.associations[subnet].table_id == identifier:
                        self.ec2.disassociate_route_table(AssociationId=association.id)
                self.ec2.delete_route_table(RouteTableId=identifier)
        for destination in sorted(_routes(self.main) if self.main else {}):
            with doing(self.module, f"remove the route to {destination} of the main route table"):
                self._delete_route(str(self.main["RouteTableId"]), destination)  # type: ignore[index]

    def delete(self) -> None:
        """Delete the tables, and what is surplus."""
        self.remove_surplus()
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
            self.standing[name] = create(
                self.module,
                "ec2",
                "create_route_table",
                functools.partial(self._made, name),
                VpcId=self.params["vpc_id"],
                TagSpecifications=specification,
            )["RouteTable"]

    def _made(self, name: str) -> Table | None:
        return next(({"RouteTable": table} for table in self._tables() if self._has_name(table, name)), None)

    def _retag(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        with doing(self.module, f"tag the route table {name}"):
            retag_ec2(self.ec2, self._id(name), before, after)

    def _route(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        for destination in sorted(set(before) - set(after)):
            with doing(self.module, f"remove the route to {destination} of {name}"):
                self._delete_route(self._id(name), destination)
        for destination, target in sorted(after.items()):
            if before.get(destination) == target:
                continue
            call = self.ec2.replace_route if destination in before else self.ec2.create_route
            request = {"RouteTableId": self._id(name), _destination_key(destination): destination}
            with doing(self.module, f"route {destination} of {name} to {target}"):
                # That it is there is the answer after one that got lost; then it leads where it shall.
                already = () if destination in before else ("RouteAlreadyExists",)
                found(patiently(call, *NOT_YET), *already, **request, **{_target_key(target): target})

    def _delete_route(self, table: str, destination: str) -> None:
        request = {"RouteTableId": table, _destination_key(destination): destination}
        found(self.ec2.delete_route, "InvalidRoute.NotFound", **request)

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
                # That it is so already is the answer after one that got lost.
                call = patiently(self.ec2.associate_route_table, *NOT_YET)
                answer = found(call, "Resource.AlreadyAssociated", SubnetId=subnet, RouteTableId=table)
                self.associations[subnet] = Association((answer or {}).get("AssociationId", ""), table)

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


def _is_main(table: Table) -> bool:
    return any(each.get("Main") for each in table.get("Associations", []))


def _routes(table: Table) -> dict[str, str]:
    """Return {destination: target} of the routes that somebody made; those of gateway endpoints are the endpoint's."""
    return {
        str(next(route[key] for key in DESTINATIONS if route.get(key))): _target(route)
        for route in table.get("Routes", [])
        if route.get("Origin") == "CreateRoute"
        and any(route.get(key) for key in DESTINATIONS)
        and not route.get("GatewayId", "").startswith("vpce-")
    }


def _target(route: dict[str, Any]) -> str:
    # A gateway, an interface, a peering: whatever it is, its id stands under a key of its own.
    keys = (key for key in sorted(route) if key.endswith("Id") and key not in ("InstanceOwnerId", *DESTINATIONS))
    return next((route[key] for key in keys if route[key]), "")


def _destination_key(destination: str) -> str:
    if destination.startswith("pl-"):
        return "DestinationPrefixListId"
    return "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"


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
            "purge": {"type": "bool", "default": False},
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
