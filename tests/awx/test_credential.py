"""What the credential for AWS writes into a job is what botocore reads."""

from __future__ import annotations

from pathlib import Path

import botocore.session
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.awx import rules

ROLE = "arn:aws:iam::123456789012:role/deployer"
ASSUMED = {"role_arn": ROLE, "role_session_name": "awx"}
KEYS = {"aws_access_key_id": "AKIATESTINGTESTING12", "aws_secret_access_key": "testing/testing+testing"}
GIVEN = {"access_key": KEYS["aws_access_key_id"], "secret_key": KEYS["aws_secret_access_key"]}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, {}),
        ({"role_arn": "", "source": "Ec2InstanceMetadata"}, {}),
        ({"role_arn": ROLE}, ASSUMED | {"credential_source": "Ec2InstanceMetadata"}),
        ({"role_arn": ROLE, "source": "EcsContainer"}, ASSUMED | {"credential_source": "EcsContainer"}),
        (
            {"role_arn": ROLE, "source": "WebIdentity"},
            ASSUMED | {"web_identity_token_file": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
        ),
        (
            {"role_arn": ROLE, "external_id": "team-a"},
            ASSUMED | {"external_id": "team-a", "credential_source": "Ec2InstanceMetadata"},
        ),
        ({"role_arn": ROLE, **GIVEN}, ASSUMED | {"source_profile": "keys"}),
        (GIVEN, KEYS),
    ],
)
def test_is_what_botocore_reads(
    given: dict[str, str], read: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [kind] = rules.load()["credential_types"]
    sandbox = ImmutableSandboxedEnvironment()
    (tmp_path / "config").write_text(sandbox.from_string(kind["injectors"]["file"]["template.config"]).render(given))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    session = botocore.session.Session(profile=kind["injectors"]["env"]["AWS_PROFILE"])
    assert session.get_scoped_config() == read
    assert session.full_config["profiles"]["keys"] == (KEYS if "access_key" in given else {})
