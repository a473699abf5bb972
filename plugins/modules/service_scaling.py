#!/usr/bin/python
"""Manage the autoscaling of one ECS service; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_scaling
short_description: Manage the autoscaling of one ECS service
description:
  - Holds the average CPU of the service by its number of tasks, with one scalable target and one target-tracking
    policy.
  - Unlike C(community.aws.application_autoscaling_policy) it predicts in check mode, deregisters the target, and takes
    back what nobody has asked for - further policies, scheduled actions and suspended scaling.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  service:
    description: Name of the service. In check mode it need not be there.
    type: str
    required: true
  minimum:
    description: Least number of tasks. Required with O(state=present).
    type: int
  maximum:
    description: Greatest number of tasks. Required with O(state=present).
    type: int
  cpu_target:
    description: Average CPU to hold, in percent. Required with O(state=present).
    type: int
  scale_in_cooldown:
    description: Seconds between two reductions.
    type: int
    default: 300
  scale_out_cooldown:
    description: Seconds between two extensions.
    type: int
    default: 60
  policy_name:
    description: Name of the policy.
    type: str
    default: cpu
  tags:
    description: The exact tags of the scalable target. Without them tags are left alone.
    type: dict
  state:
    description: Whether the number of tasks follows the CPU.
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
- name: Hold the average CPU
  service_scaling:
    cluster: team-a
    service: team-a
    minimum: 1
    maximum: 4
    cpu_target: 60
"""

RETURN = r"""
resource_id:
  description: What Application Auto Scaling calls the service.
  returned: always
  type: str
  sample: service/team-a/team-a
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, found, tag_changes  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
NAMESPACE = "ecs"
DIMENSION = "ecs:service:DesiredCount"
WHERE = {"ServiceNamespace": NAMESPACE, "ScalableDimension": DIMENSION}
TRACKING = "TargetTrackingScaling"
SUSPENSIONS = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
# A scheduled action as it is known and shown.
ACTION = ("Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")


class Scaling:
    """What Application Auto Scaling has for one service, and the calls that change it."""

    def __init__(self, module: Any, resource_id: str) -> None:
        """Make the client; nothing is read yet."""
        self.client = module.client("application-autoscaling")
        self.resource_id = resource_id
        self.where = {**WHERE, "ResourceId": resource_id}
        self.arn: str | None = None

    def read(self) -> Properties:
        """Return `bounds`, `suspended`, `tags`, `policies` and `scheduled` by name; {} without a scalable target."""
        targets = self.client.describe_scalable_targets(ResourceIds=[self.resource_id], **WHERE)["ScalableTargets"]
        target = next(iter(self.mine(targets)), None)
        if not target:
            # AWS removes policies and actions with their target.
            return {}
        self.arn = target.get("ScalableTargetARN")
        policies = self.pages("describe_scaling_policies", "ScalingPolicies")
        actions = self.pages("describe_scheduled_actions", "ScheduledActions")
        suspended = target.get("SuspendedState") or {}
        return {
            "bounds": {key: target[key] for key in ("MinCapacity", "MaxCapacity")},
            "suspended": sorted(key for key in SUSPENSIONS if suspended.get(key)),
            "tags": self.tags(),
            "policies": {one["PolicyName"]: configuration(one) for one in policies},
            "scheduled": {
                one["ScheduledActionName"]: {key: plain(one[key]) for key in ACTION if one.get(key)} for one in actions
            },
        }

    def mine(self, described: list[Properties]) -> list[Properties]:
        """Return what of `described` belongs to this service; an emulator may ignore a filter."""
        return [one for one in described if one["ResourceId"] == self.resource_id]

    def pages(self, operation: str, key: str) -> list[Properties]:
        """Return what `operation` lists for this service."""
        pages = self.client.get_paginator(operation).paginate(**self.where)
        return self.mine([one for page in pages for one in page.get(key, [])])

    def tags(self) -> dict[str, str]:
        """Return the tags of the target."""
        answer = found(self.client.list_tags_for_resource, "ResourceNotFoundException", ResourceARN=self.arn)
        return {key: value for key, value in (answer or {}).get("Tags", {}).items() if not key.startswith("aws:")}

    def apply(self, before: Properties, after: Properties) -> None:
        """Bring what differs from `before` to `after`; an empty `after` removes all."""
        wanted_policies = after.get("policies", {})
        for name in sorted(set(before.get("scheduled", {}))):
            self.client.delete_scheduled_action(ScheduledActionName=name, **self.where)
        # AWS deletes policies with the target, an emulator may keep them: so they go first.
        for name in sorted(set(before.get("policies", {})) - set(wanted_policies)):
            self.client.delete_scaling_policy(PolicyName=name, **self.where)
        if not after:
            self.client.deregister_scalable_target(**self.where)
            return
        self.register(before, after)
        for name, policy in wanted_policies.items():
            if before.get("policies", {}).get(name) != policy:
                self.put_policy(name, policy, before.get("policies", {}).get(name))

    def register(self, before: Properties, after: Properties) -> None:
        """Register the target where it is missing, repair its bounds, what is suspended and its tags."""
        request: Properties = {}
        if before.get("bounds") != after["bounds"] or before.get("suspended"):
            request = {**after["bounds"]}
        if before.get("suspended"):
            request["SuspendedState"] = dict.fromkeys(SUSPENSIONS, False)
        if not before and after["tags"]:
            # AWS takes tags only with the first registration.
            request["Tags"] = after["tags"]
        if request:
            answer = self.client.register_scalable_target(**self.where, **request)
            self.arn = answer.get("ScalableTargetARN", self.arn)
        setting, removing = tag_changes(before["tags"], after["tags"]) if before else ({}, [])
        if setting:
            self.client.tag_resource(ResourceARN=self.arn, Tags=setting)
        if removing:
            self.client.untag_resource(ResourceARN=self.arn, TagKeys=removing)

    def put_policy(self, name: str, policy: Properties, standing: Properties | None) -> None:
        """Set the policy `name`; one of another kind has to go first."""
        if standing and "PolicyType" in standing:
            self.client.delete_scaling_policy(PolicyName=name, **self.where)
        self.client.put_scaling_policy(
            PolicyName=name, PolicyType=TRACKING, TargetTrackingScalingPolicyConfiguration=policy, **self.where
        )


def plain(value: Any) -> Any:
    """Return `value` in a type that JSON has."""
    return value if isinstance(value, (str, int, float, bool, dict, list)) else str(value)


def configuration(policy: Properties) -> Properties:
    """Return the configuration of a policy; one that does not track a target shows its kind."""
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
    if policy.get("PolicyType", TRACKING) == TRACKING and tracking:
        # AWS may leave out what is false.
        return {"DisableScaleIn": False, **tracking}
    return {"PolicyType": policy.get("PolicyType"), **(policy.get("StepScalingPolicyConfiguration") or {})}


def wanted(params: Properties, before: Properties) -> Properties:
    """Return what `params` ask for, in the form of `Scaling.read`; tags they leave open are as in `before`."""
    policy = {
        "DisableScaleIn": False,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        "TargetValue": float(params["cpu_target"]),
        "ScaleInCooldown": params["scale_in_cooldown"],
        "ScaleOutCooldown": params["scale_out_cooldown"],
    }
    return {
        "bounds": {"MinCapacity": params["minimum"], "MaxCapacity": params["maximum"]},
        "suspended": [],
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
        "policies": {params["policy_name"]: policy},
        "scheduled": {},
    }


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "cluster": {"type": "str", "required": True},
        "service": {"type": "str", "required": True},
        "minimum": {"type": "int"},
        "maximum": {"type": "int"},
        "cpu_target": {"type": "int"},
        "scale_in_cooldown": {"type": "int", "default": 300},
        "scale_out_cooldown": {"type": "int", "default": 60},
        "policy_name": {"type": "str", "default": "cpu"},
        "tags": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["minimum", "maximum", "cpu_target"])],
        supports_check_mode=True,
    )
    params = module.params
    resource_id = f"service/{params['cluster']}/{params['service']}"
    scaling = Scaling(module, resource_id)
    with doing(module, f"read the scaling of {resource_id}"):
        before = scaling.read()
    after = wanted(params, before) if params["state"] == "present" else {}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'remove'} the scaling of {resource_id}"):
            scaling.apply(before, after)
    module.exit_json(changed=before != after, diff=diff(before, after), resource_id=resource_id)


if __name__ == "__main__":
    main()
