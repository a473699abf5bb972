"""MiniStack as this repository needs it; settings come by environment, see emulators.py.

It is served from here, and not by its own command, for these reasons:
- its command also listens on port 443 when it may;
- it writes its state only on an orderly end: `POST /_local/save` writes it at once, and so does every minute;
- it keeps a target by its address alone, so that a second task on this machine's one address would be dropped;
- it registers made-up addresses as targets of ECS services, which nothing answers on;
- it does not strip the prefix of `/_alb/NAME/...` when the Host is the balancer's own name, and without the prefix it
  answers /health itself;
- it checks rights on a log stream against `log-group:NAME`, where AWS checks `log-group:NAME:...`, so that the policy
  that is right on AWS is refused;
- what ministack_gaps, ministack_deployments and ministack_registry say.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import iam_actions
from ministack.core.persistence import save_all
from ministack.services import alb, ecs

from local import ministack_deployments, ministack_gaps, ministack_registry

Send = Callable[[dict[str, Any]], Awaitable[None]]
SAVE_EVERY = 60.0
BY_PATH: contextvars.ContextVar[bool] = contextvars.ContextVar("by_path", default=False)


def _target_key(target: dict[str, Any], group: dict[str, Any]) -> tuple[str, int]:
    return str(target["Id"]), int(target.get("Port") or group.get("Port") or 80)


def register_targets(params: dict[str, Any]) -> Any:
    """RegisterTargets with (address, port) as the key, as on AWS."""
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if group is None:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    kept = {_target_key(target, group): target for target in alb._targets.get(arn, [])}
    for target in alb._parse_targets_param(params):
        kept[_target_key(target, group)] = target
    alb._targets[arn] = list(kept.values())
    return alb._empty("RegisterTargets")


def deregister_targets(params: dict[str, Any]) -> Any:
    """DeregisterTargets with (address, port) as the key, as on AWS; an address without a port means all its ports."""
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if group is None:
        return alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    given = alb._parse_targets_param(params)
    pairs = {_target_key(target, group) for target in given if target.get("Port")}
    addresses = {str(target["Id"]) for target in given if not target.get("Port")}
    alb._targets[arn] = [
        target
        for target in alb._targets.get(arn, [])
        if str(target["Id"]) not in addresses and _target_key(target, group) not in pairs
    ]
    return alb._empty("DeregisterTargets")


def log_resource(arn: str, body: bytes) -> str:
    """The resource of a CloudWatch Logs request as AWS spells it, from MiniStack's `arn` of the group."""
    if ":log-group:" not in arn or arn.count(":") != 6:
        return arn
    try:
        request = json.loads(body)
        stream = request.get("logStreamName")
    except (ValueError, AttributeError):
        return arn
    if not request.get("logGroupName"):
        return arn
    return f"{arn}:log-stream:{stream}" if stream else f"{arn}:*"


def _patch() -> None:
    extract = iam_actions.extract_resource_arn
    names = inspect.signature(extract)

    def extract_resource_arn(*arguments: Any, **named: Any) -> str:
        arn: str = extract(*arguments, **named)
        given = names.bind(*arguments, **named).arguments
        return log_resource(arn, given.get("body") or b"") if given["service"] == "logs" else arn

    iam_actions.extract_resource_arn = extract_resource_arn
    handlers = next(value for value in vars(alb).values() if isinstance(value, dict) and "DeregisterTargets" in value)
    handlers["RegisterTargets"] = register_targets
    handlers["DeregisterTargets"] = deregister_targets
    by_host = alb.find_lb_for_host
    alb.find_lb_for_host = lambda host: None if BY_PATH.get() else by_host(host)
    ecs._sync_service_targets = lambda *_: None
    ministack_gaps.fill()
    ministack_deployments.fill()
    layers = Path(os.environ["STATE_DIR"]).parent / "registry"
    ministack_registry.fill(layers, f"https://127.0.0.1:{os.environ['GATEWAY_PORT']}")


def _save() -> None:
    save_all(ministack._build_persistence_save_dict())


async def _save_regularly() -> None:
    while True:
        await asyncio.sleep(SAVE_EVERY)
        _save()


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """MiniStack's ASGI application with the save request in front."""
    if scope["type"] == "http" and scope["path"] == "/_local/save" and scope["method"] == "POST":
        _save()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    BY_PATH.set(scope["type"] == "http" and scope["path"].startswith("/_alb/"))
    await ministack.app(scope, receive, send)


async def _main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['GATEWAY_PORT']}"]
    config.certfile = os.environ["MINISTACK_SSL_CERT"]
    config.keyfile = os.environ["MINISTACK_SSL_KEY"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    saver = asyncio.create_task(_save_regularly())
    try:
        await serve(application, config)  # type: ignore[arg-type]
    finally:
        saver.cancel()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096 if hard == resource.RLIM_INFINITY else min(4096, hard), hard))
    _patch()
    asyncio.run(_main())
    sys.exit(0)
