"""What the repository's modules of ECS share: tags in ECS's spelling, and descriptions without what says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.mlflow_aws import tag_changes


def ecs_tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return {"name": "value"} as ECS's [{"key": "name", "value": "value"}]."""
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]


def ecs_tag_dict(tags: list[dict[str, str]] | None) -> dict[str, str]:
    """Return ECS's tag list as {"name": "value"}, without the `aws:` tags that only AWS may write."""
    return {tag["key"]: tag["value"] for tag in tags or [] if not tag["key"].startswith("aws:")}


def retag_ecs(ecs: Any, arn: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Bring the tags of one ECS resource from `before` to `after`."""
    setting, removing = tag_changes(before, after)
    if setting:
        ecs.tag_resource(resourceArn=arn, tags=ecs_tag_list(setting))
    if removing:
        ecs.untag_resource(resourceArn=arn, tagKeys=removing)


def meaningful(value: Any) -> Any:
    """Return `value` without what AWS may leave out or fill in: null, false, empty text, empty lists and dictionaries.

    Zero stays, for it is a number that somebody may have asked for.
    """
    if isinstance(value, Mapping):
        cleaned = {key: meaningful(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if not nothing(item)}
    if isinstance(value, (list, tuple)):
        return [meaningful(item) for item in value]
    return value


def nothing(value: Any) -> bool:
    """Return whether `value` says no more than a field that is not there."""
    return value is None or value is False or (isinstance(value, (str, list, dict)) and not value)
