"""Filters of the rds role."""

from __future__ import annotations

from typing import Any


def kept_version(wanted: str, standing: str | None) -> str:
    """The engine version to ask for: what stands when it is of the wanted line, else what is wanted.

    RDS reports the minor version it chose, and a module told "16" again would see a difference to "16.4" for ever.
    """
    if standing and (standing == wanted or standing.startswith(f"{wanted}.")):
        return standing
    return wanted


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the role writes them."""
        return {"kept_version": kept_version}
