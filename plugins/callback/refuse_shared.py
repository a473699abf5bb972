"""Refuses an inventory in which two hosts would get one name, and with it each other's resources; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: refuse_shared
type: notification
short_description: Refuse two hosts with one stack name or, by accident, one address range
description:
  - Two hosts with one C(mlflow_stack_name) in one region and account are one stack that two runs change at once.
  - Two hosts that both leave out C(mlflow_vpc_cidr) get the same range, which can never be changed and which nobody can
    connect with each other. That is taken only where the inventory says the range itself.
  - All hosts of the inventory are compared, whatever the limit, once and before the first task.
"""

from collections.abc import Iterator, Mapping, Sequence  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

from ansible.errors import AnsibleError  # noqa: E402
from ansible.plugins.callback import CallbackBase  # noqa: E402
from ansible.template import Templar  # noqa: E402
from ansible.utils.display import Display  # noqa: E402

GROUP = "mlflow"


class Stack(NamedTuple):
    """What of a host tells its stack from others; an empty text or tuple says that nothing is set."""

    host: str
    name: str
    region: str
    accounts: tuple[str, ...]
    cidr: str


def shared(stacks: Sequence[Stack]) -> Iterator[str]:
    """A sentence for each pair with one name, and one for all that leave the address range out."""
    for number, one in enumerate(stacks):
        for other in stacks[:number]:
            apart = one.accounts and other.accounts and not set(one.accounts) & set(other.accounts)
            if one.name and (one.name, one.region) == (other.name, other.region) and not apart:
                yield (
                    f"mlflow_stack_name is {one.name} for {other.host} and for {one.host}: they would change each "
                    'other\'s resources; give each a name of its own, such as "{{ inventory_hostname }}".'
                )
    silent = [one.host for one in stacks if not one.cidr]
    if len(silent) > 1:
        few = f"{', '.join(silent[:5])}{' and others' if len(silent) > 5 else ''}"
        yield (
            f"mlflow_vpc_cidr is not set for {few}: all of them would get one address range, which AWS never changes; "
            "give each its own, or say the range once for all where they may share it."
        )


def plain(value: Any) -> str:
    """A value as the comparison takes it."""
    return "" if value is None else str(value).strip()


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "refuse_shared"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Called by Ansible when all playbooks are read and before the first play. Raises SystemExit."""
        play = next((one for one in playbook.get_plays() if GROUP in one.hosts), None)
        if play is None:
            return
        for sentence in shared(list(self._stacks(play))):
            Display().error(sentence, wrap_text=False)
            raise SystemExit(1)

    def _stacks(self, play: Any) -> Iterator[Stack]:
        manager = play.get_variable_manager()
        hosts = manager.get_vars()["groups"].get(GROUP, ())
        if len(hosts) < 2:
            return
        for host in hosts:
            # Hosts by name are the inventory's, which a callback gets from nobody else.
            values = manager.get_vars(play=play, host=manager._inventory.get_host(host), include_hostvars=False)
            templar = Templar(loader=play.get_loader(), variables=values)
            given = {
                name: self._read(templar, values, name) for name in ("stack_name", "region", "account_id", "vpc_cidr")
            }
            accounts = given["account_id"]
            listed = accounts if isinstance(accounts, (list, tuple)) else plain(accounts).replace(",", " ").split()
            yield Stack(
                host,
                plain(given["stack_name"]),
                plain(given["region"]),
                tuple(map(plain, listed)),
                plain(given["vpc_cidr"]),
            )

    def _read(self, templar: Templar, values: Mapping[str, Any], name: str) -> Any:
        try:
            return templar.template(values.get(f"mlflow_{name}"))
        except AnsibleError:
            # The check of the settings says why; here it is something, and not known, so no other host has it.
            return values.get("inventory_hostname")
