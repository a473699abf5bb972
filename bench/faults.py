"""Faults of a network and of AWS, around an emulator: answers that get lost, kills, throttling, refusals.

`Faults` is a WSGI application around another. What it does to which call is a list of `Fault`s, as JSON in a file
(`python -m bench.moto_server ... --faults FILE`) or by POST to /moto-api/faults at run time; GET on that path answers
{"hits": [...], "calls": [...]}: the faults that happened and the changing calls since the last POST, in order.

Calls are named "service Operation", as botocore names them: "ec2 CreateVpc", "s3 PutBucketPolicy". Calls that only
read are never touched.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import io
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import botocore.exceptions
import botocore.session

CONTROL = "/moto-api/faults"
KINDS = ("lost", "killed before", "killed after", "throttled", "refused")
READS = re.compile(r"^(Describe|Get|List|Head|Lookup|BatchGet|BatchCheck|Search|Simulate|Assume|Decode|Filter)")
# Services that botocore knows by another name than the one they sign with.
NAMES = {"elasticloadbalancing": "elbv2", "elasticfilesystem": "efs", "monitoring": "cloudwatch"}
XML_SERVICES = ("s3", "route53", "cloudfront")
# How a request says that it is the same one as before: AWS then gives the first answer again.
CLIENT_TOKENS = ("ClientToken", "clientToken", "ClientRequestToken", "clientRequestToken", "IdempotencyToken")
LARGEST_BODY = 1_000_000
# What AWS says of an action that no policy allows; the principal is moto's.
DENIAL = (
    "User: arn:aws:iam::123456789012:user/deployer is not authorized to perform: {action} on resource: * because no "
    "identity-based policy allows the {action} action"
)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Fault:
    """What happens to which call.

    Attributes:
        call: "service Operation", with * and ? as in file names.
        but: calls among them that it does not happen to, in the same form.
        kind: one of KINDS. A lost answer is that of a call that was carried out; a call that is throttled or refused
            was not.
        nth: the first matching call that it happens to, from 1.
        times: how many matching calls in a row it happens to.
        each: count every distinct request for itself, so that each loses its first answer.
        code: AWS's error code, where it is not the service's usual one for this kind.
        message: AWS's sentence with it.
        pid: the process that a kill ends, with all that descend from it; 0 for none.
    """

    call: str
    kind: str
    but: list[str] = field(default_factory=list)
    nth: int = 1
    times: int = 1
    each: bool = False
    code: str = ""
    message: str = ""
    pid: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a kind that there is not."""
        if self.kind not in KINDS:
            raise ValueError(f"fault '{self.kind}' is none of {', '.join(KINDS)}")

    def matches(self, name: str) -> bool:
        """Return whether it is about calls of this name."""
        return fnmatch.fnmatchcase(name, self.call) and not any(fnmatch.fnmatchcase(name, but) for but in self.but)


@dataclass(frozen=True)
class Call:
    """One request: service as it signs, operation, protocol (ec2, query, json, rest-xml, rest-json) and a digest."""

    service: str
    operation: str
    protocol: str
    digest: str

    @property
    def name(self) -> str:
        """As faults name it."""
        return f"{self.service} {self.operation}"


# --- what a request is ------------------------------------------------------------------------------------------------


@functools.cache
def rest_operations(service: str) -> list[tuple[str, re.Pattern[str], frozenset[str], str]]:
    """The operations of a REST service, those that ask for most first: (method, path, query keys, name)."""
    model = botocore.session.get_session().get_service_model(NAMES.get(service, service))
    found = []
    for name in model.operation_names:
        path, _, query = model.operation_model(name).http["requestUri"].partition("?")
        # Of S3 the bucket is in the path, behind a host that is a number.
        pattern = re.sub(r"\{(\w+)(\+?)\}", lambda part: ".+" if part[2] else "[^/]+", path.rstrip("/")) + "/?"
        shape = model.operation_model(name).input_shape
        asked = [shape.members[member].serialization for member in shape.required_members] if shape else []
        keys = {each["name"] for each in asked if each.get("location") == "querystring"} | set(query.split("&")) - {""}
        found.append((model.operation_model(name).http["method"], re.compile(pattern), frozenset(keys), name))
    return sorted(found, key=lambda each: (-len(each[2]), -len(each[1].pattern.replace("[^/]+", "")), each[3]))


def rest_operation(service: str, method: str, path: str, query: str, copies: bool = False) -> str:
    """The operation of a REST request, its method if no model knows it; with `copies` a header names a source."""
    present = set(query.split("&")) | {part.partition("=")[0] for part in query.split("&")}
    with suppress(botocore.exceptions.UnknownServiceError):
        for verb, pattern, keys, name in rest_operations(service):
            if verb == method and keys <= present and pattern.fullmatch(path) and copies == ("Copy" in name):
                return name
    return method.title()


def call_of(env: dict[str, Any], body: bytes) -> Call:
    """Which call a request makes."""
    scope = env.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
    service = scope[3] if len(scope) > 3 else "?"
    path, query = env["PATH_INFO"], env.get("QUERY_STRING", "")
    # boto3 draws a new token for a call that is made again; it asks for the same.
    token = client_token(body).encode()
    asked = body.replace(token, b"") if token else body
    digest = hashlib.sha256(b"\0".join([env["REQUEST_METHOD"].encode(), path.encode(), query.encode(), asked]))
    protocol, operation = "rest-xml" if service in XML_SERVICES else "rest-json", ""
    if target := env.get("HTTP_X_AMZ_TARGET"):
        protocol, operation = "json", target.rpartition(".")[2]
        digest.update(target.encode())
    elif env["REQUEST_METHOD"] == "POST" and service not in XML_SERVICES and not body.startswith(b"{"):
        operation = parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
        protocol = ("ec2" if service == "ec2" else "query") if operation else protocol
    copies = "HTTP_X_AMZ_COPY_SOURCE" in env
    operation = operation or rest_operation(service, env["REQUEST_METHOD"], path, query, copies)
    return Call(service, operation, protocol, digest.hexdigest())


def client_token(body: bytes) -> str:
    """The client token in a body, form or JSON; "" without one."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError):
        values = json.loads(text)
        return next((str(values[key]) for key in CLIENT_TOKENS if values.get(key)), "")
    values = parse_qs(text)
    return next((values[key][0] for key in CLIENT_TOKENS if key in values), "")


# --- how AWS refuses --------------------------------------------------------------------------------------------------


def error_of(call: Call, fault: Fault) -> tuple[int, str, str]:
    """(HTTP status, code, message) of a throttled or refused call, each as that service says it."""
    if fault.kind == "throttled":
        codes = {"ec2": (503, "RequestLimitExceeded"), "query": (400, "Throttling"), "rest-xml": (503, "SlowDown")}
        status, code = codes.get(call.protocol, (400, "ThrottlingException"))
        return status, fault.code or code, fault.message or "Rate exceeded"
    codes = {"ec2": (403, "UnauthorizedOperation"), "query": (403, "AccessDenied"), "rest-xml": (403, "AccessDenied")}
    status, code = codes.get(call.protocol, (400, "AccessDeniedException"))
    if fault.code and fault.code != code:
        return 400, fault.code, fault.message or f"{fault.code}."
    denial = DENIAL.format(action=f"{call.service}:{call.operation}")
    opening = "You are not authorized to perform this operation. " if call.protocol == "ec2" else ""
    return status, code, fault.message or opening + denial


def error_answer(call: Call, code: str, message: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """(content type, further headers, body) of an error in the protocol of the call."""
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    request = "<RequestId>00000000-0000-0000-0000-000000000000</RequestId>"
    if call.protocol == "ec2":
        text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>"
        return "text/xml", [], text.encode()
    if call.protocol == "query" or call.service == "route53":
        text = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>{request}</ErrorResponse>"
        return "text/xml", [], text.encode()
    if call.protocol == "rest-xml":
        return "application/xml", [], f"<Error>{error}{request}</Error>".encode()
    if call.protocol == "json":
        return "application/x-amz-json-1.1", [], json.dumps({"__type": code, "message": message}).encode()
    return "application/json", [("x-amzn-errortype", code)], json.dumps({"message": message}).encode()


# --- kills ------------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> Iterator[int]:
    """The process and all that descend from it and whose parents are still there."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, [])


def kill(pid: int) -> None:
    """End a process and its descendants as if the machine went off: first none may go on, then none is left."""
    stopped: set[int] = set()
    while found := [one for one in descendants(pid) if one not in stopped]:
        for one in found:
            stopped.add(one)
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
    for one in stopped:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


# --- the layer --------------------------------------------------------------------------------------------------------


class Faults:
    """The application around the emulator."""

    def __init__(self, inner: Application, faults: Iterable[Fault] = ()) -> None:
        self.inner = inner
        self.lock = threading.Lock()
        self.answers: dict[tuple[str, str], tuple[str, list[tuple[str, str]], bytes]] = {}
        self.arm(faults)

    def arm(self, faults: Iterable[Fault]) -> None:
        """Have these faults from now on, and no others; begin to count."""
        self.faults = list(faults)
        self.counts: dict[tuple[int, str], int] = {}
        self.hits: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if env["PATH_INFO"] == CONTROL:
            return self.control(env, start)
        if env["PATH_INFO"].startswith("/moto-api"):
            if env["PATH_INFO"] == "/moto-api/reset":
                self.answers.clear()
            return self.inner(env, start)
        body = take_body(env)
        call = call_of(env, body)
        if READS.match(call.operation):
            return self.inner(env, start)
        fault = self.fault_for(call)
        if fault is None:
            return self.carry_out(env, start, call, body)
        if fault.kind in ("throttled", "refused"):
            status, code, message = error_of(call, fault)
            content, headers, answer = error_answer(call, code, message)
            start(f"{status} Error", [("Content-Type", content), ("Content-Length", str(len(answer))), *headers])
            return [answer]
        if fault.kind != "killed before":
            # To the end, and to nobody.
            list(self.carry_out(env, lambda *_: None, call, body))
        if fault.kind != "lost" and fault.pid > 1:
            kill(fault.pid)
        hang_up(env)
        raise ConnectionResetError

    def carry_out(self, env: dict[str, Any], start: Callable[..., Any], call: Call, body: bytes) -> Iterable[bytes]:
        """Ask the emulator; a request with the client token of an earlier one gets its answer, as moto forgets them."""
        token = client_token(body)
        if not token:
            return self.inner(env, start)
        key = (call.name, token)
        if key not in self.answers:
            begun: list[tuple[str, list[tuple[str, str]]]] = []
            answer = b"".join(self.inner(env, lambda status, headers, *_: begun.append((status, headers))))
            status, headers = begun[0]
            if not status.startswith("2"):
                start(status, headers)
                return [answer]
            self.answers[key] = (status, headers, answer)
        status, headers, answer = self.answers[key]
        start(status, headers)
        return [answer]

    def fault_for(self, call: Call) -> Fault | None:
        """The fault that happens to this call; counts it."""
        with self.lock:
            self.calls.append(call.name)
            happens = None
            for number, fault in enumerate(self.faults):
                if not fault.matches(call.name):
                    continue
                key = (number, call.digest if fault.each else "")
                self.counts[key] = count = self.counts.get(key, 0) + 1
                if happens is None and fault.nth <= count < fault.nth + fault.times:
                    happens = fault
            if happens:
                self.hits.append({"call": call.name, "kind": happens.kind, "at": time.time()})
            return happens

    def control(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Take new faults, or say what happened."""
        with self.lock:
            try:
                if env["REQUEST_METHOD"] == "POST":
                    self.arm(load(take_body(env)))
                status, answer = "200 OK", json.dumps({"hits": self.hits, "calls": self.calls})
            except (ValueError, TypeError) as error:
                status, answer = "400 Bad Request", json.dumps({"message": str(error)})
        start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer.encode()]


def load(text: bytes | str) -> list[Fault]:
    """The faults in a JSON list of objects. Raises ValueError or TypeError for what is none."""
    return [Fault(**fault) for fault in json.loads(text or "[]")]


def dump(faults: Iterable[Fault]) -> str:
    """The faults as JSON."""
    return json.dumps([asdict(fault) for fault in faults])


def take_body(env: dict[str, Any]) -> bytes:
    """The body of a request, which stays to be read; b"" for one that is too large to be only parameters."""
    length = int(env.get("CONTENT_LENGTH") or 0)
    if not 0 < length < LARGEST_BODY:
        return b""
    body: bytes = env["wsgi.input"].read(length)
    env["wsgi.input"] = io.BytesIO(body)
    return body


def hang_up(env: dict[str, Any]) -> None:
    """Close the connection of a request in its middle."""
    connection: socket.socket | None = env.get("werkzeug.socket")
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
