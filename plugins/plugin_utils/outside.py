"""Which names are the repository's own, and who sets one of them from outside: an inventory, a group, a host or -e.

Only settings (`mlflow_*`) may come from outside. A role's input that an inventory sets would win over
group_vars/all/wiring.yml, and with it the load balancer of a stack that is internal could be made public.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plugins.module_utils.mlflow_settings import PREFIX, Problem

# The fact that preflight sets.
FACT = "mlflow"
# Names that Ansible and AWX give to what they set themselves, and of what one node of a workflow hands on to the next.
FOREIGN = ("ansible_", "awx_", "tower_", "planned_revision_")
# Its inputs are the operator's, and it knows no stack.
OPERATORS_ROLE = "awx"
# From here on two names are one with a typing error in it: of whole names, and of what stands before the first `_`.
SAME_NAME = 0.9
SAME_PREFIX = 0.82
SWITCH = "MLFLOW_TEST_INPUTS"
EXTRA = "-e"


@dataclass(frozen=True)
class Given:
    """A variable from outside: its raw value, and what set it, such as "group web" or "-e"."""

    value: Any
    source: str


@dataclass(frozen=True)
class Own:
    """The names that are the repository's own.

    `roles` has the role of each name that a role takes or gives, `wiring` the raw values of the wiring.
    """

    roles: Mapping[str, str]
    wiring: Mapping[str, Any]

    def owner(self, name: str) -> str | None:
        """Whose `name` is, as the end of a sentence; None for a name that is nobody's."""
        if name == FACT:
            return "only the check of the settings sets it"
        if name in self.roles:
            return f"it is role {self.roles[name]}'s, and follows from the settings"
        if any(f"{name}_".startswith(f"__{role}_") for role in {*self.roles.values()}):
            return "it is internal to a role"
        return "it follows from the settings" if name in self.wiring else None

    def settings(self, name: str, seen: Collection[str] = ()) -> list[str]:
        """The settings that the wiring makes `name` from, in the order in which they stand there."""
        text = str(self.wiring.get(name, ""))
        found = [f"{PREFIX}{setting}" for setting in re.findall(r"\bmlflow\.(\w+)", text)]
        for other in re.findall(r"\bwiring_\w+", text):
            if other not in seen:
                found += self.settings(other, (*seen, other))
        return list(dict.fromkeys(found))


@functools.cache
def own(root: Path) -> Own:
    """Read the names from the argument specs, the variables of the roles and the wiring."""
    roles: dict[str, str] = {}
    for spec in sorted(root.glob("roles/*/meta/argument_specs.yml")):
        role = spec.parents[1].name
        if role == OPERATORS_ROLE:
            continue
        for entry in yaml.safe_load(spec.read_text("utf-8"))["argument_specs"].values():
            roles |= {name: role for name in entry.get("options", ()) if not name.startswith(PREFIX)}
        outputs = root / "roles" / role / "vars" / "main.yml"
        if outputs.is_file():
            roles |= dict.fromkeys(yaml.safe_load(outputs.read_text("utf-8")) or (), role)
    text = (root / "group_vars/all/wiring.yml").read_text("utf-8")
    # Facts that a role sets and the wiring hands on.
    for role in {*roles.values()}:
        roles |= {name: roles.get(name, role) for name in re.findall(rf"\b{role}_\w+", text)}
    wiring = yaml.safe_load(text)
    return Own(roles, {name: value for name, value in wiring.items() if not name.startswith(FOREIGN)})


def candidates(given: Mapping[str, list[Given]], settings: Collection[str]) -> dict[str, list[Given]]:
    """What of `given` is neither a setting, nor named as one, nor Ansible's or AWX's."""
    return {
        name: all_of_it
        for name, all_of_it in given.items()
        if name not in settings and not name.startswith((PREFIX, *FOREIGN)) and name.isascii()
    }


def meant(names: list[str]) -> str:
    """The remedy for a name that follows from settings."""
    return f"set {' or '.join(names[:3])} in its place" if names else "remove it"


def alike(name: str, settings: Iterable[str]) -> str | None:
    """The remedy for a name that looks like that of a setting; None where it does not."""
    names = list(settings)
    letters = {re.sub(r"[^a-z0-9]", "", known): known for known in names}
    own_letters = re.sub(r"[^a-z0-9]", "", name.lower())
    close = difflib.get_close_matches(own_letters, letters, n=1, cutoff=SAME_NAME)
    if close:
        return f"did you mean {letters[close[0]]}"
    before, _, after = re.sub(r"[^a-z0-9]", "_", name.lower()).partition("_")
    if after and difflib.SequenceMatcher(None, before, FACT).ratio() >= SAME_PREFIX:
        nearest = difflib.get_close_matches(after, [known.removeprefix(PREFIX) for known in names], n=1)
        return f"did you mean {PREFIX}{nearest[0]}" if nearest else "remove it, or give it a name of your own"
    return None


def problems(
    given: Mapping[str, list[Given]], settings: Collection[str], root: Path, allowed: Collection[str]
) -> Iterator[Problem]:
    """What is set from outside and must not be. The value is never shown: it may be a password.

    Args:
        given: variables from outside by name, the one that wins last.
        settings: names of all settings.
        root: folder of the repository.
        allowed: names that a test may set.
    """
    suspects = candidates(given, settings)
    if not suspects:
        return
    ours = own(root)
    for name, sources in sorted(suspects.items()):
        owner = ours.owner(name)
        if owner:
            # The wiring itself is no outsider, and AWX may have taken it over with the inventory.
            others = [one for one in sources if name not in ours.wiring or ours.wiring[name] != one.value]
            if others and name not in allowed:
                yield Problem(name, f"set by {others[-1].source}", owner, meant(ours.settings(name)))
            continue
        remedy = alike(name, settings)
        close = difflib.get_close_matches(name, [*ours.roles, *ours.wiring], n=1, cutoff=SAME_NAME)
        if close and not remedy:
            named = ours.settings(close[0])
            remedy = f"{meant(named)}" if named else "remove it, or give it a name of your own"
        if remedy:
            yield Problem(name, f"set by {sources[-1].source}", "there is no such setting", remedy)


def allowed(given: Mapping[str, list[Given]], settings: Collection[str], root: Path, switch: str | None) -> list[str]:
    """The names of role inputs that -e may set because the switch for tests is on."""
    if switch != "1":
        return []
    extra = {name: sources for name, sources in given.items() if sources[-1].source == EXTRA}
    return sorted(name for name in candidates(extra, settings) if name != FACT and own(root).owner(name))


def loud(names: Iterable[str]) -> str:
    """The warning of a run with role inputs from outside."""
    return (
        f"{SWITCH}=1, so -e goes past every check of the settings with {', '.join(names)}. That is for tests alone: "
        "never run a stack that matters like this."
    )


def given_to(hostvars: Any, host: str, playbook_dir: str) -> dict[str, list[Given]]:
    """All variables of a host that do not come from the repository's playbooks and roles, the one that wins last.

    Args:
        hostvars: Ansible's variable of that name, which knows inventory and variable manager.
        host: name of the host.
        playbook_dir: folder of the playbook, whose group_vars and host_vars count as well; the wiring is in it.
    """
    # Ansible has no public way to ask where a variable comes from: a tag on its value has no place on true and false.
    from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

    inventory, loader = hostvars._inventory, hostvars._loader
    this = inventory.get_host(host)
    found: dict[str, list[Given]] = {}
    groups = sorted(this.get_groups(), key=lambda group: (group.depth, group.priority, group.name))
    for entity in (*groups, this):
        kind = "host" if entity is this else "group"
        everyone = kind == "group" and entity.name == "all"
        inside = get_vars_from_inventory_sources(loader, inventory._sources, [entity], "task")
        beside = get_vars_from_path(loader, playbook_dir, [entity], "task")
        for values, place in ((entity.vars, "the inventory"), (inside, "the inventory"), (beside, "group_vars/all")):
            source = place if everyone else f"{kind} {entity.name}"
            for name, value in values.items():
                found.setdefault(name, []).append(Given(value, source))
    for name, value in hostvars._variable_manager.extra_vars.items():
        found.setdefault(name, []).append(Given(value, EXTRA))
    return found
