"""Run the molecule scenario in an AWS of its own on this machine, and do not take molecule's word for it.

Molecule exits 0 when it finds no test, when the folder of tests is missing, and when it runs another scenario.
So every step of the sequence must have been seen to end well, and the tests themselves refuse to be few.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

SCENARIO = "site"
ROOT = Path(__file__).resolve().parent.parent


def missing_steps(output: str, sequence: list[str]) -> list[str]:
    """The steps of `sequence` that `output`, molecule's log, does not show as executed and successful."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    done = re.findall(rf"{SCENARIO} ➜ (\w+): Executed: (\w+)", plain)
    left = [step for step, result in done if result == "Successful"]
    missing = []
    for step in (entry.split()[0] for entry in sequence):
        if step in left:
            left.remove(step)
        else:
            missing.append(step)
    return missing


def passed_tests(output: str) -> int:
    """Number of passed tests in all pytest summaries of `output`."""
    return sum(int(number) for number in re.findall(r"(\d+) passed", output))


def run(environment: dict[str, str]) -> int:
    """Run the scenario, its output passed on; 0 when every step ran and every test passed."""
    process = subprocess.Popen(
        ["molecule", "test", "--scenario-name", SCENARIO],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    output = "".join(lines)
    code = process.wait()
    sequence = yaml.safe_load((ROOT / "molecule" / SCENARIO / "molecule.yml").read_text())["scenario"]["test_sequence"]
    missing = missing_steps(output, sequence)
    if code or missing:
        print(f"The scenario failed: molecule exited with {code}, steps that did not run to their end: {missing}.")
        return 1
    print(f"scenario {SCENARIO}: {len(sequence)} steps, {passed_tests(output)} tests passed")
    return 0


def main() -> int:
    """Start an AWS, run the scenario as the deployer, stop that AWS."""
    with tempfile.TemporaryDirectory(prefix="mlflow-scenario-") as scratch:
        os.environ["LOCAL_STATE"] = f"{scratch}/aws"
        # Only now: the folder above is read when this is imported.
        from local import aws, config, emulators, tls, up

        code_cache = f"{scratch}/code"
        os.mkdir(code_cache)
        tls.ensure()
        emulators.start()
        try:
            environment = {
                **up.deployer_credentials(aws.ensure_deployer(), os.environ),
                "MLFLOW_LOCAL_CERTIFICATE_ARN": aws.ensure_certificate(),
                "MOLECULE_EPHEMERAL_DIRECTORY": f"{scratch}/molecule",
                # The tests read as the account's owner, for the deployer may not see all that could be left.
                **dict(zip(("OWNER_ACCESS_KEY", "OWNER_SECRET_KEY"), config.root_keys(), strict=True)),
                "MOLECULE_CHANGES": f"{scratch}/changes.jsonl",
                "ANSIBLE_FORKS": "4",
                "PYTHONPATH": str(ROOT / "tests/compiled"),
                "ZIP_CODE_CACHE": code_cache,
            }
            return run(environment)
        finally:
            emulators.stop()
            config.say("the scenario's AWS is stopped")


if __name__ == "__main__":
    sys.exit(main())
