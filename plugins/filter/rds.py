"""Filters of the rds role."""

from __future__ import annotations

from typing import Any


def kept_version(wanted: str, standing: str | None) -> str:
    """The engine version to ask for: what stands if it is of the same major and as new, else the wanted one.

    RDS reports the minor version it chose, and a module told "16" again would see a difference to "16.4" for ever;
    and one that RDS has upgraded by itself cannot go back.
    """
    if standing:
        have, want = ([int(part) for part in version.split(".")] for version in (standing, wanted))
        if have[0] == want[0] and have >= want:
            return standing
    return wanted


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the role writes them."""
        return {"kept_version": kept_version}
