"""Stands in for a container engine's command: `install` puts it on the path, `calls` says how it was used."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """#!{python} -IS
import json, os, sys
words, stdin = sys.argv[1:], sys.stdin.read()
given = words[2:] if words[:1] == ["--config"] else words
verb = given[0]
call = {{"words": words, "verb": verb, "stdin": stdin, "environment": dict(os.environ)}}
if words[:1] == ["--config"]:
    call["config"] = json.load(open(words[1] + "/config.json"))
if verb == "build":
    call["context"] = sorted(os.listdir(given[-1])) + sorted(os.listdir(given[-1] + "/wheels"))
with open({log!r}, "a") as out:
    print(json.dumps(call), file=out)
if verb == os.environ.get("FAKE_FAILS"):
    print("one line before", file=sys.stderr)
    sys.exit("//user:hunter2@host said no.")
if verb == "push" and os.environ.get("AWS_ENDPOINT_URL"):
    os.execv({python!r}, [{python!r}, "-c", {push!r}, given[-1]])
if verb == "cp":
    open(given[-1], "w").write("bill of materials")
print({answers!r}.get(verb, ""))
"""
# Where there is an AWS outside of the test's process, what is pushed arrives there.
PUSH = """
import json, sys
import boto3
name, _, tag = sys.argv[1].partition("/")[2].partition(":")
layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1, "digest": f"sha256:{tag}"}
kind = "application/vnd.docker.distribution.manifest.v2+json"
manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": layer, "layers": [layer]})
boto3.client("ecr").put_image(repositoryName=name, imageManifest=manifest, imageTag=tag)
"""
PYTHON = {
    "implementation_name": "cpython",
    "python_version": "3.13",
    "python_full_version": "3.13.5",
    "sys_platform": "linux",
    "platform_python_implementation": "CPython",
    "glibc": "2.41",
}


class Fake:
    """One stand-in; `answers` maps a verb to what it prints."""

    def __init__(self, folder: Path, name: str, says: str, python: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        answers = {
            "--version": says,
            "version": "amd64",
            "info": "amd64",
            "run": json.dumps(python),
            "image": "sha256:1",
        }
        answers["create"] = "container-1"
        command = folder / name
        command.write_text(SCRIPT.format(python=sys.executable, log=str(self.log), answers=answers, push=PUSH))
        command.chmod(0o755)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def verbs(self) -> list[str]:
        """What was asked for, without the questions that change nothing."""
        looking = ("--version", "version", "info", "image", "run")
        return [call["verb"] for call in self.calls if call["verb"] not in looking]


def install(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str = "docker",
    says: str = "Docker version 28.2.2",
    **python: str,
) -> Fake:
    """Put a stand-in named `name` first on the path, whose base image has a Python as `python` says."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("FAKE_FAILS", raising=False)
    return Fake(folder, name, says, PYTHON | python)
