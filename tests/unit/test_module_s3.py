"""The module s3_private_bucket, in-process against moto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner

ACCOUNT, NAME, LOGS = (
    "123456789012",
    "mlflow-team-a-123456789012-eu-west-1",
    "mlflow-team-a-123456789012-eu-west-1-logs",
)
TAGS = {"Stack": "team-a", "Name": NAME}


def tls_only(action: str = "s3:*") -> dict[str, Any]:
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": [f"arn:aws:s3:::{NAME}", f"arn:aws:s3:::{NAME}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


WANTED = {
    "name": NAME,
    "account_id": ACCOUNT,
    "versioning": True,
    "policy": tls_only(),
    "noncurrent_days": 30,
    "tags": TAGS,
}


# moto holds its own requests, which have no TLS, to the policy.
OPEN = {**WANTED, "policy": {}}


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    loaded = {"s3_private_bucket": load("modules", "s3_private_bucket")}
    loaded["s3_private_bucket"].PAUSE_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0)
    with empty_aws(monkeypatch):
        yield


KINDS = ("Analytics", "Metrics", "IntelligentTiering", "Inventory")


class Settings:
    """What moto does not keep of a bucket: who pays, and configurations by kind."""

    def __init__(self) -> None:
        self.payer = "BucketOwner"
        self.configurations: dict[str, list[str]] = {kind: [] for kind in KINDS}

    def stubs(self) -> dict[str, Callable[..., Any]]:
        made: dict[str, Callable[..., Any]] = {
            "GetBucketRequestPayment": lambda **_: {"Payer": self.payer},
            "PutBucketRequestPayment": self.pay,
        }
        for kind, ids in self.configurations.items():
            key = f"{kind}ConfigurationList"
            made[f"ListBucket{kind}Configurations"] = lambda key=key, ids=ids, **_: {key: [{"Id": one} for one in ids]}
            made[f"DeleteBucket{kind}Configuration"] = lambda ids=ids, **request: ids.remove(request["Id"]) or {}
        return made

    def pay(self, **request: Any) -> dict[str, Any]:
        self.payer = request["RequestPaymentConfiguration"]["Payer"]
        return {}


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def stubs(settings: Settings) -> dict[str, Callable[..., Any]]:
    return settings.stubs()


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


@pytest.fixture
def s3() -> Any:
    return client("s3")


@pytest.fixture
def log_bucket(run: Run) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{LOGS}/*",
    }
    run("s3_private_bucket", name=LOGS, policy={"Version": "2012-10-17", "Statement": [statement]})
    return LOGS


READS = (
    "get_bucket_ownership_controls",
    "get_public_access_block",
    "get_bucket_encryption",
    "get_bucket_versioning",
    "get_bucket_policy",
    "get_bucket_lifecycle_configuration",
    "get_bucket_tagging",
    "get_bucket_logging",
    "get_bucket_cors",
    "get_bucket_website",
    "get_bucket_replication",
    "get_bucket_notification_configuration",
    "get_bucket_accelerate_configuration",
    "get_bucket_request_payment",
    "list_bucket_inventory_configurations",
    "list_bucket_analytics_configurations",
    "list_bucket_metrics_configurations",
    "list_bucket_intelligent_tiering_configurations",
)


def described(s3: Any, bucket: str = NAME) -> dict[str, Any]:
    """Everything that S3 tells about a bucket, each under the call that tells it."""
    have = {}
    for method in READS:
        try:
            answer = getattr(s3, method)(Bucket=bucket)
        except ClientError as error:
            have[method] = error.response["Error"]["Code"]
            continue
        answer.pop("ResponseMetadata", None)
        have[method] = answer
    return have


def test_a_bucket_is_made_private_encrypted_and_versioned(run: Run, s3: Any) -> None:
    made = four_steps(run, "s3_private_bucket", **WANTED)
    have = described(s3)
    assert made["bucket_arn"] == f"arn:aws:s3:::{NAME}"
    assert set(have["get_public_access_block"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert have["get_bucket_versioning"] == {"Status": "Enabled"}
    assert have["get_bucket_ownership_controls"] == {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    }
    (rule,) = have["get_bucket_encryption"]["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert json.loads(have["get_bucket_policy"]["Policy"]) == tls_only()
    (rule,) = have["get_bucket_lifecycle_configuration"]["Rules"]
    assert (rule["ID"], rule["NoncurrentVersionExpiration"]) == ("expire", {"NoncurrentDays": 30})
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert sorted(have["get_bucket_tagging"]["TagSet"], key=lambda tag: tag["Key"]) == [
        {"Key": "Name", "Value": NAME},
        {"Key": "Stack", "Value": "team-a"},
    ]
    assert have["get_bucket_cors"] == "NoSuchCORSConfiguration"
    assert s3.get_bucket_location(Bucket=NAME)["LocationConstraint"] == REGION


SETTINGS: dict[str, dict[str, Any]] = {
    "versioning": {"versioning": False},
    "policy": {"policy": tls_only("s3:GetObject")},
    "no policy": {"policy": {}},
    "expiration": {"expiration_days": 90},
    "old versions": {"noncurrent_days": 5},
    "old versions for ever": {"noncurrent_days": 0},
    "uploads": {"abort_upload_days": 1},
    "no rule": {"noncurrent_days": 0, "abort_upload_days": 0},
    "logs": {"log_bucket": LOGS, "log_prefix": "artifacts/"},
    "tags": {"tags": {"Stack": "team-a", "Team": "a"}},
    "no tags": {"tags": {}},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_changes_arrives_as_in_a_new_bucket_and_goes_back(
    run: Run, s3: Any, log_bucket: str, case: str
) -> None:
    run("s3_private_bucket", **WANTED)
    first = described(s3)
    four_steps(run, "s3_private_bucket", **{**WANTED, **SETTINGS[case]})
    moved = described(s3)
    four_steps(run, "s3_private_bucket", **WANTED)
    assert described(s3) == first
    run("s3_private_bucket", name=NAME, state="absent")
    run("s3_private_bucket", **{**WANTED, **SETTINGS[case]})
    fresh = described(s3)
    if case == "versioning":
        # It can only be suspended.
        assert (moved.pop("get_bucket_versioning"), fresh.pop("get_bucket_versioning")) == ({"Status": "Suspended"}, {})
    assert moved == fresh


CORS = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]}
FOREIGN_RULE = {"ID": "by-hand", "Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}}
KMS = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "x"}}]}
REPLICA = {
    "Role": "arn:aws:iam::123456789012:role/x",
    "Rules": [
        {
            "ID": "by-hand",
            "Status": "Enabled",
            "Priority": 1,
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": {"Status": "Disabled"},
            "Destination": {"Bucket": f"arn:aws:s3:::{LOGS}"},
        }
    ],
}
TOPIC = {"TopicConfigurations": [{"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:x", "Events": ["s3:ObjectCreated:*"]}]}


def _topic(s3: Any) -> None:
    client("sns").create_topic(Name="x")
    s3.put_bucket_notification_configuration(Bucket=NAME, NotificationConfiguration=TOPIC)


def _replicate(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=LOGS, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_replication(Bucket=NAME, ReplicationConfiguration=REPLICA)


def _log(s3: Any) -> None:
    enabled = {"TargetBucket": LOGS, "TargetPrefix": "x"}
    s3.put_bucket_logging(Bucket=NAME, BucketLoggingStatus={"LoggingEnabled": enabled})


BY_HAND: dict[str, Callable[[Any], Any]] = {
    "CORS": lambda s3: s3.put_bucket_cors(Bucket=NAME, CORSConfiguration=CORS),
    "website": lambda s3: s3.put_bucket_website(
        Bucket=NAME, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    ),
    "replication": _replicate,
    "notifications": _topic,
    "acceleration": lambda s3: s3.put_bucket_accelerate_configuration(
        Bucket=NAME, AccelerateConfiguration={"Status": "Enabled"}
    ),
    "requester pays": lambda s3: s3.put_bucket_request_payment(
        Bucket=NAME, RequestPaymentConfiguration={"Payer": "Requester"}
    ),
    "no public access block": lambda s3: s3.delete_public_access_block(Bucket=NAME),
    "half a public access block": lambda s3: s3.put_public_access_block(
        Bucket=NAME, PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    ),
    "ownership": lambda s3: s3.put_bucket_ownership_controls(
        Bucket=NAME, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    ),
    "no ownership": lambda s3: s3.delete_bucket_ownership_controls(Bucket=NAME),
    "encryption": lambda s3: s3.put_bucket_encryption(Bucket=NAME, ServerSideEncryptionConfiguration=KMS),
    "no encryption": lambda s3: s3.delete_bucket_encryption(Bucket=NAME),
    "versioning": lambda s3: s3.put_bucket_versioning(Bucket=NAME, VersioningConfiguration={"Status": "Suspended"}),
    "policy": lambda s3: s3.put_bucket_policy(Bucket=NAME, Policy=json.dumps(tls_only("s3:GetObject"))),
    "no policy": lambda s3: s3.delete_bucket_policy(Bucket=NAME),
    "another rule": lambda s3: s3.put_bucket_lifecycle_configuration(
        Bucket=NAME, LifecycleConfiguration={"Rules": [FOREIGN_RULE]}
    ),
    "no rule": lambda s3: s3.delete_bucket_lifecycle(Bucket=NAME),
    "tags": lambda s3: s3.put_bucket_tagging(Bucket=NAME, Tagging={"TagSet": [{"Key": "by", "Value": "hand"}]}),
    "no tags": lambda s3: s3.delete_bucket_tagging(Bucket=NAME),
    "logs": _log,
}


@pytest.mark.parametrize("case", BY_HAND)
def test_what_was_changed_by_hand_is_set_back_in_one_run(run: Run, s3: Any, log_bucket: str, case: str) -> None:
    run("s3_private_bucket", **WANTED)
    fresh = described(s3)
    BY_HAND[case](s3)
    changed = described(s3)
    assert changed != fresh
    four_steps(run, "s3_private_bucket", **WANTED)
    have = described(s3)
    # Acceleration, too, can only be suspended.
    if have["get_bucket_accelerate_configuration"] == {"Status": "Suspended"}:
        have["get_bucket_accelerate_configuration"] = {}
    assert have == fresh


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_that_nobody_asked_for_go(run: Run, settings: Settings, kind: str) -> None:
    run("s3_private_bucket", **WANTED)
    settings.configurations[kind] += ["one", "two"]
    four_steps(run, "s3_private_bucket", **WANTED)
    assert settings.configurations[kind] == []


def test_a_policy_in_another_form_and_a_rule_with_the_old_prefix_are_the_same(
    run: Run, modules: dict[str, ModuleType], s3: Any
) -> None:
    run("s3_private_bucket", **WANTED)
    policy = tls_only()
    policy["Statement"][0]["Action"] = ["s3:*"]
    policy["Statement"][0]["Resource"].reverse()
    s3.put_bucket_policy(Bucket=NAME, Policy=json.dumps(policy))
    assert run("s3_private_bucket", **WANTED)["changed"] is False
    assert modules["s3_private_bucket"]._rule({"ID": "x", "Prefix": ""}) == modules["s3_private_bucket"]._rule(
        {"ID": "x", "Filter": {"Prefix": ""}}
    )


def test_tags_that_are_not_given_are_left_alone(run: Run, s3: Any) -> None:
    run("s3_private_bucket", **WANTED)
    assert (
        run("s3_private_bucket", **{key: value for key, value in WANTED.items() if key != "tags"})["changed"] is False
    )


def test_a_lost_answer_makes_one_bucket(run: Run, s3: Any, stubs: dict[str, Callable[..., Any]]) -> None:
    def lost(**request: Any) -> Any:
        del stubs["CreateBucket"]
        s3.create_bucket(**request)
        raise ConnectionClosedError(endpoint_url="s3")

    stubs["CreateBucket"] = lost
    assert run("s3_private_bucket", **WANTED)["changed"] is True
    assert run("s3_private_bucket", **WANTED)["changed"] is False


def refusing(stubs: dict[str, Callable[..., Any]], operation: str, code: str, times: int = 1000) -> None:
    left = [times]

    def refuse(**_: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            del stubs[operation]
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    stubs[operation] = refuse


def test_a_name_that_belongs_to_another_account_is_one_sentence(run: Run, stubs: dict[str, Callable[..., Any]]) -> None:
    refusing(stubs, "CreateBucket", "BucketAlreadyExists")
    assert run("s3_private_bucket", **WANTED)["msg"] == (
        f"The bucket name {NAME} belongs to another account; give the stack another mlflow_stack_name."
    )
    refusing(stubs, "HeadBucket", "403")
    assert run("s3_private_bucket", **WANTED)["msg"].startswith(f"The bucket {NAME} belongs to another account, or")


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("CreateBucket", "OperationAborted"),
        ("PutBucketPolicy", "NoSuchBucket"),
        ("PutPublicAccessBlock", "OperationAborted"),
        ("PutBucketLogging", "InvalidTargetBucketForLogging"),
    ],
)
def test_what_s3_does_not_know_everywhere_yet_is_repeated(
    run: Run, s3: Any, stubs: dict[str, Callable[..., Any]], log_bucket: str, operation: str, code: str
) -> None:
    refusing(stubs, operation, code, times=3)
    assert run("s3_private_bucket", **WANTED, log_bucket=log_bucket).get("changed") is True
    assert run("s3_private_bucket", **WANTED, log_bucket=log_bucket)["changed"] is False
    refusing(stubs, operation, code)
    change = {"policy": {}, "log_bucket": "", "wait_timeout": -1}
    if operation in ("PutPublicAccessBlock", "PutBucketLogging"):
        s3.delete_public_access_block(Bucket=NAME)
        assert "(" + code + ")" in run("s3_private_bucket", **{**WANTED, **change})["msg"]


def test_a_bucket_that_is_not_empty_stays_unless_it_is_forced(run: Run, s3: Any) -> None:
    run("s3_private_bucket", **OPEN)
    for body in (b"1", b"2"):
        s3.put_object(Bucket=NAME, Key="x", Body=body)
    s3.delete_object(Bucket=NAME, Key="x")
    assert "BucketNotEmpty" in run("s3_private_bucket", name=NAME, state="absent")["msg"]
    four_steps(run, "s3_private_bucket", name=NAME, force=True, state="absent")
    assert s3.list_buckets()["Buckets"] == []


def test_a_bucket_into_which_aws_still_writes_is_emptied_again(
    run: Run, s3: Any, stubs: dict[str, Callable[..., Any]]
) -> None:
    run("s3_private_bucket", **OPEN)
    refusals: list[int] = []

    def write_once_more(**_: Any) -> Any:
        refusals.append(1)
        s3.put_object(Bucket=NAME, Key=f"log-{len(refusals)}", Body=b"x")
        if len(refusals) == 3:
            del stubs["DeleteBucket"]
        raise ClientError({"Error": {"Code": "BucketNotEmpty", "Message": "not empty"}}, "DeleteBucket")

    stubs["DeleteBucket"] = write_once_more
    assert run("s3_private_bucket", name=NAME, force=True, state="absent").get("changed") is True
    assert (len(refusals), s3.list_buckets()["Buckets"]) == (3, [])


def test_an_object_that_cannot_be_deleted_is_named(run: Run, s3: Any, stubs: dict[str, Callable[..., Any]]) -> None:
    run("s3_private_bucket", **OPEN)
    s3.put_object(Bucket=NAME, Key="x", Body=b"1")
    stubs["DeleteObjects"] = lambda **_: {"Errors": [{"Key": "x", "Code": "AccessDenied", "Message": "locked"}]}
    answer = run("s3_private_bucket", name=NAME, force=True, state="absent")
    assert answer["msg"] == f"Could not delete x from the bucket {NAME}: locked (AccessDenied)."


def test_a_bucket_that_is_gone_is_no_error(run: Run) -> None:
    assert run("s3_private_bucket", name=NAME, force=True, state="absent")["changed"] is False
    assert run("s3_private_bucket", check=True, **WANTED)["bucket_arn"] is None
