"""The servers as they run, one on each storage: processes, ports, secrets, health, and the way to the database."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from typing import Any

import pytest
from testinfra.host import Host

from tests.image import engine as machine

PROGRAM = "/opt/mlflow/entrypoint.py"
# What runs besides this probe itself, and the addresses it listens on, by the sockets that it holds.
PROCESSES = """
import glob, json, os
own, found, sockets = os.getpid(), {}, set()
for folder in glob.glob("/proc/[0-9]*"):
    pid = int(folder[6:])
    try:
        status = dict(line.split(":", 1) for line in open(folder + "/status").read().splitlines())
        found[pid] = {"parent": int(status["PPid"]), "uid": status["Uid"].split()[0],
                      "argv": open(folder + "/cmdline").read().split("\\0")[:-1]}
        sockets |= {os.readlink(fd) for fd in glob.glob(folder + "/fd/*")}
    except OSError: pass
for pid in [pid for pid, one in found.items() if pid == own or found[own]["parent"] == pid and pid != 1]: del found[pid]
listening = []
for table in ("tcp", "tcp6"):
    for line in open("/proc/net/" + table).read().splitlines()[1:]:
        local, state, inode = [line.split()[column] for column in (1, 3, 9)]
        if state == "0A" and f"socket:[{inode}]" in sockets: listening.append(int(local.rpartition(":")[2], 16))
print(json.dumps({"processes": found, "listening": sorted(set(listening))}))
"""


def look(host: Host) -> dict[str, Any]:
    """Processes by id, and ports."""
    seen: dict[str, Any] = json.loads(host.check_output("python -c %s", PROCESSES))
    return seen


def hidden(facts: dict[str, Any], storage: str) -> list[str]:
    """The secrets that this server was given."""
    told = facts["environment"] | facts["login"] | facts["databases"].get(storage, {})
    return [value for name, value in told.items() if re.search("PASSWORD|SECRET", name)]


def ask(facts: dict[str, Any], port: int, path: str, body: object = None) -> Any:
    """The answer of the server's API, logged in as its administrator."""
    login = f"admin:{facts['login']['MLFLOW_AUTH_ADMIN_PASSWORD']}"
    headers = {
        "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        "Content-Type": "application/json",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{machine.HOST}:{port}/api/2.0/mlflow/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_only_the_own_port_is_open(running: Host, storage: str, port: int) -> None:
    assert look(running)["listening"] == [5000 if storage == "sqlite" else port]


def test_processes(running: Host, storage: str) -> None:
    processes = look(running)["processes"]
    assert {one["uid"] for one in processes.values()} == {"10001"}
    (init,) = [one for pid, one in processes.items() if pid == "1"]
    assert "init" in init["argv"][0] or "catatonit" in init["argv"][0]
    # The entrypoint became the server: SIGTERM reaches it with nobody in between.
    ((server, argv),) = [(pid, one["argv"]) for pid, one in processes.items() if one["parent"] == 1]
    assert argv[1:4] == ["-m", "mlflow", "server"]
    ((web, argv),) = [(pid, one["argv"]) for pid, one in processes.items() if one["parent"] == int(server)]
    assert argv[1:3] == ["-m", "uvicorn"]
    # One worker is the web server itself.
    spawned = [one for one in processes.values() if one["parent"] == int(web) and "spawn_main" in str(one["argv"])]
    assert len(spawned) == (0 if storage == "sqlite" else 2)
    assert not [one for one in processes.values() if re.search(r"(^|/)(ba|da)?sh$", one["argv"][0])]


def test_no_secret_in_arguments_or_log(
    running: Host, container: machine.Container, facts: dict[str, Any], storage: str
) -> None:
    arguments = [word for one in look(running)["processes"].values() for word in one["argv"]]
    started = container.inspect("{{json .Args}} {{json .Config.Cmd}}")
    secrets = hidden(facts, storage)
    assert len(secrets) >= 1 if storage == "sqlite" else len(secrets) >= 4
    log = container.logs()
    assert "Uvicorn running" in log
    for secret in secrets:
        assert not [word for word in arguments if secret in word]
        assert secret not in started and secret not in log


def test_health(running: Host) -> None:
    assert running.run(f"python {PROGRAM} health").rc == 0
    # Nobody listens on port 1.
    refused = running.run(f"env MLFLOW_PORT=1 python {PROGRAM} health")
    assert refused.rc == 1
    assert len(refused.stderr.strip().splitlines()) == 1 and "127.0.0.1:1/health" in refused.stderr


def test_version(running: Host) -> None:
    assert re.fullmatch(r"mlflow 3\.\d+\.\d+, python 3\.\d+\.\d+", running.check_output(f"python {PROGRAM} version"))


def test_check(running: Host) -> None:
    done = running.run(f"python {PROGRAM} check")
    assert (done.rc, done.stdout.count("all is well")) == (0, 1), done.stderr


def test_login(running: Host, storage: str, port: int) -> None:
    url = f"http://{machine.HOST}:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    # The one with the least to be told has no login.
    assert machine.answers(url) == (storage == "sqlite")


def test_a_run_is_kept(running: Host, facts: dict[str, Any], port: int) -> None:
    run = ask(facts, port, "runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    ask(facts, port, "runs/log-metric", {"run_id": run, "key": "loss", "value": 0.25, "timestamp": 1, "step": 1})
    data = ask(facts, port, f"runs/get?run_id={run}")["run"]["data"]
    assert [(metric["key"], metric["value"]) for metric in data["metrics"]] == [("loss", 0.25)]


def test_sessions_are_encrypted(engine: machine.Engine, facts: dict[str, Any]) -> None:
    database = machine.Container(engine, facts["servers"]["postgresql"])
    sessions = "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
    question = f"SELECT count(*), bool_and(ssl) FROM {sessions}"
    port = facts["databases"]["postgresql"]["MLFLOW_DB_PORT"]
    done = database.exec("psql", "-At", "-p", port, "-U", "mlflow_app", "-d", "mlflow", "-c", question, user="postgres")
    count, encrypted = done.stdout.strip().split("|")
    assert int(count) > 0 and encrypted == "t", done


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
@pytest.mark.parametrize("doubt", ["name", "authority"])
def test_a_database_that_cannot_prove_who_it_is_gets_no_password(
    engine: machine.Engine, facts: dict[str, Any], dialect: str, doubt: str
) -> None:
    env = facts["environment"] | facts["databases"][dialect]
    options = [*machine.FARGATE, *machine.NETWORK, "--volume", f"{facts['authority']}:/ca.pem:ro"]
    if doubt == "name":
        options += ["--add-host", f"other.test:{machine.HOST}"]
        env |= {"MLFLOW_DB_HOST": "other.test"}
    else:
        # The bundle in the image does not know the authority of these tests.
        del env["MLFLOW_DB_CA_FILE"]
    with machine.container(engine, facts["image"], *options, command=("check",), env=env) as checked:
        assert checked.wait() == 1
        log = checked.logs().strip()
    assert len(log.splitlines()) == 1 and "cannot use the database" in log
    assert re.search("certificate|host ?name", log, re.IGNORECASE), log
