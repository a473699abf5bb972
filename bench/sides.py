"""The sides: what each runs, in which environment, against an AWS of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import machine
from bench.faults import CONTROL, Fault, dump
from bench.figures import Step
from local import config

ROOT = Path(__file__).resolve().parents[1]
INVENTORY = ROOT / "bench" / "inventory"
STACK = "bench-1"
TEN = 10
REGION = "eu-west-1"
ACCOUNT = "123456789012"
START_SECONDS = 60
# What a shell may have set for another AWS, Ansible, Python or Terraform.
FOREIGN = ("AWS_", "ANSIBLE_", "MLFLOW_", "PYTHON", "TF_")
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTINGTESTING12",
    "AWS_SECRET_ACCESS_KEY": "testing-testing-testing-testing-testing1",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
CHECK_FIRST = "Check with `ansible-playbook -i bench/inventory site.yml` what it is."


class Failed(Exception):
    """A step did not end as it must, or what is needed is not there; the message is one sentence or more."""


def own_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What of `env` no side would take for its settings, with this interpreter's programs first."""
    kept = {name: value for name, value in env.items() if not name.startswith(FOREIGN)}
    programs = Path(sys.executable).parent
    return {**kept, "PATH": f"{programs}{os.pathsep}{env.get('PATH', os.defpath)}", "LC_ALL": "C.UTF-8"}


class Cloud:
    """One bench.moto_server with its logs in `folder`; a context manager."""

    def __init__(self, folder: Path, latency_ms: float = 0, pending: float | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "calls"
        self.record = folder / "record"
        self.port = config.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "bench.moto_server", str(self.port), str(latency_ms), str(self.log)]
        command += ["--record", str(self.record)]
        command += [] if pending is None else ["--pending", str(pending)]
        moto = {"MOTO_ACCOUNT_ID": ACCOUNT, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        with (folder / "server").open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**own_environment(os.environ), **moto}, stdout=output, stderr=output
            )

    def __enter__(self) -> Cloud:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise Failed(f"bench.moto_server did not start:\n{(self.folder / 'server').read_text()[-2000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _ask(self, path: str, method: str, body: str | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.url + path, method=method, data=body.encode() if body else None)
        with opener.open(request, timeout=10) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        try:
            self._ask("/moto-api/", "GET")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def reset(self) -> None:
        """Forget all resources."""
        self._ask("/moto-api/reset", "POST")

    def finish(self) -> None:
        """Have all that is pending ready."""
        self.process.send_signal(signal.SIGUSR1)

    def arm(self, *faults: Fault) -> None:
        """Have these faults from now on, and no others."""
        self._ask(CONTROL, "POST", dump(faults))

    def happened(self) -> tuple[list[str], list[str]]:
        """Since `arm`: the faults that happened as "kind: service Operation", and the changing calls."""
        answer = json.loads(self._ask(CONTROL, "GET"))
        return [f"{hit['kind']}: {hit['call']}" for hit in answer["hits"]], answer["calls"]

    def calls(self) -> list[str]:
        """The lines of the log so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def records(self) -> list[str]:
        """The calls so far, each a line of JSON."""
        return self.record.read_text().splitlines() if self.record.exists() else []

    def environment(self) -> dict[str, str]:
        """The environment of whoever uses this AWS."""
        return {**own_environment(os.environ), **AWS, "AWS_ENDPOINT_URL": self.url}


def measure(
    cloud: Cloud, number: int, side: str, step: str, command: Sequence[str], cwd: Path = ROOT, **extra: str
) -> Step:
    """Run one step to its end, with `extra` in its environment. Raises Failed with the end of its output."""
    result, output = cloud.folder / "cost.json", cloud.folder / f"{number}-{side}-{step}.log"
    calls, server, others = len(cloud.calls()), machine.cpu_of(cloud.process.pid), machine.busy()
    environment = {**cloud.environment(), **extra}
    script = [sys.executable, str(ROOT / "bench" / "cpu.py"), str(result), *command]
    with output.open("w") as file:
        process = subprocess.Popen(
            script, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    cost = json.loads(result.read_text())
    result.unlink()
    if cost["code"]:
        raise Failed(f"{side} {step} ended with {cost['code']}:\n{output.read_text()[-3000:]}")
    server = machine.cpu_of(cloud.process.pid) - server
    taken = machine.busy() - others - cost["cpu"] - server
    return Step(
        number,
        side,
        step,
        cost["wall"],
        cost["cpu"],
        server,
        len(cloud.calls()) - calls,
        max(0.0, taken / cost["total"] / (os.cpu_count() or 1)),
    )


def converge(inventory: Path = INVENTORY) -> list[str]:
    """The command that converges the stacks of an inventory."""
    return ["ansible-playbook", "-i", str(inventory), "site.yml"]


def every_task() -> list[str]:
    """The command that converges the one stack, and does not end where it sees that nothing differs."""
    return [*converge(), "-e", '{"mlflow_full_run": true}']


def destroy() -> list[str]:
    """The command that removes the one stack."""
    return [
        "ansible-playbook",
        "-i",
        str(INVENTORY),
        "playbooks/destroy.yml",
        "-e",
        f"mlflow_destroy_confirm={STACK}",
    ]


def ten_names() -> list[str]:
    """The ten stacks, none of which is the one."""
    return [f"bench-ten-{number:02}" for number in range(1, TEN + 1)]


def ten_inventory(folder: Path) -> Path:
    """Write an inventory of ten stacks with the settings of the one."""
    inventory = folder / "inventory"
    inventory.mkdir(parents=True)
    (inventory / "group_vars").symlink_to(INVENTORY / "group_vars")
    (inventory / "hosts").write_text("\n".join(["[mlflow]", *ten_names(), ""]))
    return inventory


def remove_outputs() -> None:
    """Remove the files that the stacks of the bench left in outputs/."""
    for name in (STACK, *ten_names()):
        (ROOT / "outputs" / f"{name}.json").unlink(missing_ok=True)


class Terraform:
    """The yardstick in a folder of its own."""

    def __init__(self, source: Path, folder: Path, cloud: Cloud) -> None:
        self.cloud = cloud
        self.folder = folder
        self.program = shutil.which("terraform") or "terraform"
        folder.mkdir(parents=True)
        for file in source.glob("*.tf"):
            shutil.copy(file, folder)
        self.extra = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        mirror = Path(os.environ.get("YARDSTICK_PLUGINS", "/opt/tf-plugins"))
        if mirror.is_dir():
            settings = folder / "terraform.rc"
            settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
            self.extra["TF_CLI_CONFIG_FILE"] = str(settings)
        self.version = machine.terraform_version(self.program, {**cloud.environment(), **self.extra})

    def run(self, number: int, step: str) -> Step:
        """One step: init, apply, noop or destroy."""
        words = {"init": ["init"], "noop": ["apply", "-auto-approve"], "apply": ["apply", "-auto-approve"]}
        command = words.get(step, ["destroy", "-auto-approve"])
        line = [self.program, *command, "-input=false", "-no-color"]
        return measure(self.cloud, number, "terraform", step, line, self.folder, **self.extra)

    def forget(self) -> None:
        """Begin from nothing."""
        self.cloud.reset()
        for file in self.folder.glob("terraform.tfstate*"):
            file.unlink()


def why_no_terraform(source: Path) -> str:
    """Why the yardstick cannot be run, or "" when it can."""
    if not list(source.glob("*.tf")):
        return f"no Terraform configuration in {source}"
    return "" if shutil.which("terraform") else "no terraform in PATH"


def scratch() -> Path:
    """A folder for all that a run of the bench writes."""
    return Path(tempfile.mkdtemp(prefix="bench-"))
