"""The AWS that all sides are measured on: moto with its gaps filled, a latency per call, and a log of the calls.

`python -m bench.moto_server PORT LATENCY_MS LOG`; LOG gets one line "service action" per call.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from moto.core.utils import camelcase_to_underscores
from moto.ecs.models import Cluster
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.rds.exceptions import DBParameterGroupNotFoundError
from moto.rds.models import DBCluster, DBParameterGroup, RDSBackend
from werkzeug.serving import WSGIRequestHandler, run_simple

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


def call_name(env: dict[str, Any]) -> str:
    """The call of a request as "service action"; for REST services the action is the method and the query's keys."""
    scope = env.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
    service = scope[3] if len(scope) > 3 else "?"
    if target := env.get("HTTP_X_AMZ_TARGET"):
        return f"{service} {target.rpartition('.')[2]}"
    length = int(env.get("CONTENT_LENGTH") or 0)
    if env["REQUEST_METHOD"] == "POST" and service != "s3" and 0 < length < LARGEST_BODY:
        body = env["wsgi.input"].read(length)
        env["wsgi.input"] = io.BytesIO(body)
        if action := parse_qs(body.decode("utf-8", "replace")).get("Action"):
            return f"{service} {action[0]}"
    keys = sorted(part.partition("=")[0] for part in env.get("QUERY_STRING", "").split("&") if part)
    return f"{service} {env['REQUEST_METHOD']}{' ?' + '&'.join(keys) if keys else ''}"


class Logged:
    """Writes down each call and lets it wait; concurrent calls wait side by side."""

    def __init__(self, inner: Callable[..., Iterable[bytes]], seconds: float, path: str) -> None:
        self.inner = inner
        self.seconds = seconds
        self.log = open(path, "a", buffering=1)

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not env["PATH_INFO"].startswith("/moto-api"):
            self.log.write(call_name(env) + "\n")
            time.sleep(self.seconds)
        return self.inner(env, start)


class QuietHandler(WSGIRequestHandler):
    """No line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main(port: int, latency_ms: float, path: str) -> None:
    """Serve until told to end."""
    moto_server.patch()
    remember_service_settings()
    forget_scaling_of_provisioned_clusters()
    know_parameter_groups()
    list_capacity_providers()
    application = Logged(DomainDispatcherApplication(create_backend_app), latency_ms / 1000, path)
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=QuietHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
