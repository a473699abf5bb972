"""Refuses a run that would end green although it did nothing, or less than was asked for; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: refuse_empty
type: notification
short_description: Refuse a run that would end well without having done anything
description:
  - Ansible ends with exit status 0 where an inventory has no host of ours, a tag or a task is not there, or a limit
    leaves nothing. A job with a wrong path would pass for ever, so such a run ends with one sentence and status 1.
  - Refuses a run without this repository's C(ansible.cfg) as well, whose plugins and switches it needs.
"""

import difflib  # noqa: E402
import fnmatch  # noqa: E402
from collections.abc import Iterable, Iterator, Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from ansible import constants, context  # noqa: E402
from ansible.inventory.manager import split_host_pattern  # noqa: E402
from ansible.plugins.callback import CallbackBase  # noqa: E402
from ansible.utils.display import Display  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
GROUP = "mlflow"
# The fact that preflight sets: given from outside, every check would be passed over.
FACT = "mlflow"
# Ansible's own words in --tags and --skip-tags.
SPECIAL_TAGS = {"all", "tagged", "untagged", "always"}
# What molecule passes over in every run, whether it is there or not.
SKIPPED_BY_TOOLS = {"notest", "molecule-notest", "molecule-idempotence-notest"}


def config_refusals(action_paths: Iterable[str], used: str | None, root: Path = ROOT) -> Iterator[str]:
    """The sentence on a run without the repository's ansible.cfg, which is `used` in its place."""
    if str(root / "plugins" / "action") not in {str(Path(path).resolve()) for path in action_paths}:
        needed = root / "ansible.cfg"
        yield (
            f"ansible.cfg is {used or 'not read'}, and these playbooks need {needed}: run them in {root}, or set "
            f"ANSIBLE_CONFIG={needed}."
        )


def host_refusals(groups: Mapping[str, Sequence[str]], inventory: Sequence[str] | None) -> Iterator[str]:
    """The sentence on an inventory without a host in our group; `groups` are host names by group."""
    if groups.get(GROUP):
        return
    if not inventory and not groups.get("all"):
        yield "No inventory was given: pass -i inventories/<name>, the folder with your stacks."
        return
    others = [host for host in groups.get("all", ()) if host != "localhost"]
    remedy = f"put {', '.join(others[:5])} below it" if others else "pass -i inventories/<name>, or add a host"
    yield f"The inventory {', '.join(inventory or ('that is configured',))} has no host in group [{GROUP}]: {remedy}."


def limit_refusals(limit: str | None, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The sentence on a part of --limit that is the name of no host and no group; Ansible only warns of it."""
    known = {*groups, *(host for hosts in groups.values() for host in hosts), "localhost", "127.0.0.1"}
    for part in split_host_pattern(limit or ""):
        name = part.lstrip("!&")
        # Regular expressions, files and ranges are Ansible's to read.
        if name and not name.startswith(("~", "@")) and "[" not in name and not fnmatch.filter(known, name):
            close = difflib.get_close_matches(name, sorted(known - {"ungrouped"}), n=1)
            hint = f"did you mean {close[0]}" if close else f"hosts are {', '.join(list(groups.get(GROUP, ()))[:5])}"
            yield f"--limit is {limit}, and there is no {name}: {hint}."


def tag_refusals(option: str, given: Iterable[str], known: set[str]) -> Iterator[str]:
    """The sentence on tags that no task has. `option` is --tags or --skip-tags."""
    for tag in given:
        if option == "--skip-tags" and tag in SKIPPED_BY_TOOLS:
            continue
        if tag not in known | SPECIAL_TAGS:
            close = difflib.get_close_matches(tag, sorted(known), n=1)
            listed = ", ".join(sorted(known - SPECIAL_TAGS)) or "none"
            hint = f"did you mean {close[0]}, of {listed}" if close else f"this playbook has {listed}"
            yield f"{option} is {tag}, which no task has: {hint}."
        elif tag == "always" and option == "--skip-tags":
            yield f"{option} is always, which would pass over the check of the settings: leave it out."


def start_refusals(task: str | None) -> Iterator[str]:
    """The sentence on --start-at-task, which would pass over the check of the settings."""
    if task:
        yield f"--start-at-task is {task}, which would pass over the check of the settings: use --tags, or a whole run."


def fact_refusals(extra: Iterable[str]) -> Iterator[str]:
    """The sentence on an extra variable that is named as the fact that preflight sets."""
    if FACT in extra:
        yield f"{FACT} is set by -e, and only the check of the settings may set it: set mlflow_<setting> in its place."


def tags_of(block: Any) -> set[str]:
    """The tags of all tasks of a block, blocks within it included."""
    found = set(block.tags)
    for part in (*getattr(block, "block", ()), *getattr(block, "rescue", ()), *getattr(block, "always", ())):
        found |= tags_of(part)
    return {str(tag) for tag in found}


def refuse(sentence: str) -> NoReturn:
    """End the run; Ansible cleans up on its way out, and takes any other exception of a callback for a warning."""
    Display().error(sentence, wrap_text=False)
    raise SystemExit(1)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "refuse_empty"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Called by Ansible when all playbooks are read and before the first play. Raises SystemExit."""
        for sentence in self._refusals(playbook.get_plays()):
            refuse(sentence)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Called by Ansible for a play without a host. Raises SystemExit."""
        limit = context.CLIARGS.get("subset")
        refuse(f"--limit is {limit}, which leaves no host of group [{GROUP}]: name one that is in it.")

    def _refusals(self, plays: Sequence[Any]) -> Iterator[str]:
        arguments = context.CLIARGS
        yield from config_refusals(constants.DEFAULT_ACTION_PLUGIN_PATH, constants.CONFIG_FILE)
        yield from start_refusals(arguments.get("start_at_task"))
        if not plays:
            return
        manager = plays[0].get_variable_manager()
        yield from fact_refusals(manager.extra_vars)
        if any(GROUP in play.hosts for play in plays):
            groups = manager.get_vars()["groups"]
            yield from host_refusals(groups, arguments.get("inventory"))
            yield from limit_refusals(arguments.get("subset"), groups)
        asked = {"--tags": set(arguments.get("tags", ())), "--skip-tags": set(arguments.get("skip_tags", ()))}
        if any(given - SPECIAL_TAGS for given in asked.values()) or "always" in asked["--skip-tags"]:
            known = {tag for play in plays for block in play.compile() for tag in tags_of(block)}
            for option, given in asked.items():
                yield from tag_refusals(option, sorted(given), known)
