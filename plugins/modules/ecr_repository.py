#!/usr/bin/python
"""Manage one ECR repository; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_repository
short_description: Manage one private ECR repository
description:
  - Unlike C(community.aws.ecs_ecr) it predicts a repository that is not there, keeps tags, and compares the lifecycle
    policy by its meaning.
  - What nobody asks for goes, the lifecycle policy and the repository policy likewise.
  - A repository keeps the encryption that it was created with, for AWS cannot change it.
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  immutable_tags:
    description: Whether a tag that was pushed can never be pushed again.
    type: bool
    default: true
  scan_on_push:
    description: Whether ECR scans each image that is pushed.
    type: bool
    default: true
  lifecycle_policy:
    description: The lifecycle policy. Without it there is none.
    type: dict
  policy:
    description: The repository policy, which lets other accounts in. Without it there is none.
    type: dict
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  force:
    description: Whether O(state=absent) deletes the images, too. Without it AWS refuses where there are any.
    type: bool
    default: false
  state:
    description: Whether there is the repository.
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
- name: Create the repository
  ecr_repository:
    name: team-a
    lifecycle_policy:
      rules:
        - rulePriority: 1
          selection: {tagStatus: untagged, countType: imageCountMoreThan, countNumber: 30}
          action: {type: expire}
    tags: "{{ mlflow.tags }}"
"""

RETURN = r"""
repository_uri:
  description: Address to push to; null when the repository is absent or would be created by a check.
  returned: always
  type: str
repository_arn:
  description: ARN of the repository; null likewise.
  returned: always
  type: str
"""

import json  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import create, diff, doing, found, tag_changes, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
MISSING = "RepositoryNotFoundException"


def look(ecr: Any, name: str) -> Properties | None:
    """Return the repository `name` as AWS describes it, or None."""
    answer = found(ecr.describe_repositories, MISSING, repositoryNames=[name]) or {}
    repositories: list[Properties] = answer.get("repositories", [])
    return repositories[0] if repositories else None


def document(call: Any, missing: str, key: str, name: str) -> Any:
    """Return the policy under `key` of `call`'s answer, read from its JSON; None without one."""
    answer = found(call, missing, repositoryName=name)
    return json.loads(answer[key]) if answer else None


def properties(ecr: Any, repository: Properties) -> Properties:
    """Return what is compared of `repository`."""
    name = repository["repositoryName"]
    return {
        "tag_mutability": repository.get("imageTagMutability"),
        "scan_on_push": (repository.get("imageScanningConfiguration") or {}).get("scanOnPush", False),
        "lifecycle_policy": document(
            ecr.get_lifecycle_policy, "LifecyclePolicyNotFoundException", "lifecyclePolicyText", name
        ),
        "policy": document(ecr.get_repository_policy, "RepositoryPolicyNotFoundException", "policyText", name),
        "tags": tag_dict(ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"]).get("tags")),
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for, in the form of `properties`."""
    return {
        "tag_mutability": "IMMUTABLE" if params["immutable_tags"] else "MUTABLE",
        "scan_on_push": params["scan_on_push"],
        "lifecycle_policy": params["lifecycle_policy"],
        "policy": params["policy"],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def make(module: Any, ecr: Any, name: str, after: Properties) -> tuple[Properties, Properties]:
    """Create the repository; return it and its properties, as they are where another hand was first."""

    def standing() -> Properties | None:
        repository = look(ecr, name)
        return {"standing": repository} if repository else None

    answer = create(
        module,
        "ecr",
        "create_repository",
        standing,
        already=("RepositoryAlreadyExistsException",),
        repositoryName=name,
        imageTagMutability=after["tag_mutability"],
        imageScanningConfiguration={"scanOnPush": after["scan_on_push"]},
        tags=tag_list(after["tags"]),
    )
    if "standing" in answer:
        return answer["standing"], properties(ecr, answer["standing"])
    return answer["repository"], {**after, "lifecycle_policy": None, "policy": None}


def apply(ecr: Any, repository: Properties, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`."""
    which = {"repositoryName": repository["repositoryName"]}
    if before["tag_mutability"] != after["tag_mutability"]:
        ecr.put_image_tag_mutability(**which, imageTagMutability=after["tag_mutability"])
    if before["scan_on_push"] != after["scan_on_push"]:
        ecr.put_image_scanning_configuration(**which, imageScanningConfiguration={"scanOnPush": after["scan_on_push"]})
    if before["lifecycle_policy"] != after["lifecycle_policy"]:
        if after["lifecycle_policy"] is None:
            ecr.delete_lifecycle_policy(**which)
        else:
            ecr.put_lifecycle_policy(**which, lifecyclePolicyText=json.dumps(after["lifecycle_policy"]))
    if before["policy"] != after["policy"]:
        if after["policy"] is None:
            ecr.delete_repository_policy(**which)
        else:
            ecr.set_repository_policy(**which, policyText=json.dumps(after["policy"]))
    setting, removing = tag_changes(before["tags"], after["tags"])
    if setting:
        ecr.tag_resource(resourceArn=repository["repositoryArn"], tags=tag_list(setting))
    if removing:
        ecr.untag_resource(resourceArn=repository["repositoryArn"], tagKeys=removing)


def ensure(module: Any, ecr: Any, name: str) -> Properties:
    """Return what the module returns."""
    params = module.params
    with doing(module, f"read the repository {name}"):
        repository = look(ecr, name)
        before = properties(ecr, repository) if repository else {}
    after = wanted(params, before) if params["state"] == "present" else {}
    result = {"changed": before != after, "diff": diff(before, after)}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'delete'} the repository {name}"):
            if repository and not after:
                found(ecr.delete_repository, MISSING, repositoryName=name, force=params["force"])
            else:
                if not repository:
                    repository, before = make(module, ecr, name, after)
                apply(ecr, repository, before, wanted(params, before))
    shown = (repository or {}) if after else {}
    return {"repository_uri": shown.get("repositoryUri"), "repository_arn": shown.get("repositoryArn"), **result}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "immutable_tags": {"type": "bool", "default": True},
            "scan_on_push": {"type": "bool", "default": True},
            "lifecycle_policy": {"type": "dict"},
            "policy": {"type": "dict"},
            "tags": {"type": "dict"},
            "force": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    module.exit_json(**ensure(module, module.client("ecr"), module.params["name"]))


if __name__ == "__main__":
    main()
