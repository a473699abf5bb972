"""Filters of the ecs_service role."""

from __future__ import annotations

import re
from typing import Any

_ECR = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^@:]+)"
)


def allowed_hosts(names: list[str]) -> str:
    """The value of MLFLOW_SERVER_ALLOWED_HOSTS for every name the load balancer answers to.

    MLflow compares names and ports exactly and case-sensitively, so each name stands alone and with any port,
    and an uppercase name also as browsers send it, in lower case.
    """
    every = [spelling for name in names if name for spelling in dict.fromkeys((name, name.lower()))]
    return ",".join(form for name in dict.fromkeys(every) for form in (name, f"{name}:*"))


def secret_arn(reference: str) -> str:
    """The secret's ARN in an ECS ``valueFrom``, which may go on with ``:key:stage:version``."""
    return ":".join(reference.split(":")[:7])


def image_arn(image: str, partition: str) -> str | None:
    """ARN of the ECR repository an image reference names; None for an image that lives elsewhere."""
    match = _ECR.match(image)
    if not match:
        return None
    return f"arn:{partition}:ecr:{match['region']}:{match['account']}:repository/{match['repository']}"


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Names as the role writes them."""
        return {
            "allowed_hosts": allowed_hosts,
            "secret_arn": secret_arn,
            "image_arn": image_arn,
        }
