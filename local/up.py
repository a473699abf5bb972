"""`up`: from nothing, or from whatever an earlier attempt left, to a proven MLflow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.exceptions

from local import aws, config, containers, database, emulators, image, processes, tasks, tls

AGENT = "agent"
# What a person may set for the play; the rest of ANSIBLE_* is of another project of theirs.
ANSIBLE_KEPT = ("ANSIBLE_VERBOSITY", "ANSIBLE_FORCE_COLOR", "ANSIBLE_NOCOLOR")
FAST = "MLFLOW_FAST"


class Progress:
    """Lines that begin with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one line."""
        config.say(f"[{time.monotonic() - self._start:4.0f} s] {text}")


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """Hold the checkout's lock and give its descriptor: a child that has it keeps the lock, should we be killed.

    Raises Trouble where another command holds it.
    """
    config.RUN.mkdir(parents=True, exist_ok=True)
    keep_to_owner(config.STATE, database.runs_as_stranger())
    with open(config.RUN / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise config.Trouble("Another `make up` or `make down` runs in this checkout: wait for it.") from None
        yield lock.fileno()


def keep_to_owner(state: Path, passage: bool) -> None:
    """Take from everybody else what the umask of an earlier version has left them in `state`, where secrets lie.

    With `passage` they may walk through to the databases, whose folders are their user's own, and read nothing.
    """
    databases = state / "rds"
    for path in state.iterdir():
        if path != databases and not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o077)
    for path in (state, databases):
        if path.exists():
            path.chmod(path.stat().st_mode & ~(0o066 if passage else 0o077))


def check_ground() -> None:
    """Raise Trouble where the environment is not there or the disk is full."""
    tool = config.TOOL_PYTHON.parent / "ansible-playbook"
    for program, target in ((tool, ".venv"), (config.SERVER_PYTHON, ".venv-server")):
        if not program.exists():
            raise config.Trouble(f"{target} is missing: run `make venv`.")
    place = next(folder for folder in (config.STATE, *config.STATE.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < 500_000_000:
        raise config.Trouble(f"Only {free // 1_000_000} MB are free under {place}: 500 MB are needed, make room.")


def admin_environment(current: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """What `make env` exports for the stack in `current`. Raises Trouble where it does not stand."""
    key, secret = config.root_keys()
    return {
        **config.network_environment(),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        # An empty token, for one left in the shell would be sent with these keys.
        "AWS_SESSION_TOKEN": "",
        **config.no_proxy(env),
        "MLFLOW_TRACKING_URI": config.front_url(current["stack"]),
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": aws.admin_password(current["stack"]),
        **config.stack_environment(current),
    }


def deployer_credentials(role: str, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of whoever deploys: temporary credentials of `role`, and nothing of another AWS."""
    keys = aws.assume(role, "deployer")
    own = config.own_environment(env)
    return {
        **{name: value for name, value in own.items() if not name.startswith("ANSIBLE_") or name in ANSIBLE_KEPT},
        **({FAST: env[FAST]} if FAST in env else {}),
        **config.network_environment(),
        **config.no_proxy(env),
        "AWS_ACCESS_KEY_ID": keys["access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
        "AWS_SESSION_TOKEN": keys["token"],
        "PATH": f"{config.TOOL_PYTHON.parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(config.TOOL_PYTHON.parent.parent),
        # By name: Ansible ignores the one in the working directory where everybody may write there.
        "ANSIBLE_CONFIG": str(config.ROOT / "ansible.cfg"),
        # Ansible does not start in a locale without UTF-8, or in one that this machine lacks.
        "LC_ALL": "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
    }


def deployer_environment(current: Mapping[str, Any], role: str, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of ansible-playbook for the stack in `current`."""
    return {**deployer_credentials(role, env), **config.stack_environment(current)}


def start_agent() -> bool:
    """Start the agent unless it runs; whether it was started."""
    if processes.running(AGENT):
        return False
    env = {
        **config.own_environment(os.environ),
        **config.no_proxy(os.environ),
        "AWS_EC2_METADATA_DISABLED": "true",
        # By this podman knows the local registry's certificate; docker asks for none on the loopback interface.
        "SSL_CERT_FILE": str(config.TLS / "ca-bundle.pem"),
    }
    processes.start(AGENT, [str(config.TOOL_PYTHON), "-m", "local.agent"], env)
    state = config.RUN / "agent.json"
    began = time.time()
    processes.wait_ready(AGENT, lambda: config.read_json(state).get("time", 0) >= began - 1, 90)
    return True


def _open_ports(stack: config.Stack) -> None:
    ports = config.Ports()
    wanted = config.wanted_port(os.environ)
    front = f"front/{stack.name}"
    agent_runs = processes.running(AGENT) is not None
    if wanted is not None and wanted != ports.get(front):
        if not config.is_free(wanted):
            raise config.Trouble(f"PORT={wanted} is taken by another program: stop it or choose another port.")
        ports.set(front, wanted)
    for purpose, meaning in ((front, "the address of MLflow"), (f"database/{stack.name}", "the database")):
        port = ports.get(purpose)
        if not agent_runs or (not config.is_free(port) and not _is_agents(port)):
            emulators.require_free(meaning, port)


def _is_agents(port: int) -> bool:
    state = config.read_json(config.RUN / "agent.json")
    ends = [str(one.get("url", "")) for one in state.get("fronts", [])]
    return any(end.endswith(f":{port}") for end in ends) or any(
        one.get("port") == port for one in state.get("databases", [])
    )


def prepare(stack: config.Stack, progress: Progress) -> tuple[dict[str, Any], str]:
    """Start the local AWS with what an account has before a first deployment: (current.json, the deployer's ARN)."""
    for folder in (config.STATE, config.RUN, config.LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    tls.ensure()
    _open_ports(stack)
    started = emulators.start()
    progress(f"AWS on this machine {'started' if started else 'runs'} at {config.aws_url()}")
    reference = "build" if stack.engine else image.publish()
    role = aws.ensure_deployer()
    certificate = aws.ensure_certificate() if stack.exposure == "public" else ""
    current = {
        "stack": stack.name,
        "storage": stack.storage,
        "exposure": stack.exposure,
        "image": reference,
        "base": os.environ.get("BASE_IMAGE", ""),
        "certificate": certificate,
    }
    config.write_json(config.CURRENT, current)
    emulators.save()
    progress("agent started" if start_agent() else "agent runs")
    return current, role


def converge(current: Mapping[str, Any], role: str, lock: int, umask: int = -1) -> None:
    """Run the play as the deployer, its output on our own; it inherits `lock`. Raises Trouble when it fails.

    `umask` is that of whoever called, for what the play builds is for other users, too; -1 for this process's.
    """
    program = config.TOOL_PYTHON.parent / "ansible-playbook"
    command = [str(program), "-i", "inventories/local", "site.yml"]
    env = deployer_environment(current, role, os.environ)
    done = subprocess.run(command, cwd=config.ROOT, env=env, pass_fds=(lock,), check=False, umask=umask)
    emulators.save()
    if done.returncode:
        raise config.Trouble(
            "The play failed (see above); everything is left running. `make logs` shows the server's log, "
            "`make status` the tasks; `make up` tries again."
        )


def prove(current: Mapping[str, Any]) -> None:
    """Have a real MLflow client use the stack. Raises Trouble when it cannot."""
    env = {**config.own_environment(os.environ), **admin_environment(current, os.environ)}
    command = [str(config.SERVER_PYTHON), "local/prove.py"]
    if subprocess.run(command, cwd=config.ROOT, env=env, check=False).returncode:
        raise config.Trouble("The client could not use MLflow (see above): `make logs` shows the server's log.")


def up() -> None:
    """The whole of `make up`."""
    stack = config.Stack.wanted(os.environ)
    umask = config.keep_new_files_to_owner()
    check_ground()
    if stack.engine:
        containers.require(stack.engine)
    with only_one() as lock:
        progress = Progress()
        try:
            current, role = prepare(stack, progress)
            progress(f"ansible-playbook -i inventories/local site.yml, stack {stack.name}")
            converge(current, role, lock, umask)
            progress(f"MLflow answers at {config.front_url(stack.name)}")
            progress("a client from outside, through the load balancer")
            prove(current)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise config.Trouble(f"The local AWS refused: {error} (log: .local/logs/ministack.log).") from None
        emulators.save()
        progress("done")
    config.say("")
    if stack.exposure == "public":
        config.say(f"CA:       {config.TLS / 'ca.pem'}, for browsers; what `make -s env` prints trusts it")
    config.say(f"MLflow:   {config.front_url(stack.name)}")
    config.say("User:     admin")
    config.say("Password: make -s env | grep PASSWORD")


def _stop_all() -> bool:
    """Stop tasks, databases, then the emulators, so that all state is written; whether anything ran."""
    with only_one():
        ran = processes.stop(config.read_json(processes.record_path(AGENT)), 100)
        processes.record_path(AGENT).unlink(missing_ok=True)
        _end_agents_children()
        return emulators.stop() or ran


def down() -> None:
    """Stop everything, keep the data."""
    if config.STATE.exists() and _stop_all():
        config.say("Stopped; the data stays. `make up` brings it back, `make clean` removes it.")
    else:
        config.say("Nothing runs here.")


def _end_agents_children() -> None:
    """End what an agent that died before us has left."""
    for record in tasks.leftovers():
        processes.stop(record, 20)
    for running in (config.STATE / "rds").glob("*/postmaster.pid"):
        database.Server(running.parent).stop()
    containers.end_all()
    (config.RUN / "agent.json").unlink(missing_ok=True)


def clean() -> None:
    """Stop everything and remove all state; the environments stay."""
    if not config.STATE.exists():
        return
    _stop_all()
    containers.remove_all()
    for folder in (config.STATE / "rds").glob("*"):
        sockets = database.socket_folder(folder)
        if folder.is_dir() and config.STATE not in sockets.parents:
            shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(config.STATE)
