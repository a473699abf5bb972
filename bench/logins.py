"""What a request costs with and without a login: `python -m bench.logins`; writes its figures into docs/image.md.

One worker a server, all on one PostgreSQL with TLS: this image's entrypoint, and MLflow's own server as it comes. CPU
is that of the server's processes; requests a second depend on who else computes on this machine.
"""

from __future__ import annotations

import argparse
import datetime
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench import server as servers
from local import config
from scripts import generate_docs

PAGE = config.ROOT / "docs" / "image.md"
MARKERS = ("<!-- logins: start -->", "<!-- logins: end -->")
# The first server makes the administrator, and all are on one database.
PASSWORD = secrets.token_hex(12)
REQUESTS = 80
CLIENTS = 8
REMEMBERED, DEFAULT = "this image: remembered for 60 s", "MLflow's default login"


class Side(NamedTuple):
    """`ours` is this image's entrypoint, else MLflow's own server; `own` are variables that it is given."""

    ours: bool
    own: Mapping[str, str] = {}


SIDES = {
    REMEMBERED: Side(True),
    "this image: `mlflow_auth_cache_seconds: 0`": Side(True, {"MLFLOW_AUTH_CACHE_SECONDS": "0"}),
    "this image: `mlflow_auth: none`": Side(True, {"MLFLOW_AUTH": "none"}),
    DEFAULT: Side(False),
    "no login: the ECS demo; the CDK module behind its nginx": Side(False, {"MLFLOW_AUTH": "none"}),
    "no login, no pool: the App Runner image behind its nginx": Side(
        False, {"MLFLOW_AUTH": "none", "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
    ),
}


class Cost(NamedTuple):
    """`cpu` is ms of the server's CPU a request, `rate` requests a second by CLIENTS clients."""

    cpu: float
    rate: float


def kinds(experiment: str, run: str) -> dict[str, Callable[[servers.Client], int]]:
    """The requests that are measured: each returns its status."""

    def post(path: str, body: object) -> Callable[[servers.Client], int]:
        return lambda client: client.ask("POST", f"{servers.API}/{path}", body)[0]

    metric = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": 1, "step": 1}
    return {
        "experiments/get": lambda client: client.get(f"experiments/get?experiment_id={experiment}"),
        "runs/search": post("runs/search", {"experiment_ids": [experiment], "max_results": 10}),
        "runs/create": post("runs/create", {"experiment_id": experiment}),
        "runs/log-metric": post("runs/log-metric", metric),
    }


def cost(server: servers.Server, ask: Callable[[servers.Client], int], requests: int, clients: int) -> Cost:
    """Send `requests` by so many clients, which have all sent one before. Raises Failed for any but a 200."""
    local = threading.local()

    def one(_: int) -> int:
        if not hasattr(local, "client"):
            local.client = server.client()
        return ask(local.client)

    together = threading.Barrier(clients)

    def first(number: int) -> int:
        together.wait()
        return one(number)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(first, range(clients)))
        cpu, begin = server.cpu(), time.monotonic()
        answers = list(pool.map(one, range(requests)))
        wall, cpu = time.monotonic() - begin, server.cpu() - cpu
    if set(answers) != {200}:
        raise servers.Failed(f"answers were {sorted(set(answers))}")
    return Cost(cpu / requests * 1000, requests / wall)


def costs_of(folder: Path, database: Mapping[str, str], side: Side, requests: int) -> dict[str, Cost]:
    """The cost of each kind of request on a server of this side."""
    with servers.running(folder, database, PASSWORD, ours=side.ours, **side.own) as server:
        client = server.client()
        experiment = client.do("POST", "experiments/create", name=f"costs {server.port} {time.time()}")["experiment_id"]
        run = client.do("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
        return {name: cost(server, ask, requests, CLIENTS) for name, ask in kinds(experiment, run).items()}


def measured(requests: int) -> Iterator[tuple[str, dict[str, Cost]]]:
    """Each side with its costs; the database is one, and its schema is there before."""
    with tempfile.TemporaryDirectory() as scratch, servers.postgres(Path(scratch)) as database:
        folder = Path(scratch, "servers")
        with servers.running(folder, database.env, PASSWORD):
            pass
        for name, side in SIDES.items():
            yield name, costs_of(folder, database.env, side, requests)


def table(found: Mapping[str, Mapping[str, Cost]], requests: int, about: Mapping[str, str]) -> str:
    """The figures as Markdown."""
    names = list(next(iter(found.values())))
    lines = [
        f"| login | {' | '.join(f'`{name}`' for name in names)} | all, requests/s | by its CPU, requests/s |",
        "|---|" + "--:|" * (len(names) + 2),
    ]
    for name, costs in found.items():
        cells = [f"{costs[kind].cpu:.0f} ms" for kind in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {rate(costs):.1f} | {1000 / mean(costs):.1f} |")
    ratio = mean(found[DEFAULT]) / mean(found[REMEMBERED])
    lines += [
        "",
        f"A remembered login takes 1/{ratio:.1f} of the CPU of MLflow's default, over all four.",
        "",
        f"{requests} requests of each kind by {CLIENTS} clients at once, on {datetime.date.today()}. "
        f"{about['processor']}, {about['memory']}, {about['system']}; "
        f"up to {about['busy']} of the machine was taken by others.",
    ]
    return "\n".join(lines)


def rate(costs: Mapping[str, Cost]) -> float:
    """Requests a second over all kinds, each as often."""
    return len(costs) / sum(1 / one.rate for one in costs.values())


def mean(costs: Mapping[str, Cost]) -> float:
    """CPU ms of a request over all kinds."""
    return sum(one.cpu for one in costs.values()) / len(costs)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure what a login costs; writes docs/image.md.")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests of each kind on each side")
    chosen = parser.parse_args()
    busy = machine.wait_until_quiet()
    found = {}
    for name, costs in measured(chosen.requests):
        print(name, {kind: (round(one.cpu), round(one.rate, 1)) for kind, one in costs.items()}, flush=True)
        found[name] = costs
    about = {**machine.description(), "busy": f"{max(busy, machine.share(1)):.0%}"}
    text = table(found, chosen.requests, about)
    PAGE.write_text(generate_docs.replaced(PAGE.read_text(), MARKERS, f"{text}\n", PAGE))
    print(PAGE, flush=True)


if __name__ == "__main__":
    main()
