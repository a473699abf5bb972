#!/usr/bin/python
"""Manage the SSM parameters below one path; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssm_parameters
short_description: Manage many SSM parameters below one path
description:
  - Reads everything below the path at once and writes only what differs.
  - Parameters are of type C(String), so nothing secret may go there; one of another type is replaced.
  - The tags of all parameters are read in one call of the Resource Groups Tagging API, which may be some seconds
    behind; so a parameter whose tags seem to differ is asked for them once more.
options:
  path:
    description: Path of all parameters, with a slash at both ends, such as V(/mlflow/team-a/).
    type: str
    required: true
  values:
    description: Name below the path to value. Required with O(state=present).
    type: dict
  purge:
    description: Whether to delete parameters below the path that O(values) does not name.
    type: bool
    default: false
  tags:
    description: The exact tags of each parameter that O(values) names. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) deletes everything below the path.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Write the outputs
  ssm_parameters:
    path: /mlflow/team-a/
    values: "{{ outputs }}"
    tags: "{{ mlflow.tags }}"
"""

RETURN = r"""
written:
  description: Names below the path that were, or in a check would be, created or changed.
  returned: always
  type: list
  elements: str
deleted:
  description: Names below the path that were, or in a check would be, deleted.
  returned: always
  type: list
  elements: str
retagged:
  description: Names below the path of parameters that were there already and got, or in a check would get, other tags.
  returned: always
  type: list
  elements: str
"""

from typing import Any, NamedTuple  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, tag_changes, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

DELETE_BATCH = 10  # names a DeleteParameters call takes, by the SSM API reference
Tags = dict[str, str]


class Parameter(NamedTuple):
    """A parameter as SSM lists it."""

    value: str
    type: str
    arn: str


def current(ssm: Any, path: str) -> dict[str, Parameter]:
    """Return what is below `path`, by its name below the path."""
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=path.rstrip("/"), Recursive=True)
    return {
        each["Name"].removeprefix(path): Parameter(each["Value"], each["Type"], each["ARN"])
        for page in pages
        for each in page["Parameters"]
    }


def listed_tags(tagging: Any, tags: Tags) -> dict[str, Tags]:
    """Return ARN to tags of every parameter that has the first of `tags`."""
    key, value = next(iter(sorted(tags.items())))
    # The stack's own tag leaves the fewest.
    key, value = ("Stack", tags["Stack"]) if "Stack" in tags else (key, value)
    pages = tagging.get_paginator("get_resources").paginate(
        ResourceTypeFilters=["ssm:parameter"], TagFilters=[{"Key": key, "Values": [value]}]
    )
    return {each["ResourceARN"]: tag_dict(each["Tags"]) for page in pages for each in page["ResourceTagMappingList"]}


def wrong_tags(ssm: Any, tagging: Any, path: str, standing: dict[str, Parameter], wanted: Tags) -> dict[str, Tags]:
    """Return name to tags of those parameters in `standing` that have other tags than `wanted`."""
    listed = listed_tags(tagging, wanted) if standing and wanted else {}
    wrong = {}
    for name, parameter in standing.items():
        if listed.get(parameter.arn) == wanted:
            continue
        answer = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=path + name)
        tags = tag_dict(answer["TagList"])
        if tags != wanted:
            wrong[name] = tags
    return wrong


def retag(ssm: Any, name: str, before: Tags, after: Tags) -> None:
    """Bring the tags of the parameter `name` (full path) from `before` to `after`."""
    setting, removing = tag_changes(before, after)
    which = {"ResourceType": "Parameter", "ResourceId": name}
    if setting:
        ssm.add_tags_to_resource(**which, Tags=tag_list(setting))
    if removing:
        ssm.remove_tags_from_resource(**which, TagKeys=removing)


def problem(path: str, values: dict[str, Any]) -> str | None:
    """Return the sentence that refuses `path` or `values`, or None when both can be written."""
    if len(path) < 3 or not (path.startswith("/") and path.endswith("/")):
        return f"path is {path!r}; it must begin and end with a slash, such as /mlflow/team-a/."
    for name, value in values.items():
        if not isinstance(value, str) or not value:
            return f"values.{name} is {value!r}; SSM stores only strings that are not empty."
    return None


def write(ssm: Any, name: str, value: str, before: Parameter | None, tags: Tags | None) -> None:
    """Put the parameter `name` (full path) as a String; SSM changes no type, so one of another type goes first."""
    request: dict[str, Any] = {"Name": name, "Value": value, "Type": "String"}
    if before and before.type != "String":
        ssm.delete_parameters(Names=[name])
        before = None
    if before:
        request["Overwrite"] = True
    elif tags:
        request["Tags"] = tag_list(tags)
    ssm.put_parameter(**request)


class Change(NamedTuple):
    """What differs: names to write and to delete, and name to present tags of those to retag."""

    written: list[str]
    deleted: list[str]
    retagged: dict[str, Tags]


def apply(module: Any, ssm: Any, before: dict[str, Parameter], change: Change) -> None:
    """Write, delete and retag."""
    path, tags = module.params["path"], module.params["tags"]
    for name in change.written:
        with doing(module, f"write the parameter {path}{name}"):
            write(ssm, path + name, module.params["values"][name], before.get(name), tags)
    for name, present in change.retagged.items():
        with doing(module, f"tag the parameter {path}{name}"):
            retag(ssm, path + name, present, tags)
    for start in range(0, len(change.deleted), DELETE_BATCH):
        with doing(module, f"delete the parameters below {path}"):
            ssm.delete_parameters(Names=[path + name for name in change.deleted[start : start + DELETE_BATCH]])


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "values": {"type": "dict"},
            "purge": {"type": "bool", "default": False},
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["values"])],
        supports_check_mode=True,
    )
    path, tags = module.params["path"], module.params["tags"]
    absent = module.params["state"] == "absent"
    values: dict[str, str] = {} if absent else module.params["values"]
    sentence = problem(path, values)
    if sentence:
        module.fail_json(msg=sentence)
    ssm = module.client("ssm")
    with doing(module, f"read the parameters below {path}"):
        before = current(ssm, path)
        # A parameter of another type is made anew, with its tags.
        kept = {name: each for name, each in before.items() if name in values and each.type == "String"}
        retagged = {}
        if tags is not None and kept:
            retagged = wrong_tags(ssm, module.client("resourcegroupstaggingapi"), path, kept, tags)
    change = Change(
        written=sorted(name for name, value in values.items() if name not in kept or kept[name].value != value),
        deleted=sorted(set(before) - set(values)) if absent or module.params["purge"] else [],
        retagged=retagged,
    )
    shown = {name: each.value for name, each in before.items()}
    after = {name: value for name, value in {**shown, **values}.items() if name not in change.deleted}
    if not module.check_mode:
        apply(module, ssm, before, change)
    tagged = {f"tags of {name}": present for name, present in retagged.items()}
    typed = {f"type of {name}": each.type for name, each in before.items() if name in values and name not in kept}
    module.exit_json(
        changed=any(change),
        written=change.written,
        deleted=change.deleted,
        retagged=sorted(retagged),
        diff=diff(
            {**shown, **tagged, **typed},
            {**after, **dict.fromkeys(tagged, tags), **dict.fromkeys(typed, "String")},
        ),
    )


if __name__ == "__main__":
    main()
