"""moto for what MiniStack has not: Application Auto Scaling. `python -m local.moto_server PORT JOURNAL`.

Four gaps of moto 5.2.5 are filled from outside: the ECS services live in MiniStack, so it must not look for them;
it has no tags there; it forgets all at the end, so changing calls are kept in JOURNAL and repeated at the start; and it
knows nothing of MiniStack's roles, so whoever is not root is held to the deployer's policy.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.applicationautoscaling import models
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.core.exceptions import JsonRESTError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

from local import aws, config, taskdef

PREFIX = "AnyScaleFrontendService."
CHANGING = ("Register", "Deregister", "Put", "Delete", "Tag", "Untag")
Scaling: Any = ApplicationAutoScalingResponse
TAGS: dict[str, dict[str, str]] = {}
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def patch() -> None:
    """Fill the gaps; may be called again."""
    register, deregister = Scaling.register_scalable_target, Scaling.deregister_scalable_target

    def register_scalable_target(self: Any) -> str:
        answer: str = register(self)
        TAGS.setdefault(json.loads(answer)["ScalableTargetARN"], {}).update(self._get_param("Tags") or {})
        return answer

    def deregister_scalable_target(self: Any) -> str:
        answer: str = deregister(self)
        for arn in TAGS.keys() - {target.arn for target in _targets(self)}:
            # The next target of that name has the same ARN here.
            del TAGS[arn]
        return answer

    def known(self: Any) -> dict[str, str]:
        arn = self._get_param("ResourceARN")
        if not any(target.arn == arn for target in _targets(self)):
            raise JsonRESTError("ResourceNotFoundException", f"No scalable target found for ARN {arn}")
        return TAGS.setdefault(arn, {})

    def tag_resource(self: Any) -> str:
        known(self).update(self._get_param("Tags") or {})
        return "{}"

    def untag_resource(self: Any) -> str:
        tags = known(self)
        for key in self._get_param("TagKeys") or []:
            tags.pop(key, None)
        return "{}"

    def list_tags_for_resource(self: Any) -> str:
        return json.dumps({"Tags": known(self)})

    Scaling.register_scalable_target = register_scalable_target
    Scaling.deregister_scalable_target = deregister_scalable_target
    Scaling.tag_resource = tag_resource
    Scaling.untag_resource = untag_resource
    Scaling.list_tags_for_resource = list_tags_for_resource
    backend: Any = models.ApplicationAutoscalingBackend
    backend._ecs_service_exists_for_target = lambda *_: True
    _lasting_arn(models.FakeScalableTarget, "arn")
    _lasting_arn(models.FakeApplicationAutoscalingPolicy, "policy_arn")


def _lasting_arn(kind: Any, name: str) -> None:
    """Have a replayed call make the ARN that the first one made; moto's are random."""
    make = kind.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        what = (self.resource_id, self.scalable_dimension, getattr(self, "policy_name", ""))
        lasting = hashlib.sha256("/".join(what).encode()).hexdigest()[:36]
        random_part = getattr(self, "_guid", None) or self.arn.rpartition("/")[2]
        setattr(self, name, getattr(self, name).replace(str(random_part), lasting))

    kind.__init__ = init


def _targets(response: Any) -> Iterable[Any]:
    for by_dimension in response.applicationautoscaling_backend.targets.values():
        yield from by_dimension.values()


def denial(authorization: str, target: str) -> str:
    """Why the sender of a request may not make it, or "" if it may; `target` is its X-Amz-Target."""
    key = authorization.partition("Credential=")[2].partition("/")[0]
    action = "application-autoscaling:" + target.removeprefix(PREFIX)
    if not target.startswith(PREFIX) or key == config.root_keys()[0]:
        return ""
    resource = f"arn:aws:application-autoscaling:{config.REGION}:{config.ACCOUNT}:scalable-target/any"
    context = {"application-autoscaling:service-namespace": "ecs", "aws:requestedregion": config.REGION}
    if taskdef.allowed(list(aws.deployer_policies().values()), action, resource, context):
        return ""
    return f"{aws.DEPLOYER} is not authorized to perform: {action} because no identity-based policy allows it"


class Journal:
    """The changing calls that succeeded, one JSON line each: {"target", "authorization", "body"}."""

    def __init__(self, path: Path, inner: Application) -> None:
        self.path = path
        self.inner = inner

    def replay(self) -> None:
        """Repeat the calls of earlier lives."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                call = json.loads(line)
            except ValueError:
                # Half a line, from a crash in the middle of writing it.
                continue
            self._send(call["target"], call["authorization"], call["body"])

    def _send(self, target: str, authorization: str, body: str) -> None:
        raw = body.encode()
        env = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "",
            "SERVER_NAME": config.HOST, "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": f"application-autoscaling.{config.REGION}.amazonaws.com",
            "HTTP_AUTHORIZATION": authorization, "HTTP_X_AMZ_TARGET": target,
            "CONTENT_TYPE": "application/x-amz-json-1.1", "CONTENT_LENGTH": str(len(raw)),
            "wsgi.input": io.BytesIO(raw), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        b"".join(self.inner(env, lambda *_: None))

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        target = env.get("HTTP_X_AMZ_TARGET", "")
        refusal = denial(env.get("HTTP_AUTHORIZATION", ""), target)
        if refusal:
            start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": "AccessDeniedException", "message": refusal}).encode()]
        if not target.removeprefix(PREFIX).startswith(CHANGING):
            return self.inner(env, start)
        raw = env["wsgi.input"].read(int(env.get("CONTENT_LENGTH") or 0))
        env["wsgi.input"] = io.BytesIO(raw)
        statuses: list[str] = []

        def started(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses.append(status)
            return start(status, headers, exc_info)

        answer = list(self.inner(env, started))
        if statuses and statuses[0].startswith("2"):
            # Only the credential scope is of use to a replay: moto takes account and region from it.
            scope = env.get("HTTP_AUTHORIZATION", "").split(",")[0]
            entry = {"target": target, "authorization": scope, "body": raw.decode()}
            with open(self.path, "a") as out:
                # The line break comes first, so that half a line before it spoils no other.
                out.write("\n" + json.dumps(entry))
        return answer


class QuietHandler(WSGIRequestHandler):
    """No line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main(port: int, path: Path) -> None:
    """Serve until told to end."""
    patch()
    application = Journal(path, DomainDispatcherApplication(create_backend_app))
    application.replay()
    pair = (str(config.TLS / "localhost.pem"), str(config.TLS / "localhost.key"))
    run_simple(config.HOST, port, application, threaded=True, ssl_context=pair, request_handler=QuietHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
