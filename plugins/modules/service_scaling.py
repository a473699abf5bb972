#!/usr/bin/python
"""Keep the autoscaling of one ECS service; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_scaling
short_description: Keep the average CPU of one ECS service by its number of tasks
description:
  - Unlike C(community.aws.application_autoscaling_policy) it predicts in check mode and deregisters the target.
  - It keeps the scalable target and one target-tracking policy.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  service:
    description: Name of the service. In check mode it need not stand.
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

from ansible.module_utils.mlflow_aws import diff, doing  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
NAMESPACE = "ecs"
DIMENSION = "ecs:service:DesiredCount"


def current(scaling: Any, resource_id: str, policy_name: str) -> Properties:
    """Return what stands: `bounds` {MinCapacity, MaxCapacity} and `policy` (its configuration), if they do."""
    where = {"ServiceNamespace": NAMESPACE, "ScalableDimension": DIMENSION}
    targets = scaling.describe_scalable_targets(ResourceIds=[resource_id], **where)["ScalableTargets"]
    asked = {"ResourceId": resource_id, "PolicyNames": [policy_name], **where}
    policies = scaling.describe_scaling_policies(**asked)["ScalingPolicies"]
    before: Properties = {}
    for target in targets:
        before["bounds"] = {key: target[key] for key in ("MinCapacity", "MaxCapacity")}
    for policy in policies:
        # An emulator may ignore the filter by name.
        if (policy["PolicyName"], policy["ResourceId"]) == (policy_name, resource_id):
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
            before["policy"] = {"DisableScaleIn": False, **tracking}
    return before


def wanted(params: Properties) -> Properties:
    """Return what `params` ask for, in the form of `current`."""
    return {
        "bounds": {"MinCapacity": params["minimum"], "MaxCapacity": params["maximum"]},
        "policy": {
            "DisableScaleIn": False,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
            "TargetValue": float(params["cpu_target"]),
            "ScaleInCooldown": params["scale_in_cooldown"],
            "ScaleOutCooldown": params["scale_out_cooldown"],
        },
    }


def apply(scaling: Any, resource_id: str, policy_name: str, before: Properties, after: Properties) -> None:
    """Bring what differs from `before` to `after`; an empty `after` removes both."""
    target = {"ServiceNamespace": NAMESPACE, "ResourceId": resource_id, "ScalableDimension": DIMENSION}
    if not after:
        # AWS deletes the policy with the target, an emulator may keep it: so the policy goes first.
        if "policy" in before:
            scaling.delete_scaling_policy(PolicyName=policy_name, **target)
        if "bounds" in before:
            scaling.deregister_scalable_target(**target)
        return
    if before.get("bounds") != after["bounds"]:
        scaling.register_scalable_target(**target, **after["bounds"])
    if before.get("policy") != after["policy"]:
        scaling.put_scaling_policy(
            PolicyName=policy_name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=after["policy"],
            **target,
        )


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
    scaling = module.client("application-autoscaling")
    with doing(module, f"read the scaling of {resource_id}"):
        before = current(scaling, resource_id, params["policy_name"])
    after = wanted(params) if params["state"] == "present" else {}
    if before != after and not module.check_mode:
        with doing(module, f"{'set' if after else 'remove'} the scaling of {resource_id}"):
            apply(scaling, resource_id, params["policy_name"], before, after)
    module.exit_json(changed=before != after, diff=diff(before, after), resource_id=resource_id)


if __name__ == "__main__":
    main()
