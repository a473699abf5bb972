"""What EC2 of moto has not: AWS revokes a rule for another security group whatever its description is."""

from __future__ import annotations

import functools
from typing import Any

from moto.ec2.models.security_groups import SecurityGroupBackend


def fill() -> None:
    """Fill the gap."""
    backend: Any = SecurityGroupBackend
    for direction in ("ingress", "egress"):
        name = f"revoke_security_group_{direction}"
        setattr(backend, name, _by_any_description(getattr(backend, name), direction))


def _by_any_description(revoke: Any, direction: str) -> Any:
    @functools.wraps(revoke)
    def revoked(self: Any, **named: Any) -> Any:
        group = self.get_security_group_by_name_or_id(named["group_name_or_id"], named.get("vpc_id"))
        asked = tuple(str(named.get(key)) for key in ("ip_protocol", "from_port", "to_port"))
        for rule in getattr(group, f"{direction}_rules", []):
            if (str(rule.ip_protocol), str(rule.from_port), str(rule.to_port)) == asked:
                _take_descriptions(named.get("source_groups") or [], [rule.source_group])
        return revoke(self, **named)

    return revoked


def _take_descriptions(sources: list[dict[str, Any]], known: list[dict[str, Any]]) -> None:
    for source in sources:
        for other in known:
            if other.get("GroupId") == source.get("GroupId") and other.get("Description"):
                source["Description"] = other["Description"]
