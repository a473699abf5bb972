"""The floor: the calls that a run made, sent again by boto3 alone. `python -m bench.floor RECORD [THREADS]`.

RECORD is what bench.moto_server wrote with --record. Nothing decides here what to ask: boto3 signs, sends and parses
each request as it was, one after the other or in THREADS threads. No tool that makes these calls in Python can be
faster than that, unless it makes fewer.
"""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
from botocore.awsrequest import prepare_request_dict

# How a service signs, where boto3 calls it otherwise.
CLIENTS = {"elasticloadbalancing": "elbv2", "elasticfilesystem": "efs"}


def operation(client: Any, call: dict[str, Any]) -> Any:
    """The operation of a recorded call; KeyError when the service's model has none like it."""
    model = client.meta.service_model
    if call["target"]:
        return model.operation_model(call["target"].rpartition(".")[2])
    action = dict(parse_qsl(call["body"])).get("Action")
    if action:
        return model.operation_model(action)
    keys = set(dict(parse_qsl(call["query"], keep_blank_values=True)))
    found = [one for one in map(model.operation_model, model.operation_names) if matches(one, call)]
    # The most specific: `GET /bucket?tagging` is no listing of the bucket.
    found.sort(key=lambda one: len(fixed_keys(one) & keys))
    if not found:
        raise KeyError(call["name"])
    return found[-1]


def fixed_keys(model: Any) -> set[str]:
    """The keys that every query of an operation has."""
    fixed = {key for key, _ in parse_qsl(model.http["requestUri"].partition("?")[2], keep_blank_values=True)}
    shape = model.input_shape
    members = [shape.members[name].serialization for name in shape.required_members] if shape else []
    return fixed | {one["name"] for one in members if one.get("location") == "querystring"}


def matches(model: Any, call: dict[str, Any]) -> bool:
    """Whether a call of a REST service may be of this operation."""
    if model.http["method"] != call["method"]:
        return False
    path = re.escape(model.http["requestUri"].partition("?")[0].rstrip("/"))
    pattern = re.sub(r"\\\{[^}]*\\\+\\\}", ".+", path)
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern)
    keys = set(dict(parse_qsl(call["query"], keep_blank_values=True)))
    return bool(re.fullmatch(pattern, call["path"].rstrip("/"))) and fixed_keys(model) <= keys


def send(clients: dict[str, Any], call: dict[str, Any]) -> int:
    """Make one recorded call and parse its answer; the HTTP status."""
    client = clients[call["service"]]
    model = operation(client, call)
    headers = {"Content-Type": call["type"]} if call["type"] else {}
    if call["target"]:
        headers["X-Amz-Target"] = call["target"]
    request: dict[str, Any] = {
        "url_path": call["path"],
        "query_string": dict(parse_qsl(call["query"], keep_blank_values=True)),
        "method": call["method"],
        "headers": headers,
        "body": call["body"].encode(),
    }
    context = {
        "client_region": client.meta.region_name,
        "client_config": client.meta.config,
        "has_streaming_input": False,
        "auth_type": model.auth_type,
    }
    prepare_request_dict(request, client.meta.endpoint_url, context=context)
    http, _ = client._endpoint.make_request(model, request)
    status: int = http.status_code
    return status


def replay(calls: list[dict[str, Any]], threads: int) -> list[int]:
    """Send all calls; their statuses in order. Thread-safe clients are shared, one per service."""
    session = boto3.session.Session()
    names = sorted({call["service"] for call in calls})
    clients = {name: session.client(CLIENTS.get(name, name)) for name in names}
    if threads == 1:
        return [send(clients, call) for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(partial(send, clients), calls))


def main() -> int:
    """Replay the record; 1 when a call was not understood by the service."""
    calls = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    statuses = replay(calls, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    # A look for what is not there is answered with 404 or 400; nobody refuses the request itself.
    strange = [f"{call['name']}: {status}" for call, status in zip(calls, statuses, strict=True) if status >= 500]
    print(len(calls), "calls", *strange, sep="\n")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main())
