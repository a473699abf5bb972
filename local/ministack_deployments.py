"""Deployments in MiniStack end as the agent sees its tasks, not at once.

MiniStack's own tasks are made up where it has no engine, so it calls every deployment completed. The agent makes itself
known with DiscoverPollEndpoint, as ECS's does, and from then on says with SubmitTaskStateChange how its tasks fare:
RUNNING completes a deployment, STOPPED counts against MiniStack's circuit breaker, which goes back as ECS's does.
A service's first deployment counts as completed from the start: nothing could be gone back to.
"""

from __future__ import annotations

import threading
from typing import Any

from ministack.services import ecs


def fill() -> None:
    """Patch the service in place; once, before it serves."""
    complete = ecs._complete_service_deployment
    discover = ecs._ACTION_MAP["DiscoverPollEndpoint"]
    submit = ecs._ACTION_MAP["SubmitTaskStateChange"]
    agent_is_known = threading.Event()

    def discover_poll_endpoint(data: dict[str, Any]) -> Any:
        agent_is_known.set()
        return discover(data)

    def complete_service_deployment(cluster: str, key: str, expected_deployment_id: str | None = None) -> None:
        wanted = (ecs._services.get(key) or {}).get("desiredCount", 0)
        if not agent_is_known.is_set() or not wanted:
            complete(cluster, key, expected_deployment_id)

    def submit_task_state_change(data: dict[str, Any]) -> Any:
        # As rolling.task_name made it.
        service, _, revision = data.get("task", "").partition(" ")
        _apply(complete, data.get("cluster", ""), service, revision, data.get("status", ""))
        return submit(data)

    ecs._complete_service_deployment = complete_service_deployment
    ecs._ACTION_MAP["DiscoverPollEndpoint"] = discover_poll_endpoint
    ecs._ACTION_MAP["SubmitTaskStateChange"] = submit_task_state_change


def _apply(complete: Any, cluster: str, name: str, revision: str, status: str) -> None:
    """Tell MiniStack of a task; nothing where its deployment is over already."""
    key = f"{cluster}/{name}"
    service = ecs._services.get(key)
    primary = ecs._primary_deployment(service) if service else None
    if not primary or primary["taskDefinition"] != revision or primary["rolloutState"] != "IN_PROGRESS":
        return
    group = f"service:{name}"
    if status == "RUNNING":
        for task in ecs._tasks.values():
            if task.get("group") == group and task.get("clusterArn") == service["clusterArn"]:
                task["_startup_stable"] = True
        ecs._refresh_service_state(cluster, group)
        complete(cluster, key, primary["id"])
    elif status == "STOPPED":
        gone = {"group": group, "clusterArn": service["clusterArn"], "_deployment_id": primary["id"]}
        ecs._record_service_task_failure(gone)
