"""The AWS that all sides are measured on: moto with its gaps filled, a latency per call, and a log of the calls.

`python -m bench.moto_server PORT LATENCY_MS LOG`; LOG gets one line "service action" per call. With `--pending SECONDS`
what AWS takes minutes to make is that long not ready, or until the signal USR1, and the lines of LOG go on with the
seconds since the start and what a call was told to be pending; bench/waits.py reads them. With `--record FILE` each
call is written down whole, one JSON object per line, for bench/floor.py to send again. With `--faults FILE` calls get
lost, throttled or refused, or end who made them; bench/faults.py says how, also at run time.
"""

from __future__ import annotations

import argparse
import functools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.applicationautoscaling.exceptions import AWSValidationException
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, FakeApplicationAutoscalingPolicy
from moto.core.exceptions import JsonRESTError
from moto.core.utils import camelcase_to_underscores
from moto.ec2.models.nat_gateways import NatGateway, NatGatewayBackend
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.vpcs import VPCs as EC2VPCs
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import Cluster, EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.exceptions import ValidationError
from moto.elbv2.models import ELBv2Backend, FakeListener, FakeLoadBalancer
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.rds.exceptions import DBParameterGroupNotFoundError
from moto.rds.models import DBCluster, DBInstance, DBParameterGroup, RDSBackend
from werkzeug.serving import run_simple

from bench import faults, moto_data, moto_ec2, moto_offer, moto_s3
from local import moto_server

# What moto's ECS services forget, and what they have when nobody has said; forgotten, it is drift for ever.
SERVICE_SETTINGS: dict[str, Any] = {
    "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
    "healthCheckGracePeriodSeconds": 0,
    "availabilityZoneRebalancing": "DISABLED",
    "enableExecuteCommand": False,
    "enableECSManagedTags": False,
}
FORCE_SSL = {
    "ParameterName": "rds.force_ssl",
    "ParameterValue": "0",
    "DataType": "boolean",
    "Source": "system",
    "ApplyType": "dynamic",
    "IsModifiable": True,
}
# What AWS lists of a new application load balancer and of a new listener, where moto lists next to nothing.
BALANCER_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "access_logs.s3.bucket": "",
    "access_logs.s3.prefix": "",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "connection_logs.s3.bucket": "",
    "connection_logs.s3.prefix": "",
    "deletion_protection.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}
LISTENER_ATTRIBUTES = {
    "routing.http.response.server.enabled": "true",
    "routing.http.response.strict_transport_security.header_value": "",
    "routing.http.response.access_control_allow_origin.header_value": "",
}


def attribute(setting: str) -> str:
    """How moto names `setting` of a service."""
    return "enable_ecs_managed_tags" if "ECS" in setting else camelcase_to_underscores(setting)


def remember_service_settings() -> None:
    """Have moto's ECS services keep SERVICE_SETTINGS."""
    ecs: Any = EC2ContainerServiceResponse
    create, update = ecs.create_service, ecs.update_service

    def keep(self: Any, service: Any, defaults: dict[str, Any]) -> None:
        for setting in SERVICE_SETTINGS:
            value = self._get_param(setting)
            if value is None:
                value = defaults.get(setting)
            if value is not None:
                setattr(service, attribute(setting), value)

    def create_service(self: Any) -> Any:
        answer = create(self)
        keep(self, answer.result["service"], SERVICE_SETTINGS)
        return answer

    def update_service(self: Any) -> Any:
        answer = update(self)
        service = answer.result["service"]
        keep(self, service, {})
        if definition := self._get_param("taskDefinition"):
            service.task_definition = self.ecs_backend.describe_task_definition(definition).arn
        for deployment in service.deployments:
            # moto has one deployment, which never ends and does not follow its service.
            deployment["taskDefinition"] = service.task_definition
            for setting in ("serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations"):
                if self._get_param(setting) is not None:
                    deployment[setting] = self._get_param(setting)
        return answer

    ecs.create_service, ecs.update_service = create_service, update_service


def create_by_name_once() -> None:
    """A cluster or service of a name that is taken stays as it is."""
    backend: Any = EC2ContainerServiceBackend
    cluster, service = backend.create_cluster, backend.create_service

    def create_cluster(self: Any, cluster_name: str, *arguments: Any, **named: Any) -> Any:
        there = self.clusters.get(cluster_name)
        if there is not None and there.status == "ACTIVE":
            return there
        return cluster(self, cluster_name, *arguments, **named)

    def create_service(self: Any, cluster_str: str, service_name: str, *arguments: Any, **named: Any) -> Any:
        there = self.services.get(f"{cluster_str.rpartition('/')[2]}:{service_name}")
        if there is not None and there.status == "ACTIVE":
            raise InvalidParameterException("Creation of service was not idempotent.")
        return service(self, cluster_str, service_name, *arguments, **named)

    backend.create_cluster, backend.create_service = create_cluster, create_service


def describe_the_newest_active_revision() -> None:
    """A family's name means its newest active revision."""
    backend: Any = EC2ContainerServiceBackend
    describe = backend.describe_task_definition

    def describe_task_definition(self: Any, task_definition_str: str) -> Any:
        name = task_definition_str.rpartition("/")[2]
        if ":" in name:
            return describe(self, task_definition_str)
        revisions = self.task_definitions.get(name, {})
        active = [number for number, one in revisions.items() if one.status == "ACTIVE"]
        return describe(self, f"{name}:{max(active, default=0)}")

    backend.describe_task_definition = describe_task_definition


def list_families_by_status() -> None:
    """A family is listed as ACTIVE while one of its revisions is."""
    response: Any = EC2ContainerServiceResponse
    families = response.list_task_definition_families

    def list_task_definition_families(self: Any) -> Any:
        answer, status = families(self), self._get_param("status")
        known = self.ecs_backend.task_definitions
        if status in ("ACTIVE", "INACTIVE"):
            active = {
                name for name, revisions in known.items() if any(r.status == "ACTIVE" for r in revisions.values())
            }
            answer.result["families"] = [
                name for name in answer.result["families"] if (name in active) == (status == "ACTIVE")
            ]
        return answer

    response.list_task_definition_families = list_task_definition_families


@functools.cache
def fill_ecs() -> None:
    """Fill the gaps of moto's ECS, once in a process."""
    remember_service_settings()
    create_by_name_once()
    describe_the_newest_active_revision()
    list_families_by_status()
    list_capacity_providers()


def forget_scaling_of_provisioned_clusters() -> None:
    """Only a serverless database cluster has a scaling configuration."""
    cluster: Any = DBCluster
    scaling = cluster.scaling_configuration_info.fget
    cluster.scaling_configuration_info = property(
        lambda self: scaling(self) if self.engine_mode == "serverless" else None
    )


def free_addresses() -> None:
    """A NAT gateway that is deleted takes its interface with it and frees its address."""
    backend: Any = NatGatewayBackend
    delete = backend.delete_nat_gateway

    def delete_nat_gateway(self: Any, nat_gateway_id: str) -> Any:
        gateway = delete(self, nat_gateway_id)
        for each in gateway.address_set:
            for address in self.address_by_allocation([each["allocationId"]]) if "allocationId" in each else []:
                address.eni = address.association_id = None
        self.enis.pop(gateway._eni.id, None)
        return gateway

    backend.delete_nat_gateway = delete_nat_gateway


def delete_network_acl_of_vpc() -> None:
    """A VPC's default network ACL goes with it."""
    backend: Any = VPCBackend
    delete = backend.delete_vpc

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        vpc = delete(self, vpc_id)
        for acl in [each for each in self.network_acls.values() if each.vpc_id == vpc_id]:
            del self.network_acls[acl.id]
        return vpc

    backend.delete_vpc = delete_vpc


def miss_what_is_gone() -> None:
    """AWS says that what is to be removed from Application Auto Scaling is not there; moto says that it is invalid."""
    backend: Any = ApplicationAutoscalingBackend
    delete_action = backend.delete_scheduled_action

    def of_what_is_gone(remove: Callable[..., Any]) -> Callable[..., Any]:
        def removed(self: Any, *arguments: Any, **named: Any) -> Any:
            try:
                return remove(self, *arguments, **named)
            except AWSValidationException as error:
                raise JsonRESTError("ObjectNotFoundException", error.message) from None

        return removed

    def delete_scheduled_action(self: Any, *arguments: Any, **named: Any) -> None:
        before = len(self.scheduled_actions)
        delete_action(self, *arguments, **named)
        if len(self.scheduled_actions) == before:
            raise JsonRESTError("ObjectNotFoundException", "No scheduled action found")

    backend.deregister_scalable_target = of_what_is_gone(backend.deregister_scalable_target)
    backend.delete_scaling_policy = of_what_is_gone(backend.delete_scaling_policy)
    backend.delete_scheduled_action = delete_scheduled_action


def replace_alarms() -> None:
    """A scaling policy that is put again has its alarms, and not those of before as well."""
    backend: Any = ApplicationAutoscalingBackend
    put = backend.put_scaling_policy

    def put_scaling_policy(self: Any, **named: Any) -> Any:
        key = {name: named[name] for name in ("service_namespace", "resource_id", "scalable_dimension", "policy_name")}
        old = self.policies.get(FakeApplicationAutoscalingPolicy.formulate_key(**key))
        policy = put(self, **named)
        if old:
            old.delete_alarms(self.account_id, self.region_name)
        return policy

    backend.put_scaling_policy = put_scaling_policy


def change_private_names() -> None:
    """ModifyVpcEndpoint changes the private names as well."""
    response: Any = EC2VPCs
    modify = response.modify_vpc_endpoint

    def modify_vpc_endpoint(self: Any) -> Any:
        answer = modify(self)
        enabled = self._get_param("PrivateDnsEnabled")
        if enabled is not None:
            (endpoint,) = self.ec2_backend.describe_vpc_endpoints([self._get_param("VpcEndpointId")])
            endpoint.private_dns_enabled = str(enabled).lower() == "true"
        return answer

    response.modify_vpc_endpoint = modify_vpc_endpoint


def list_capacity_providers() -> None:
    """A cluster without capacity providers has an empty list of them."""
    cluster: Any = Cluster
    make = cluster.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self.capacity_providers = self.capacity_providers or []
        self.default_capacity_provider_strategy = self.default_capacity_provider_strategy or []

    cluster.__init__ = init


def know_parameter_groups() -> None:
    """A parameter group that is asked for by name and not there is an error, and each has parameters from the start."""
    backend: Any = RDSBackend
    group: Any = DBParameterGroup
    describe, make = backend.describe_db_parameter_groups, group.__init__

    def describe_db_parameter_groups(self: Any, asked: dict[str, Any]) -> list[Any]:
        groups: list[Any] = describe(self, asked)
        name = asked.get("db_parameter_group_name")
        if name and not groups:
            raise DBParameterGroupNotFoundError(name)
        return groups

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self.parameters.setdefault("rds.force_ssl", dict(FORCE_SSL))

    backend.describe_db_parameter_groups, group.__init__ = describe_db_parameter_groups, init


def list_load_balancer_attributes() -> None:
    """A load balancer and a listener have all their attributes from the start, and no bucket is ever emptied."""
    balancer: Any = FakeLoadBalancer
    listener: Any = FakeListener
    backend: Any = ELBv2Backend
    make_balancer, make_listener, modify = balancer.__init__, listener.__init__, backend.modify_load_balancer_attributes

    def init_balancer(self: Any, *arguments: Any, **named: Any) -> None:
        make_balancer(self, *arguments, **named)
        self.attrs = dict(BALANCER_ATTRIBUTES)

    def init_listener(self: Any, *arguments: Any, **named: Any) -> None:
        make_listener(self, *arguments, **named)
        self.attributes = dict(LISTENER_ATTRIBUTES)

    def modify_load_balancer_attributes(self: Any, arn: str, attrs: dict[str, Any]) -> Any:
        for name in (name for name, value in attrs.items() if name.endswith(".s3.bucket") and not value):
            raise ValidationError(f"The value of '{name}' cannot be empty")
        return modify(self, arn, attrs)

    balancer.__init__, listener.__init__ = init_balancer, init_listener
    backend.modify_load_balancer_attributes = modify_load_balancer_attributes


class Pending:
    """What is not ready yet, and which of it the call that this thread answers has been told of."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.told = threading.local()

    def hold(self, kind: Any, attribute: str, ready: str, pending: str, times: float = 1) -> None:
        """Have objects of `kind` say that their `attribute` is `pending` before it is `ready`, `times` the seconds."""
        own, since = f"_held_{attribute}", f"_held_{attribute}_since"

        def get(thing: Any) -> Any:
            value = getattr(thing, own)
            if value == ready and time.monotonic() - getattr(thing, since) <= times * self.seconds:
                value = pending
            # moto itself says so in the answer to some creations.
            if value == pending:
                self.told.of = kind.__name__
            return value

        def put(thing: Any, value: Any) -> None:
            vars(thing).setdefault(since, time.monotonic())
            vars(thing)[own] = value

        setattr(kind, attribute, property(get, put))

    def hold_all(self) -> None:
        """Hold what AWS takes minutes to make."""
        self.hold(NatGateway, "state", "available", "pending")
        # Longer than what is waited for before it, as on AWS, or a slow run finds it ready.
        self.hold(DBInstance, "status", "available", "creating", times=2)
        self.hold(FakeLoadBalancer, "state", "active", "provisioning")
        database: Any = DBInstance
        endpoint = database.endpoint.fget
        database.endpoint = property(lambda one: endpoint(one) if one.status == "available" else None)

    def take(self) -> str:
        """What this thread's call was told of, once; "" when nothing was pending."""
        told: str = getattr(self.told, "of", "")
        self.told.of = ""
        return told


def service_of(env: dict[str, Any]) -> str:
    """The service that a request is signed for."""
    scope = env.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
    return scope[3] if len(scope) > 3 else "?"


def call_name(env: dict[str, Any], body: bytes) -> str:
    """The call of a request as "service action"; for REST services the action is the method and the query's keys."""
    service = service_of(env)
    if target := env.get("HTTP_X_AMZ_TARGET"):
        return f"{service} {target.rpartition('.')[2]}"
    if env["REQUEST_METHOD"] == "POST" and service != "s3":
        action = parse_qs(body.decode("utf-8", "replace")).get("Action")
        if action:
            return f"{service} {action[0]}"
    keys = sorted(part.partition("=")[0] for part in env.get("QUERY_STRING", "").split("&") if part)
    return f"{service} {env['REQUEST_METHOD']}{' ?' + '&'.join(keys) if keys else ''}"


def whole(env: dict[str, Any], body: bytes, name: str) -> str:
    """A request as a line of JSON, for bench/floor.py."""
    return json.dumps(
        {
            "name": name,
            "service": service_of(env),
            "method": env["REQUEST_METHOD"],
            "path": env["PATH_INFO"],
            "query": env.get("QUERY_STRING", ""),
            "target": env.get("HTTP_X_AMZ_TARGET"),
            "type": env.get("CONTENT_TYPE", ""),
            "body": body.decode("utf-8", "replace"),
        }
    )


class Logged:
    """Writes down each call and lets it wait; concurrent calls wait side by side."""

    def __init__(
        self,
        inner: Callable[..., Iterable[bytes]],
        seconds: float,
        path: str,
        pending: Pending | None = None,
        record: str | None = None,
    ) -> None:
        self.inner = inner
        self.seconds = seconds
        # Open until the process ends.
        self.log = open(path, "a", buffering=1)  # noqa: SIM115
        self.pending = pending
        self.record = open(record, "a", buffering=1) if record else None  # noqa: SIM115
        self.start = time.monotonic()

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if env["PATH_INFO"].startswith("/moto-api"):
            return self.inner(env, start)
        body = faults.take_body(env)
        name = call_name(env, body)
        if self.record:
            self.record.write(whole(env, body, name) + "\n")
        if self.pending is None:
            self.log.write(name + "\n")
            time.sleep(self.seconds)
            return self.inner(env, start)
        time.sleep(self.seconds)
        self.pending.take()
        answer = list(self.inner(env, start))
        self.log.write(f"{name}\t{time.monotonic() - self.start:.2f}\t{self.pending.take()}\n")
        return answer


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m bench.moto_server")
    parser.add_argument("port", type=int)
    parser.add_argument("latency", type=float, metavar="LATENCY_MS")
    parser.add_argument("log")
    parser.add_argument("--pending", type=float, metavar="SECONDS")
    parser.add_argument("--record", metavar="FILE")
    parser.add_argument("--faults", metavar="FILE", type=Path)
    chosen = parser.parse_args()
    moto_server.patch()
    fill_ecs()
    forget_scaling_of_provisioned_clusters()
    moto_ec2.fill()
    moto_s3.fill()
    know_parameter_groups()
    free_addresses()
    delete_network_acl_of_vpc()
    change_private_names()
    replace_alarms()
    miss_what_is_gone()
    moto_data.fill()
    moto_offer.fill()
    moto_offer.raise_quotas()
    list_load_balancer_attributes()
    pending = None
    if chosen.pending is not None:
        pending = Pending(chosen.pending)
        pending.hold_all()
        signal.signal(signal.SIGUSR1, lambda *_: setattr(pending, "seconds", 0.0))
    known = faults.load(chosen.faults.read_text()) if chosen.faults else []
    inner = faults.Faults(DomainDispatcherApplication(create_backend_app), known)
    application = Logged(inner, chosen.latency / 1000, chosen.log, pending, chosen.record)
    run_simple("127.0.0.1", chosen.port, application, threaded=True, request_handler=moto_server.QuietHandler)


if __name__ == "__main__":
    main()
