"""Run the molecule scenario `site` in an AWS of its own on this machine, and do not take molecule's word for it.

Molecule exits 0 when it finds no test, when the folder of tests is missing, and when it runs another scenario.
So every step of the sequence must have been seen to end well, with tests, and no repetition may have changed anything.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# What a shell may have set for another Ansible, molecule or pytest.
FOREIGN = ("ANSIBLE_", "MOLECULE_", "PYTEST_")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Scenario:
    """A folder of molecule/, the steps that may change something, and how many tests must have passed.

    The guard in the tests' conftest speaks only when pytest was started; `fewest` when it was not.
    """

    name: str
    changing: tuple[str, ...]
    fewest: int


SITE = Scenario("site", ("converge", "side_effect"), 80)


def complaints(output: str, sequence: list[str], changes: list[dict[str, Any]], scenario: Scenario = SITE) -> list[str]:
    """What is wrong with a scenario that molecule calls green; each a sentence.

    `output` is molecule's log, `sequence` its steps, `changes` what the callback of that name wrote.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    left = re.findall(rf"{scenario.name} ➜ (\w+): Executed: Successful", plain)
    wrong = []
    for step in sequence:
        action = step.split()[0]
        if action in left:
            left.remove(action)
        else:
            wrong.append(f"The step '{step}' did not run to its end.")
    summaries = [int(number) for number in re.findall(r"(\d+) passed", plain)]
    verifications = sum(step.startswith("verify") for step in sequence)
    if len(summaries) < verifications or sum(summaries) < scenario.fewest:
        wrong.append(
            f"{summaries} tests passed in {verifications} verifications, at least {scenario.fewest} are expected."
        )
    runs = {change["run"] for change in changes if not change["check"]}
    if len(runs) != len(scenario.changing):
        wrong.append(f"{len(runs)} runs changed something; only {' and '.join(scenario.changing)} may.")
    return wrong


def run(environment: dict[str, str], changes: Path, scenario: Scenario = SITE) -> int:
    """Run the scenario, its output passed on; 0 when every step ran, every test passed and no repetition changed."""
    process = subprocess.Popen(
        ["molecule", "test", "--scenario-name", scenario.name],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        print(f"The scenario failed: molecule exited with {code}.")
        return 1
    sequence = yaml.safe_load((ROOT / "molecule" / scenario.name / "molecule.yml").read_text())["scenario"][
        "test_sequence"
    ]
    wrong = complaints(
        "".join(lines), sequence, [json.loads(line) for line in changes.read_text().splitlines()], scenario
    )
    print("\n".join(wrong) or f"scenario {scenario.name}: {len(sequence)} steps, all as they should be")
    return 1 if wrong else 0


def main() -> int:
    """Start an AWS, run the scenario as the deployer, stop that AWS."""
    # Else a cancelled run would leave its AWS behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="mlflow-scenario-") as scratch:
        os.environ["LOCAL_STATE"] = f"{scratch}/aws"
        # Only now: the folder above is read when this is imported.
        from local import aws, config, emulators, tls, up

        config.forget_other_aws()
        tls.ensure()
        changes = Path(scratch, "changes.jsonl")
        changes.touch()
        shell = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        try:
            emulators.start()
            environment = {
                **up.deployer_credentials(aws.ensure_deployer(), shell),
                "MLFLOW_LOCAL_CERTIFICATE_ARN": aws.ensure_certificate(),
                "MOLECULE_EPHEMERAL_DIRECTORY": f"{scratch}/molecule",
                # The tests read as the account's owner, for the deployer may not see all that could be left.
                **dict(zip(("OWNER_ACCESS_KEY", "OWNER_SECRET_KEY"), config.root_keys(), strict=True)),
                "MOLECULE_CHANGES": str(changes),
                "ANSIBLE_FORKS": "4",
            }
            return run(environment, changes)
        finally:
            emulators.stop()
            config.say("the scenario's AWS is stopped")


if __name__ == "__main__":
    sys.exit(main())
