#!/usr/bin/python
"""Manage one ECS cluster; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_fargate_cluster
short_description: Manage an ECS cluster whose tasks run on Fargate
description:
  - Unlike C(community.aws.ecs_cluster) it knows tags and settings, and takes back what nobody has asked for -
    capacity providers with their default strategy, a configuration of ECS Exec or of storage, a default namespace of
    Service Connect.
  - A cluster that a service still uses a capacity provider of keeps its providers in this run, which RV(deferred) says.
options:
  name:
    description: Name of the cluster.
    type: str
    required: true
  container_insights:
    description: Whether CloudWatch Container Insights measures the cluster.
    type: str
    choices: [disabled, enabled, enhanced]
    default: disabled
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: Whether there is the cluster. It must be without services and tasks to be removed.
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
- name: Create the cluster
  ecs_fargate_cluster:
    name: team-a
    tags: {Stack: team-a}
"""

RETURN = r"""
cluster_arn:
  description: ARN of the cluster; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: "arn:aws:ecs:eu-west-1:123456789012:cluster/team-a"
deferred:
  description: Whether capacity providers stay because a service still uses them; call the module again after it.
  returned: always
  type: bool
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import ClientError, create, diff, doing, error_code, patiently  # noqa: E402
from ansible.module_utils.mlflow_ecs import ecs_tag_dict, ecs_tag_list, meaningful, retag_ecs  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
INSIGHTS = "containerInsights"
# What ECS does where nobody has configured it.
DEFAULT_EXEC = {"executeCommandConfiguration": {"logging": "DEFAULT"}}
BUSY = ("ClusterContainsServicesException", "ClusterContainsTasksException", "UpdateInProgressException")


def read(ecs: Any, name: str) -> Properties:
    """Return AWS's description of the cluster, or {}."""
    answer = ecs.describe_clusters(clusters=[name], include=["TAGS", "SETTINGS", "CONFIGURATIONS"])
    return next((dict(each) for each in answer["clusters"] if each["status"] != "INACTIVE"), {})


def properties(cluster: Properties) -> Properties:
    """Return what can be set of AWS's description of a cluster, in the form of `wanted`."""
    if not cluster:
        return {}
    settings = {each["name"]: each["value"] for each in cluster.get("settings") or []}
    configuration = meaningful(cluster.get("configuration") or {})
    return {
        "container_insights": settings.get(INSIGHTS, "disabled"),
        "configuration": {} if configuration == DEFAULT_EXEC else configuration,
        "service_connect_namespace": (cluster.get("serviceConnectDefaults") or {}).get("namespace") or "",
        "capacity_providers": sorted(cluster.get("capacityProviders") or []),
        "default_strategy": cluster.get("defaultCapacityProviderStrategy") or [],
        "tags": ecs_tag_dict(cluster.get("tags")),
    }


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; tags they leave open are as in `before`."""
    return {
        "container_insights": params["container_insights"],
        "configuration": {},
        "service_connect_namespace": "",
        "capacity_providers": [],
        "default_strategy": [],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def settings(after: Properties) -> list[dict[str, str]]:
    """Return the settings of `after` as ECS takes them."""
    return [{"name": INSIGHTS, "value": after["container_insights"]}]


def changes(before: Properties, after: Properties) -> Properties:
    """Return the arguments of UpdateCluster that bring `before` to `after`."""
    request: Properties = {}
    if before["container_insights"] != after["container_insights"]:
        request["settings"] = settings(after)
    if before["configuration"] != after["configuration"]:
        request["configuration"] = DEFAULT_EXEC
    if before["service_connect_namespace"] != after["service_connect_namespace"]:
        # The empty name takes the default away.
        request["serviceConnectDefaults"] = {"namespace": ""}
    return request


class Cluster:
    """One cluster and the calls that change it."""

    def __init__(self, module: Any) -> None:
        """Read the cluster."""
        self.module = module
        self.name: str = module.params["name"]
        self.ecs = module.client("ecs")
        self.deferred = False
        with doing(module, f"read the cluster {self.name}"):
            self.cluster = read(self.ecs, self.name)

    def make(self, after: Properties) -> None:
        """Create the cluster with all it has, in one call."""
        request = {"clusterName": self.name, "settings": settings(after), "tags": ecs_tag_list(after["tags"])}
        with doing(self.module, f"create the cluster {self.name}"):
            made = create(self.module, "ecs", "create_cluster", lambda: read(self.ecs, self.name) or None, **request)
            self.cluster = made.get("cluster", made)

    def repair(self, before: Properties, after: Properties) -> None:
        """Bring what differs from `before` to `after`."""
        request = changes(before, after)
        with doing(self.module, f"set the cluster {self.name}"):
            if request:
                self.ecs.update_cluster(cluster=self.name, **request)
            retag_ecs(self.ecs, self.cluster["clusterArn"], before["tags"], after["tags"])
            if any(before[key] != after[key] for key in ("capacity_providers", "default_strategy")):
                self.take_providers_back()

    def take_providers_back(self) -> None:
        """Leave the cluster without capacity providers, unless a service still uses one."""
        put = patiently(self.ecs.put_cluster_capacity_providers, "UpdateInProgressException")
        try:
            put(cluster=self.name, capacityProviders=[], defaultCapacityProviderStrategy=[])
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise
            self.deferred = True

    def remove(self) -> None:
        """Delete the cluster; its last task may go a moment later than its service."""
        with doing(self.module, f"delete the cluster {self.name}"):
            patiently(self.ecs.delete_cluster, *BUSY)(cluster=self.name)
        self.cluster = {}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "container_insights": {
                "type": "str",
                "choices": ["disabled", "enabled", "enhanced"],
                "default": "disabled",
            },
            "tags": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    one = Cluster(module)
    before = properties(one.cluster)
    after = wanted(module.params, before) if module.params["state"] == "present" else {}
    if before != after and not module.check_mode:
        if not after:
            one.remove()
        elif before:
            one.repair(before, after)
        else:
            one.make(after)
    arn = one.cluster.get("clusterArn")
    module.exit_json(changed=before != after, diff=diff(before, after), cluster_arn=arn, deferred=one.deferred)


if __name__ == "__main__":
    main()
