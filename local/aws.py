"""Clients of the local AWS, and what an account holds before the first deployment: the deployer and a certificate."""

from __future__ import annotations

import json
from typing import Any

import boto3
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session
from cryptography import x509

from local import config

DEPLOYER = "mlflow-deployer"
# What a client raises, whether AWS refused or did not answer.
AwsError = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)
POLICIES = config.ROOT / "policies" / "deployer"
SETTINGS = botocore.config.Config(
    retries={"mode": "standard", "max_attempts": 2}, connect_timeout=5, read_timeout=30, proxies={}
)


def client(service: str, session: boto3.Session | None = None) -> Any:
    """A client of the local AWS, as root unless `session` says otherwise; the environment has no part in it."""
    key, secret = config.root_keys()
    chosen: Any = session or boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret)
    return chosen.client(
        service,
        region_name=config.REGION,
        endpoint_url=config.aws_url(),
        verify=str(config.TLS / "ca.pem"),
        config=SETTINGS,
    )


def assume(role_arn: str, name: str, sts: Any | None = None) -> dict[str, str]:
    """Temporary credentials of a role: {access_key, secret_key, token, expiry_time (ISO 8601)}."""
    answer = (sts or client("sts")).assume_role(RoleArn=role_arn, RoleSessionName=name[:64], DurationSeconds=3600)
    found = answer["Credentials"]
    return {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "token": found["SessionToken"],
        "expiry_time": found["Expiration"].isoformat(),
    }


def role_session(role_arn: str, name: str) -> boto3.Session:
    """A session that acts as `role_arn` and renews its credentials by itself."""
    inner: Any = botocore.session.Session()
    inner._credentials = botocore.credentials.RefreshableCredentials.create_from_metadata(
        assume(role_arn, name), lambda: assume(role_arn, name), "assume-role"
    )
    return boto3.Session(botocore_session=inner)


def code(error: botocore.exceptions.ClientError) -> str:
    """The error code of an AWS answer."""
    return str(error.response.get("Error", {}).get("Code", ""))


def deployer_policies() -> dict[str, dict[str, Any]]:
    """The documents of policies/deployer/ by the names of their files. Raises Trouble where one is no JSON."""
    try:
        found = {file.stem: json.loads(file.read_text()) for file in sorted(POLICIES.glob("*.json"))}
    except ValueError as error:
        raise config.Trouble(f"A file of policies/deployer/ is no JSON ({error}): correct it.") from None
    if not found:
        raise config.Trouble("policies/deployer/ has no policy: the local AWS enforces IAM and needs them.")
    return found


def ensure_policy(iam: Any, name: str, document: dict[str, Any]) -> str:
    """A managed policy with exactly this document; its ARN."""
    arn, text = f"arn:aws:iam::{config.ACCOUNT}:policy/{name}", json.dumps(document)
    try:
        iam.create_policy(PolicyName=name, PolicyDocument=text)
        return arn
    except iam.exceptions.EntityAlreadyExistsException:
        versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    current = next(one["VersionId"] for one in versions if one["IsDefaultVersion"])
    if iam.get_policy_version(PolicyArn=arn, VersionId=current)["PolicyVersion"]["Document"] != document:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
        # AWS keeps five versions at most, of which one is of use.
        for one in versions:
            iam.delete_policy_version(PolicyArn=arn, VersionId=one["VersionId"])
    return arn


def ensure_deployer() -> str:
    """The role that deploys, trusted by this account, with exactly the rights of policies/deployer/; its ARN."""
    iam = client("iam")
    principal = {"AWS": f"arn:aws:iam::{config.ACCOUNT}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    documents = deployer_policies()
    try:
        iam.create_role(RoleName=DEPLOYER, AssumeRolePolicyDocument=trust)
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName=DEPLOYER, PolicyDocument=trust)
    wanted = {ensure_policy(iam, f"{DEPLOYER}-{area}", document) for area, document in documents.items()}
    attached = iam.list_attached_role_policies(RoleName=DEPLOYER)["AttachedPolicies"]
    for arn in wanted - {one["PolicyArn"] for one in attached}:
        iam.attach_role_policy(RoleName=DEPLOYER, PolicyArn=arn)
    for arn in {one["PolicyArn"] for one in attached} - wanted:
        iam.detach_role_policy(RoleName=DEPLOYER, PolicyArn=arn)
    for name in iam.list_role_policies(RoleName=DEPLOYER)["PolicyNames"]:
        iam.delete_role_policy(RoleName=DEPLOYER, PolicyName=name)
    return f"arn:aws:iam::{config.ACCOUNT}:role/{DEPLOYER}"


def ensure_certificate() -> str:
    """The ARN of the certificate for the public name in ACM, imported at the first call."""
    acm = client("acm")
    ours = (config.TLS / f"{config.PUBLIC_DOMAIN}.pem").read_text()
    for page in acm.get_paginator("list_certificates").paginate():
        for found in page["CertificateSummaryList"]:
            answer = acm.get_certificate(CertificateArn=found["CertificateArn"])
            if answer["Certificate"].strip() == ours.strip():
                return str(found["CertificateArn"])
    answer = acm.import_certificate(
        Certificate=ours.encode(),
        PrivateKey=(config.TLS / f"{config.PUBLIC_DOMAIN}.key").read_bytes(),
        CertificateChain=(config.TLS / "ca.pem").read_bytes(),
    )
    return str(answer["CertificateArn"])


def certificate_domain(acm: Any, arn: str) -> str:
    """The first name in a certificate of ACM, read from it: MiniStack's DomainName of an import is made up."""
    pem = acm.get_certificate(CertificateArn=arn)["Certificate"]
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    return names[0]


def secret(name: str, session: boto3.Session | None = None, **version: str) -> str:
    """The text of the secret `name` (or ARN)."""
    return str(client("secretsmanager", session).get_secret_value(SecretId=name, **version)["SecretString"])


def admin_password(stack: str) -> str:
    """The password of `stack`'s admin. Raises Trouble where the stack does not stand."""
    try:
        return str(json.loads(secret(f"mlflow/{stack}/admin"))["password"])
    except botocore.exceptions.BotoCoreError as error:
        raise config.Trouble(f"The local AWS does not answer ({type(error).__name__}): run `make up`.") from None
    except botocore.exceptions.ClientError as error:
        raise config.Trouble(f"{stack} has no admin password yet ({code(error)}): run `make up`.") from None
