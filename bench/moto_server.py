"""The AWS that all sides are measured on: moto with its gaps filled, a latency per call, and a log of the calls.

`python -m bench.moto_server PORT LATENCY_MS LOG`; LOG gets one line "service action" per call. With `--pending SECONDS`
what AWS takes minutes to make is that long not ready, or until the signal USR1, and the lines of LOG go on with the
seconds since the start and what a call was told to be pending; bench/waits.py reads them. With `--record FILE` each
call is written down whole, one JSON object per line, for bench/floor.py to send again.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from moto.core.utils import camelcase_to_underscores
from moto.ec2.models.nat_gateways import NatGateway
from moto.ecs.models import Cluster
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.models import FakeLoadBalancer
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.rds.exceptions import DBParameterGroupNotFoundError
from moto.rds.models import DBCluster, DBInstance, DBParameterGroup, RDSBackend
from werkzeug.serving import run_simple

from bench import moto_ec2, moto_s3
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
    "ApplyType": "dynamic",
    "IsModifiable": True,
}
# A body that is read for its action only.
LARGEST_BODY = 1_000_000


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
        keep(self, answer.result["service"], {})
        return answer

    ecs.create_service, ecs.update_service = create_service, update_service


def forget_scaling_of_provisioned_clusters() -> None:
    """Only a serverless database cluster has a scaling configuration."""
    cluster: Any = DBCluster
    scaling = cluster.scaling_configuration_info.fget
    cluster.scaling_configuration_info = property(
        lambda self: scaling(self) if self.engine_mode == "serverless" else None
    )


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
            if value != ready or time.monotonic() - getattr(thing, since) > times * self.seconds:
                return value
            self.told.of = kind.__name__
            return pending

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


def body_of(env: dict[str, Any]) -> bytes:
    """The body of a request, which stays to be read; b"" for one that is too large to be only parameters."""
    length = int(env.get("CONTENT_LENGTH") or 0)
    if not 0 < length < LARGEST_BODY:
        return b""
    body: bytes = env["wsgi.input"].read(length)
    env["wsgi.input"] = io.BytesIO(body)
    return body


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
        body = body_of(env)
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
    chosen = parser.parse_args()
    moto_server.patch()
    remember_service_settings()
    forget_scaling_of_provisioned_clusters()
    moto_ec2.fill()
    moto_s3.fill()
    know_parameter_groups()
    list_capacity_providers()
    pending = None
    if chosen.pending is not None:
        pending = Pending(chosen.pending)
        pending.hold_all()
        signal.signal(signal.SIGUSR1, lambda *_: setattr(pending, "seconds", 0.0))
    inner = DomainDispatcherApplication(create_backend_app)
    application = Logged(inner, chosen.latency / 1000, chosen.log, pending, chosen.record)
    run_simple("127.0.0.1", chosen.port, application, threaded=True, request_handler=moto_server.QuietHandler)


if __name__ == "__main__":
    main()
