"""Filters that read registered loops of the network role."""

from __future__ import annotations

from typing import Any


def subnet_ids(results: list[dict[str, Any]], tier: str) -> list[str]:
    """Ids of the subnets of one tier, in the order of the loop that made them.

    ``results`` is the ``results`` list of a registered ``amazon.aws.ec2_vpc_subnet`` loop over items with a ``tier``.
    A check run has no ids of what it would create; those become ids of valid form that name nothing.
    """
    chosen = [result for result in results if _item(result)["tier"] == tier]
    return [(result.get("subnet") or {}).get("id") or f"subnet-{index:017d}" for index, result in enumerate(chosen)]


def tiered_subnets(subnets: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    """One flat list of subnets from a list for each tier, each item carrying its tier."""
    return [{"tier": tier, "cidr": item["cidr"], "az": item["az"]} for tier, items in subnets.items() for item in items]


def nat_routes(results: list[dict[str, Any]], index: int) -> list[dict[str, str]]:
    """The default route of the private subnet number ``index``: to its zone's NAT gateway, or to the only one.

    ``results`` is the ``results`` list of a registered ``nat_gateway`` loop; none means no route out.
    """
    if not results:
        return []
    gateway = results[min(index, len(results) - 1)].get("nat_gateway_id") or "nat-00000000000000000"
    return [{"dest": "0.0.0.0/0", "nat_gateway_id": gateway}]


def _item(result: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = result[result["ansible_loop_var"]]
    return item


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the roles write them."""
        return {"tiered_subnets": tiered_subnets, "subnet_ids": subnet_ids, "nat_routes": nat_routes}
