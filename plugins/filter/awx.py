"""Filters from the data in awx/ to the objects of one AWX."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

PLACEHOLDER = "{environment}"
NOTIFIES = ("started", "success", "error", "approvals")


def _replaced(value: Any, environment: str) -> Any:
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, environment)
    if isinstance(value, Mapping):
        return {_replaced(name, environment): _replaced(item, environment) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(item, environment) for item in value]
    return value


def per_environment(objects: Iterable[Mapping[str, Any]], environments: Iterable[str]) -> list[dict[str, Any]]:
    """One object for each environment where the name has {environment}, else the object once; in the order given."""
    names = list(environments)
    return [
        _replaced(one, environment)
        for one in objects
        for environment in (names if PLACEHOLDER in str(one["name"]) else names[:1] or [""])
    ]


def with_surveys(objects: Iterable[Mapping[str, Any]], surveys: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects with the survey itself where they name one. Raises KeyError for a name that no survey has."""
    return [
        {**one, "survey_spec": copy.deepcopy(surveys[one["survey_spec"]])} if "survey_spec" in one else dict(one)
        for one in objects
    ]


def without_notifications(objects: Iterable[Mapping[str, Any]], kept: bool) -> list[dict[str, Any]]:
    """The objects, without whom they notify unless `kept`."""
    left_out = () if kept else tuple(f"notification_templates_{when}" for when in NOTIFIES)
    return [{name: value for name, value in one.items() if name not in left_out} for one in objects]


def nodes(workflows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The nodes of all workflows, each with the name of its own as C(workflow)."""
    return [{**node, "workflow": one["name"]} for one in workflows for node in one["simplified_workflow_nodes"]]


def gone_nodes(wanted: Iterable[Mapping[str, Any]], standing: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The nodes in AWX that workflows of ours no longer have; `standing` is as the API lists them."""
    kept = {(node["workflow"], node["identifier"]) for node in wanted}
    workflows = {workflow for workflow, _ in kept}
    found = [(node["summary_fields"]["workflow_job_template"]["name"], node["identifier"]) for node in standing]
    return [
        {"workflow": workflow, "identifier": identifier}
        for workflow, identifier in found
        if workflow in workflows and (workflow, identifier) not in kept
    ]


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the role writes them."""
        return {
            "per_environment": per_environment,
            "with_surveys": with_surveys,
            "without_notifications": without_notifications,
            "workflow_nodes": nodes,
            "gone_nodes": gone_nodes,
        }
