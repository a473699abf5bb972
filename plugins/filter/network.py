"""Filters between the subnets, zones and route tables of the network role."""

from __future__ import annotations

from typing import Any


def tier_ids(subnets: list[dict[str, str]], tier: str, ids: list[str | None]) -> list[str]:
    """Ids of the subnets of one tier, in the order of ``subnets``, to which ``ids`` belong one by one.

    A check run has no ids of what it would create; those become ids of valid form that name nothing.
    """
    chosen = [found for subnet, found in zip(subnets, ids, strict=True) if subnet["tier"] == tier]
    return [found or f"subnet-{index:017d}" for index, found in enumerate(chosen)]


def named_subnets(subnets: list[dict[str, str]], name: str) -> list[dict[str, Any]]:
    """The subnets as module ``vpc_subnets`` takes them, each with its name and its tier as tags."""
    return [
        {
            "cidr": subnet["cidr"],
            "az": subnet["az"],
            "tags": {"Name": f"{name}-{subnet['tier']}-{subnet['az']}", "Tier": subnet["tier"]},
        }
        for subnet in subnets
    ]


def tiered_subnets(ranges: dict[str, list[str]], zones: list[str]) -> list[dict[str, str]]:
    """One flat list of {tier, cidr, az} from the ranges of each tier, which are in the order of `zones`."""
    return [
        {"tier": tier, "cidr": cidr, "az": zone}
        for tier, cidrs in ranges.items()
        for cidr, zone in zip(cidrs, zones, strict=True)
    ]


def private_tables(subnet_ids: list[str], name: str, zones: list[str]) -> list[dict[str, Any]]:
    """The private route tables as module ``vpc_route_tables`` takes them, one for each zone, with routes left alone."""
    return [
        {"name": f"{name}-private-{zone}", "subnet_ids": [subnet]}
        for zone, subnet in zip(zones, subnet_ids, strict=True)
    ]


def zone_subnets(zones: list[str], subnets: list[dict[str, str]], ids: list[str | None]) -> list[dict[str, str]]:
    """Each zone with its public subnet, as module ``nat_gateways`` takes them; ``ids`` as for ``tier_ids``."""
    public = [subnet["az"] for subnet in subnets if subnet["tier"] == "public"]
    found = dict(zip(public, tier_ids(subnets, "public", ids), strict=True))
    return [{"zone": zone, "subnet_id": found[zone]} for zone in zones]


def interface_endpoints(
    services: list[str], name: str, region: str, partition: str, subnet_ids: list[str], group_ids: list[str]
) -> list[dict[str, Any]]:
    """The interface endpoints as module ``vpc_endpoints`` takes them, one for each service such as ``ecr.api``."""
    return [
        {
            "name": f"{name}-{service}",
            "service": f"{service_prefix(service, partition)}.{region}.{service}",
            "subnet_ids": subnet_ids,
            "security_group_ids": group_ids,
        }
        for service in services
    ]


def service_prefix(service: str, partition: str) -> str:
    """What the name of an endpoint service begins with; ECR's is another one in China."""
    return "cn.com.amazonaws" if partition == "aws-cn" and service.startswith("ecr.") else "com.amazonaws"


def nat_routes(
    zones: list[str], name: str, nat_zones: list[str], gateways: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """The private route tables with their default route only: to the zone's NAT gateway, or to the only one.

    ``nat_zones`` have a gateway each, and without any there is no route; ``gateways`` is what ``stack_info`` found. A
    check run has none yet, and gets an id of valid form.
    """
    found = {gateway["name"]: gateway["id"] for gateway in gateways}
    ids = {zone: found.get(f"{name}-{zone}", "nat-00000000000000000") for zone in nat_zones}
    return [
        {
            "name": f"{name}-private-{zone}",
            "routes": {"0.0.0.0/0": ids.get(zone, ids[nat_zones[0]])} if nat_zones else {},
        }
        for zone in zones
    ]


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the roles write them."""
        functions = (
            tiered_subnets,
            tier_ids,
            named_subnets,
            private_tables,
            zone_subnets,
            interface_endpoints,
            nat_routes,
        )
        return {function.__name__: function for function in functions}
