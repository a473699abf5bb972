#!/usr/bin/python
"""Build or copy an image into an ECR repository, once for each content; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image
short_description: Build or copy the MLflow image into an ECR repository
description:
  - Asks ECR for the tag that stands for the image's content. Where the repository has it, nothing else is done, and no
    container engine is needed.
  - Where it is missing, the image is built, or copied from O(source), and pushed under that tag. Check mode fails
    where no engine answers that could do so.
  - Packages are fetched by this machine's pip; the build itself has no network.
options:
  repository_uri:
    description: Repository to push to, which stands.
    type: str
    required: true
  source:
    description:
      - Image to copy, as C(name@sha256:digest). Left out, O(folder) is built.
      - The digest in the repository may differ from this one, for engines pack layers anew.
    type: str
    default: ""
  folder:
    description: Folder of the Dockerfile.
    type: path
  base:
    description: Image to build on. Default is the Dockerfile's own.
    type: str
    default: ""
  variant:
    description: Whether the image holds what a tracking server loads, or all that MLflow brings.
    type: str
    choices: [slim, full]
    default: slim
  architecture:
    description: Architecture of the image.
    type: str
    choices: [x86_64, arm64]
    default: x86_64
  ca_bundle:
    description:
      - CA bundle of RDS, the path of a PEM file or an https URL. Default is AWS's URL for the partition.
      - A URL counts by itself and not by what it serves, so that nothing is fetched only to look.
    type: str
    default: ""
  engine:
    description: Container engine, C(docker) or C(podman), by name or path.
    type: str
    default: docker
  sbom:
    description:
      - File that gets the list of the image's packages after a build. Only a warning where it cannot be written.
    type: path
  scan_gate:
    description:
      - Fail when ECR's scan of the image has findings of this severity or worse. V(none) asks for no findings.
      - Left out, it is V(critical), and only a warning where ECR has no findings to show. Given, that fails, too.
    type: str
    choices: [none, critical, high, medium, low]
  scan_timeout:
    description: Seconds after the push for which ECR is given time to scan.
    type: int
    default: 300
  deployed_digest:
    description: Digest that runs already. Its findings are a warning, so that they block no other change.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says whether it would push. A digest that only a push makes is C(known after the push).
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Build the image and push it
  ecr_image:
    repository_uri: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a
    folder: docker
  register: __image
"""

RETURN = r"""
tag:
  description: Tag that stands for the content.
  returned: always
  type: str
  sample: slim-amd64-0a1b2c3d4e5f60718293
digest:
  description: The image's digest in the repository.
  returned: always
  type: str
  sample: sha256:0a1b...
reference:
  description: Image to run, by digest; by tag where a check run cannot know the digest.
  returned: always
  type: str
  sample: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a@sha256:0a1b...
missing:
  description: Whether the repository did not have it.
  returned: always
  type: bool
findings:
  description: Number of findings by severity, as ECR names them; null where ECR has none to show or was not asked.
  returned: always
  type: dict
  sample: {HIGH: 2, LOW: 30}
"""

import base64  # noqa: E402
import time  # noqa: E402
from datetime import datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NamedTuple, NoReturn  # noqa: E402

from ansible.module_utils.mlflow_aws import ClientError, diff, doing, error_code, found, reason  # noqa: E402
from ansible.module_utils.mlflow_image import (  # noqa: E402
    CA_BUNDLES,
    PLATFORMS,
    Engine,
    ImageError,
    Recipe,
    Registry,
    build,
    copy_tag,
    pull,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

LATER = "known after the push"
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")
SCANNED = ("COMPLETE", "ACTIVE")
SCANNING = ("IN_PROGRESS", "PENDING")
POLL_SECONDS = 5.0
# After so long a scan that has not begun never will.
BEGIN_SECONDS = 60.0
# What ECR answers where there are no findings to read; the last is of registries that scan nothing.
NO_FINDINGS = ("ScanNotFoundException", "UnsupportedImageTypeException", "InvalidAction")
# A registry with enhanced scanning asks Amazon Inspector with the rights of whoever asks ECR.
DENIED = ("AccessDenied", "AccessDeniedException")
INSPECTOR = "findings are in Amazon Inspector, which this login may not read"


class Stored(NamedTuple):
    """An image in the repository: its digest, and when it was pushed (seconds since 1970)."""

    digest: str
    pushed: float


class Repository:
    """One repository of ECR."""

    def __init__(self, ecr: Any, uri: str) -> None:
        """Keep the client; nothing is asked yet."""
        self.ecr = ecr
        self.uri = uri
        self.name = uri.partition("/")[2]

    def find(self, **image: str) -> Stored | None:
        """The image by `imageTag` or `imageDigest`, or None."""
        missing = ("ImageNotFoundException", "RepositoryNotFoundException")
        answer = found(self.ecr.describe_images, *missing, repositoryName=self.name, imageIds=[image])
        for details in (answer or {}).get("imageDetails", []):
            pushed = details.get("imagePushedAt")
            return Stored(details["imageDigest"], pushed.timestamp() if isinstance(pushed, datetime) else 0.0)
        return None

    def login(self) -> tuple[str, str, str]:
        """(registry's address, user, password) to push with."""
        [token] = self.ecr.get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
        return token["proxyEndpoint"], user, password

    def findings(self, image: Stored, patience: float) -> tuple[dict[str, int] | None, str]:
        """(findings by severity, ""), or (None, why there are none).

        Waits until `patience` seconds after the push for a scan that has not ended.
        """
        while True:
            status, counts = self._scan(image.digest)
            if status in SCANNED:
                return counts, ""
            waiting = {"ScanNotFoundException": min(patience, BEGIN_SECONDS)} | dict.fromkeys(SCANNING, patience)
            if time.time() > image.pushed + waiting.get(status, float("-inf")):
                return None, status
            time.sleep(POLL_SECONDS)

    def _scan(self, digest: str) -> tuple[str, dict[str, int]]:
        try:
            answer = self.ecr.describe_image_scan_findings(
                repositoryName=self.name, imageId={"imageDigest": digest}, maxResults=1
            )
        except ClientError as error:
            if error_code(error) in NO_FINDINGS:
                return error_code(error), {}
            if error_code(error) in DENIED and "inspector2:" in reason(error):
                return INSPECTOR, {}
            raise
        counts = answer.get("imageScanFindings", {}).get("findingSeverityCounts", {})
        return answer.get("imageScanStatus", {}).get("status", "unknown"), counts


def blocking(counts: dict[str, int], gate: str) -> dict[str, int]:
    """The findings of severity `gate` or worse."""
    severities = SEVERITIES[: SEVERITIES.index(gate.upper()) + 1]
    return {severity: counts[severity] for severity in severities if counts.get(severity)}


class Image:
    """The image that is wanted, in the repository."""

    def __init__(self, module: Any) -> None:
        """Find out its tag. Raises ImageError where its files cannot be read."""
        self.module = module
        parameters = module.params
        self.repository = Repository(module.client("ecr"), parameters["repository_uri"])
        self.source: str = parameters["source"]
        self.platform = PLATFORMS[parameters["architecture"]]
        partition = self.repository.ecr.meta.partition
        self.recipe = Recipe(
            Path(parameters["folder"] or "."),
            parameters["base"],
            parameters["variant"],
            self.platform,
            parameters["ca_bundle"] or CA_BUNDLES.get(partition, CA_BUNDLES["aws"]),
        )
        self.tag = copy_tag(self.source, self.platform) if self.source else self.recipe.tag()

    def find(self) -> Stored | None:
        """The image in the repository, or None."""
        name, _, digest = self.source.partition("@")
        with doing(self.module, f"look for the image in {self.repository.name}"):
            if name != self.repository.uri:
                return self.repository.find(imageTag=self.tag)
            # What is to be copied into the repository is there already, or was.
            stored = self.repository.find(imageDigest=digest)
        if stored is None:
            fail(self.module, f"The repository {self.repository.name} holds no image {digest}: give one that it holds.")
        return stored

    def engine(self) -> Engine:
        """The engine that makes the image. Raises ImageError where none can."""
        try:
            return Engine(self.module.params["engine"])
        except ImageError as error:
            raise ImageError(
                f"{self.repository.name} does not hold the image {self.tag}, and here it cannot be made. "
                f"{error} Or run site.yml once from where an engine is, or set mlflow_image to an image by digest."
            ) from error

    def push(self) -> None:
        """Make the image and push it. Raises ImageError."""
        engine = self.engine()
        with doing(self.module, f"get a login for {self.repository.name}"):
            address, user, password = self.repository.login()
        name = f"{address.rpartition('://')[2].rstrip('/')}/{self.repository.name}:{self.tag}"
        if not self.source:
            build(engine, self.recipe, name)
        with engine.login(address, user, password) as registry:
            if self.source:
                pull(engine, self.source, self.platform, registry)
                engine.run("tag", self.source, name, doing=f"name {self.source} {name}")
            self._push(registry, name)
        if not self.source and self.module.params["sbom"]:
            self._write_sbom(engine, name)

    def _push(self, registry: Registry, name: str) -> None:
        try:
            registry.push(name)
        except ImageError:
            # Somebody else was faster, and no tag is ever overwritten.
            if self.find() is None:
                raise

    def _write_sbom(self, engine: Engine, name: str) -> None:
        file = Path(self.module.params["sbom"])
        try:
            content = engine.sbom(name)
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
        except (ImageError, OSError) as error:
            self.module.warn(f"The list of the image's packages is not in {file}: {error}")

    def gate(self, stored: Stored) -> dict[str, int] | None:
        """The findings; fails the module where they are too bad."""
        given = self.module.params["scan_gate"]
        gate = given or "critical"
        if gate == "none":
            return None
        with doing(self.module, f"read what ECR's scan of {self.repository.name} found"):
            counts, status = self.repository.findings(stored, self.module.params["scan_timeout"])
        deployed = stored.digest == self.module.params["deployed_digest"]
        which = f"{self.repository.name}@{stored.digest}"
        if counts is None:
            sentence = f"ECR has no findings for {which} ({status}), so nobody knows whether it may be deployed"
            remedy = "turn on scanning for the repository, run again later, or set mlflow_image_scan_gate to none"
            if status == INSPECTOR:
                remedy = (
                    "allow inspector2:ListCoverage and inspector2:ListFindings in the deployer's policy, which is in "
                    "policies/, or set mlflow_image_scan_gate to none"
                )
            self._object(f"{sentence}: {remedy}.", fatal=bool(given) and not deployed)
            return None
        bad = blocking(counts, gate)
        if bad:
            listed = ", ".join(f"{count} {severity.lower()}" for severity, count in bad.items())
            remedy = (
                "take a newer base (mlflow_image_base) or newer packages (docker/requirements-*.txt), or loosen "
                "mlflow_image_scan_gate"
            )
            self._object(f"ECR's scan of {which} has findings, {listed}: {remedy}.", fatal=not deployed)
        return counts

    def _object(self, sentence: str, fatal: bool) -> None:
        if fatal:
            fail(self.module, sentence)
        self.module.warn(sentence)

    def result(self, stored: Stored | None, missing: bool) -> dict[str, Any]:
        """What the module returns."""
        digest = stored.digest if stored else LATER
        uri = self.repository.uri
        return {
            "tag": self.tag,
            "digest": digest,
            "reference": f"{uri}@{digest}" if stored else f"{uri}:{self.tag}",
            "missing": missing,
            "findings": self.gate(stored) if stored else None,
        }


def fail(module: Any, sentence: str, output: str = "") -> NoReturn:
    """End the module with a sentence, and the last lines of the command that failed."""
    module.fail_json(msg=f"{sentence}\n{output}" if output else sentence)
    raise AssertionError  # fail_json does not return


def ensure(module: Any) -> dict[str, Any]:
    """What the module returns. Raises ImageError."""
    image = Image(module)
    stored = image.find()
    missing = stored is None
    if missing and module.check_mode:
        image.engine()
    elif missing:
        image.push()
        stored = image.find()
        if stored is None:
            raise ImageError(f"{image.repository.name} has no image {image.tag} although it was pushed: run again.")
        # A clock that ECR does not share says nothing about the push.
        stored = Stored(stored.digest, time.time())
    before, after = ({}, {"tag": image.tag}) if missing else ({"tag": image.tag},) * 2
    return {"changed": missing, "diff": diff(before, after), **image.result(stored, missing)}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "repository_uri": {"type": "str", "required": True},
            "source": {"type": "str", "default": ""},
            "folder": {"type": "path"},
            "base": {"type": "str", "default": ""},
            "variant": {"type": "str", "default": "slim", "choices": ["slim", "full"]},
            "architecture": {"type": "str", "default": "x86_64", "choices": [*PLATFORMS]},
            "ca_bundle": {"type": "str", "default": ""},
            "engine": {"type": "str", "default": "docker"},
            "sbom": {"type": "path"},
            "scan_gate": {"type": "str", "choices": ["none", "critical", "high", "medium", "low"]},
            "scan_timeout": {"type": "int", "default": 300},
            "deployed_digest": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if not module.params["source"] and not module.params["folder"]:
        fail(module, "Give source, an image to copy, or folder, a Dockerfile to build.")
    try:
        module.exit_json(**ensure(module))
    except ImageError as error:
        fail(module, str(error), error.output)


if __name__ == "__main__":
    main()
