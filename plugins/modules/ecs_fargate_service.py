#!/usr/bin/python
"""Manage one ECS service on Fargate; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_fargate_service
short_description: Manage an ECS service on Fargate
description:
  - Unlike C(community.aws.ecs_service) it compares and repairs every field that it sets - network, deployment,
    platform, ECS Exec, tags and the rest - and takes back what nobody has asked for, as a capacity provider strategy,
    alarms, Service Connect, service registries, volumes and VPC Lattice. It predicts in check mode, also without a
    cluster.
  - A service that is DRAINING when it is wanted is waited for. It starts a deployment and does not wait for its end.
  - Launch type, scheduling and deployment controller cannot be changed; a difference there is refused.
options:
  name:
    description: Name of the service.
    type: str
    required: true
  cluster:
    description: Name of the cluster. In check mode it need not be there.
    type: str
    required: true
  task_definition:
    description: Revision as C(family:number) or as ARN. Required with O(state=present).
    type: str
  desired_count:
    description: Number of tasks. Required with O(state=present).
    type: int
  maximum_count:
    description:
      - With it the service keeps a number of tasks between O(desired_count) and this, as target tracking chooses it. A
        number outside is brought to the nearer of both.
    type: int
  subnet_ids:
    description: Subnets of the tasks. Required with O(state=present).
    type: list
    elements: str
  security_group_ids:
    description: Security groups of the tasks. Required with O(state=present).
    type: list
    elements: str
  assign_public_ip:
    description: Whether tasks have public addresses.
    type: bool
    default: false
  platform_version:
    description: Version of Fargate.
    type: str
    default: "1.4.0"
  load_balancers:
    description: Target groups that the tasks join.
    type: list
    elements: dict
    default: []
    suboptions:
      target_group_arn:
        description: The target group.
        type: str
        required: true
      container_name:
        description: The container that serves it.
        type: str
        required: true
      container_port:
        description: Its port.
        type: int
        required: true
  health_check_grace_period:
    description: Seconds in which a new task may fail the load balancer's health check.
    type: int
    default: 0
  minimum_healthy_percent:
    description: Least part of the tasks that run during a deployment.
    type: int
    default: 100
  maximum_percent:
    description: Greatest part of the tasks that run during a deployment.
    type: int
    default: 200
  circuit_breaker:
    description: Whether a deployment whose tasks do not start is given up.
    type: bool
    default: true
  rollback:
    description: Whether the revision before comes back then.
    type: bool
    default: true
  enable_execute_command:
    description: Whether ECS Exec is on. A change replaces the tasks, for it is decided when a task starts.
    type: bool
    default: false
  enable_ecs_managed_tags:
    description: Whether tasks carry the tags that ECS manages.
    type: bool
    default: false
  propagate_tags:
    description: Whose tags the tasks carry.
    type: str
    choices: [NONE, SERVICE, TASK_DEFINITION]
    default: NONE
  availability_zone_rebalancing:
    description: Whether ECS moves tasks to even out zones. It asks for an O(maximum_percent) above 100.
    type: str
    choices: [ENABLED, DISABLED]
    default: DISABLED
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  force:
    description: With O(state=absent), whether the service may still have tasks.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait for a service of this name that is DRAINING, and for what a new account does not know at once -
        the service-linked role of ECS, and a target group that no listener has used yet.
    type: int
    default: 600
  state:
    description: Whether there is the service. A removed one drains for a while, which is not waited for.
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
- name: Create the service
  ecs_fargate_service:
    name: team-a
    cluster: team-a
    task_definition: team-a:3
    desired_count: 2
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0a1b2c3d4e5f60719]
    security_group_ids: [sg-0a1b2c3d4e5f60718]

- name: Remove the service with its tasks
  ecs_fargate_service:
    name: team-a
    cluster: team-a
    force: true
    state: absent
"""

RETURN = r"""
service_arn:
  description: ARN of the service; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: "arn:aws:ecs:eu-west-1:123456789012:service/team-a/team-a"
status:
  description: ACTIVE, DRAINING, or null without a service.
  returned: always
  type: str
"""

import time  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    BotoCoreError,
    ClientError,
    create,
    diff,
    doing,
    found,
    reason,
)
from ansible.module_utils.mlflow_ecs import ecs_tag_dict, ecs_tag_list, meaningful, retag_ecs  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
POLL_SECONDS = 5.0
# What a new account, or a listener made a moment ago, makes ECS answer, and what is waited for then.
NOT_YET_KNOWN = {
    "service linked role": "its service-linked role in this account",
    "service-linked role": "its service-linked role in this account",
    "does not have an associated load balancer": "the listener of the target group",
}
DEPLOYMENT_DEFAULTS: Properties = {"strategy": "ROLLING", "bakeTimeInMinutes": 0}
# What nobody asks for, by its name in the API: the value that takes it away.
TAKEN_BACK: dict[str, Any] = {
    "capacityProviderStrategy": [],
    "serviceRegistries": [],
    "serviceConnectConfiguration": {"enabled": False},
    "volumeConfigurations": [],
    "vpcLatticeConfigurations": [],
}
# These are described with the deployment and not with the service.
OF_THE_DEPLOYMENT = ("serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations")
IMMUTABLE = ("launchType", "schedulingStrategy", "deploymentController")


def read(ecs: Any, cluster: str, name: str) -> Properties:
    """Return AWS's description of the service, or {} where it or its cluster is not there."""
    answer = found(
        ecs.describe_services, "ClusterNotFoundException", cluster=cluster, services=[name], include=["TAGS"]
    )
    services = answer["services"] if answer else []
    return next((dict(each) for each in services if each["status"] != "INACTIVE"), {})


def deployment_configuration(described: Properties) -> Properties:
    """Return a deployment configuration with what ECS means by what is left out."""
    breaker = described.get("deploymentCircuitBreaker") or {}
    alarms = described.get("alarms") or {}
    return {
        **DEPLOYMENT_DEFAULTS,
        **{key: described[key] for key in DEPLOYMENT_DEFAULTS if described.get(key)},
        "minimumHealthyPercent": described.get("minimumHealthyPercent", 100),
        "maximumPercent": described.get("maximumPercent", 200),
        "deploymentCircuitBreaker": {key: bool(breaker.get(key)) for key in ("enable", "rollback")},
        "alarms": {
            "alarmNames": sorted(alarms.get("alarmNames") or []),
            **{key: bool(alarms.get(key)) for key in ("enable", "rollback")},
        },
        "lifecycleHooks": described.get("lifecycleHooks") or [],
    }


def network(subnets: list[str], groups: list[str], public: str) -> Properties:
    """Return a network configuration whose lists are in one order."""
    return {
        "awsvpcConfiguration": {
            "subnets": sorted(subnets),
            "securityGroups": sorted(groups),
            "assignPublicIp": public,
        }
    }


def balancers(described: list[Properties]) -> list[Properties]:
    """Return load balancers in one order and without what says nothing."""
    return sorted(meaningful(described), key=lambda one: (one.get("targetGroupArn", ""), one.get("containerPort", 0)))


def properties(service: Properties) -> Properties:
    """Return what can be set of AWS's description of a service, in the form of `wanted`."""
    if not service:
        return {}
    primary: Properties = next((one for one in service.get("deployments", []) if one.get("status") == "PRIMARY"), {})
    vpc = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    taken_back = {key: (primary if key in OF_THE_DEPLOYMENT else service).get(key) for key in TAKEN_BACK}
    return {
        "taskDefinition": revision(service["taskDefinition"]),
        "desiredCount": service["desiredCount"],
        "deploymentConfiguration": deployment_configuration(service.get("deploymentConfiguration") or {}),
        "networkConfiguration": network(
            vpc.get("subnets") or [], vpc.get("securityGroups") or [], vpc.get("assignPublicIp") or "DISABLED"
        ),
        "platformVersion": service.get("platformVersion") or "LATEST",
        "loadBalancers": balancers(service.get("loadBalancers") or []),
        "healthCheckGracePeriodSeconds": service.get("healthCheckGracePeriodSeconds") or 0,
        "enableExecuteCommand": bool(service.get("enableExecuteCommand")),
        "enableECSManagedTags": bool(service.get("enableECSManagedTags")),
        "propagateTags": service.get("propagateTags") or "NONE",
        "availabilityZoneRebalancing": service.get("availabilityZoneRebalancing") or "DISABLED",
        **{key: meaningful(value) or _off(key) for key, value in taken_back.items()},
        "launchType": "FARGATE" if service.get("capacityProviderStrategy") else service.get("launchType"),
        "schedulingStrategy": service.get("schedulingStrategy") or "REPLICA",
        "deploymentController": (service.get("deploymentController") or {}).get("type") or "ECS",
        "tags": ecs_tag_dict(service.get("tags")),
    }


def _off(key: str) -> Any:
    # `meaningful` takes {"enabled": False} for nothing.
    return {} if isinstance(TAKEN_BACK[key], dict) else []


def revision(task_definition: str) -> str:
    """Return family:number of a task definition's ARN or name."""
    return task_definition.rsplit("/", 1)[-1]


def number_of_tasks(params: Properties, before: Properties) -> int:
    """Return the number of tasks to ask for, which between two bounds is the one that there is."""
    least: int = params["desired_count"]
    most: int = max(least, params["maximum_count"] or least)
    return max(least, min(most, before.get("desiredCount", least)))


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; tags they leave open are as in `before`."""
    return {
        "taskDefinition": revision(params["task_definition"]),
        "desiredCount": number_of_tasks(params, before),
        "deploymentConfiguration": deployment_configuration(
            {
                "minimumHealthyPercent": params["minimum_healthy_percent"],
                "maximumPercent": params["maximum_percent"],
                "deploymentCircuitBreaker": {"enable": params["circuit_breaker"], "rollback": params["rollback"]},
            }
        ),
        "networkConfiguration": network(
            params["subnet_ids"], params["security_group_ids"], "ENABLED" if params["assign_public_ip"] else "DISABLED"
        ),
        "platformVersion": params["platform_version"],
        "loadBalancers": balancers(
            [
                {
                    "targetGroupArn": one["target_group_arn"],
                    "containerName": one["container_name"],
                    "containerPort": one["container_port"],
                }
                for one in params["load_balancers"]
            ]
        ),
        # ECS knows a grace period only with a load balancer.
        "healthCheckGracePeriodSeconds": params["health_check_grace_period"] if params["load_balancers"] else 0,
        "enableExecuteCommand": params["enable_execute_command"],
        "enableECSManagedTags": params["enable_ecs_managed_tags"],
        "propagateTags": params["propagate_tags"],
        "availabilityZoneRebalancing": params["availability_zone_rebalancing"],
        **{key: _off(key) for key in TAKEN_BACK},
        "launchType": "FARGATE",
        "schedulingStrategy": "REPLICA",
        "deploymentController": "ECS",
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }


def deployment_request(before: Properties, after: Properties) -> Properties:
    """Return the deployment configuration `after` as ECS takes it, with no word of what `before` has not, either."""
    optional = ("alarms", "lifecycleHooks", *DEPLOYMENT_DEFAULTS)
    return {key: value for key, value in after.items() if key not in optional or before.get(key, value) != value}


def creation(after: Properties) -> Properties:
    """Return the arguments of CreateService for `after`, without names."""
    left_out = (*TAKEN_BACK, "deploymentController", "tags")
    request = {key: value for key, value in after.items() if key not in left_out}
    request["deploymentConfiguration"] = deployment_request({}, after["deploymentConfiguration"])
    if not after["loadBalancers"]:
        # ECS refuses a grace period without a load balancer.
        del request["healthCheckGracePeriodSeconds"]
    if after["tags"]:
        request["tags"] = ecs_tag_list(after["tags"])
    return request


def changes(before: Properties, after: Properties) -> Properties:
    """Return the arguments of UpdateService that bring `before` to `after`, without names."""
    request = {
        key: TAKEN_BACK.get(key, value)
        for key, value in after.items()
        if key not in (*IMMUTABLE, "tags") and before[key] != value
    }
    if "deploymentConfiguration" in request:
        request["deploymentConfiguration"] = deployment_request(
            before["deploymentConfiguration"], after["deploymentConfiguration"]
        )
    # ECS asks for a new deployment with the first; tasks that run keep what the second was when they started.
    if "capacityProviderStrategy" in request or "enableExecuteCommand" in request:
        request["forceNewDeployment"] = True
    return request


class Service:
    """One service and the calls that change it."""

    def __init__(self, module: Any) -> None:
        """Read the service."""
        self.module = module
        self.name: str = module.params["name"]
        self.cluster: str = module.params["cluster"]
        self.ecs = module.client("ecs")
        self.deadline = time.monotonic() + module.params["wait_timeout"]
        self.service: Properties = {}
        self.read()

    def read(self) -> None:
        """Read the service again."""
        with doing(self.module, f"read the service {self.name}"):
            self.service = read(self.ecs, self.cluster, self.name)

    def active(self) -> Properties | None:
        """Return AWS's description of the service that an earlier attempt has made, or None."""
        service = read(self.ecs, self.cluster, self.name)
        return {"service": service} if service.get("status") == "ACTIVE" else None

    def until_drained(self) -> None:
        """Wait until a service of this name that is being removed is gone, or fail with a sentence."""
        while self.service.get("status") == "DRAINING":
            if time.monotonic() > self.deadline:
                seconds = self.module.params["wait_timeout"]
                self.module.fail_json(
                    msg=f"The service {self.name} is still being removed (DRAINING) after {seconds} s; its name is "
                    "free when its last task has stopped, so run again then."
                )
            time.sleep(POLL_SECONDS)
            self.read()

    def make(self, after: Properties) -> None:
        """Create the service, with patience for what AWS does not know everywhere yet."""
        # A repeated call with the same token makes no second service.
        request = {
            "cluster": self.cluster,
            "serviceName": self.name,
            "clientToken": uuid.uuid4().hex,
            **creation(after),
        }
        with doing(self.module, f"create the service {self.name}"):
            made = self.patiently(lambda: create(self.module, "ecs", "create_service", self.active, **request))
        self.service = made["service"]

    def repair(self, before: Properties, after: Properties) -> None:
        """Bring what differs from `before` to `after`."""
        request = changes(before, after)
        with doing(self.module, f"set the service {self.name}"):
            # Tags first: tasks that the update starts carry them.
            retag_ecs(self.ecs, self.service["serviceArn"], before["tags"], after["tags"])
            if request:
                update = {"cluster": self.cluster, "service": self.name, **request}
                self.service = self.patiently(lambda: self.ecs.update_service(**update))["service"]

    def patiently(self, call: Callable[[], Any]) -> Any:
        """Return `call()`, repeated until the deadline while ECS does not know something that is there."""
        start, what = time.monotonic(), ""
        while True:
            try:
                answer = call()
            except (ClientError, BotoCoreError) as error:
                text = reason(error).lower()
                what = next((noun for words, noun in NOT_YET_KNOWN.items() if words in text), "")
                if time.monotonic() > self.deadline or not what:
                    raise
                time.sleep(POLL_SECONDS)
                continue
            if what:
                waited = time.monotonic() - start
                self.module.warn(f"The service {self.name}: waited {waited:.0f} s until ECS knew {what}.")
            return answer

    def remove(self) -> None:
        """Delete the service; it drains for a while."""
        with doing(self.module, f"delete the service {self.name}"):
            request = {"cluster": self.cluster, "service": self.name, "force": self.module.params["force"]}
            answer = found(self.ecs.delete_service, "ServiceNotFoundException", "ServiceNotActiveException", **request)
        self.service = answer["service"] if answer else {}

    def refuse_what_cannot_change(self, before: Properties, after: Properties) -> None:
        """Fail with a sentence where only another service would do."""
        for key in IMMUTABLE if before else ():
            if before[key] != after[key]:
                self.module.fail_json(
                    msg=f"The service {self.name} has {key} {before[key]} instead of {after[key]}, which cannot be "
                    "changed; delete the service, then run again."
                )

    def facts(self) -> Properties:
        """Return the module's result."""
        status = self.service.get("status")
        gone = status in (None, "INACTIVE")
        return {
            "service_arn": None if gone else self.service.get("serviceArn"),
            "status": None if gone else status,
        }


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    balancer = {
        "target_group_arn": {"type": "str", "required": True},
        "container_name": {"type": "str", "required": True},
        "container_port": {"type": "int", "required": True},
    }
    return {
        "name": {"type": "str", "required": True},
        "cluster": {"type": "str", "required": True},
        "task_definition": {"type": "str"},
        "desired_count": {"type": "int"},
        "maximum_count": {"type": "int"},
        "subnet_ids": {"type": "list", "elements": "str"},
        "security_group_ids": {"type": "list", "elements": "str"},
        "assign_public_ip": {"type": "bool", "default": False},
        "platform_version": {"type": "str", "default": "1.4.0"},
        "load_balancers": {"type": "list", "elements": "dict", "default": [], "options": balancer},
        "health_check_grace_period": {"type": "int", "default": 0},
        "minimum_healthy_percent": {"type": "int", "default": 100},
        "maximum_percent": {"type": "int", "default": 200},
        "circuit_breaker": {"type": "bool", "default": True},
        "rollback": {"type": "bool", "default": True},
        "enable_execute_command": {"type": "bool", "default": False},
        "enable_ecs_managed_tags": {"type": "bool", "default": False},
        "propagate_tags": {"type": "str", "choices": ["NONE", "SERVICE", "TASK_DEFINITION"], "default": "NONE"},
        "availability_zone_rebalancing": {"type": "str", "choices": ["ENABLED", "DISABLED"], "default": "DISABLED"},
        "tags": {"type": "dict"},
        "force": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 600},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def converge(module: Any, one: Service) -> Properties:
    """Create or repair the service; return {changed, diff}."""
    if not module.check_mode:
        one.until_drained()
    before = properties(one.service) if one.service.get("status") == "ACTIVE" else {}
    after = wanted(module.params, before)
    one.refuse_what_cannot_change(before, after)
    if before != after and not module.check_mode:
        if before:
            one.repair(before, after)
        else:
            one.make(after)
    return {"changed": before != after, "diff": diff(before, after)}


def remove(module: Any, one: Service) -> Properties:
    """Delete the service where it is active; return {changed, diff}."""
    before = properties(one.service) if one.service.get("status") == "ACTIVE" else {}
    if before and not module.check_mode:
        one.remove()
    return {"changed": bool(before), "diff": diff(before, {})}


def main() -> None:
    """Run the module."""
    needed = ["task_definition", "desired_count", "subnet_ids", "security_group_ids"]
    module = AnsibleAWSModule(
        argument_spec=argument_spec(), required_if=[("state", "present", needed)], supports_check_mode=True
    )
    one = Service(module)
    result = (converge if module.params["state"] == "present" else remove)(module, one)
    module.exit_json(**result, **one.facts())


if __name__ == "__main__":
    main()
