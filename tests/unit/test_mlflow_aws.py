"""What the own AWS modules share: a resource is created once, whatever happens, and a refusal says what helps."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from plugins.module_utils import mlflow_aws

ROOT = Path(__file__).parents[2]
LOST = ConnectionClosedError(endpoint_url="http://127.0.0.1")
DENIAL = (
    "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/ci is not authorized to "
    "perform: ec2:CreateVpc on resource: * because no {} allows the ec2:CreateVpc action"
)


def refusal(code: str, message: str = "", status: int = 400, operation: str = "CreateVpc") -> ClientError:
    """AWS's answer to a call that it does not carry out."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)  # type: ignore[arg-type]


class Cloud:
    """A service that answers `create_thing` with each of `answers` in turn, and stands for the module, too."""

    def __init__(self, *answers: Any) -> None:
        self.answers: Iterator[Any] = iter(answers)
        self.requests: list[dict[str, Any]] = []
        self.config: Any = None

    def client(self, service: str, config: Any) -> Cloud:
        """As AnsibleAWSModule."""
        assert service == "ec2"
        self.config = config
        return self

    def create_thing(self, **request: Any) -> dict[str, Any]:
        """The call."""
        self.requests.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def create(self, *found: Any, already: tuple[str, ...] = ()) -> Any:
        """`create` with a look that finds each of `found` in turn."""
        self.looks = iter(found)
        return mlflow_aws.create(self, "ec2", "create_thing", lambda: next(self.looks), already, Name="x")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr(mlflow_aws.time, "sleep", made.append)
    return made


def test_a_tag_without_a_value_is_an_empty_one() -> None:
    assert mlflow_aws.tag_dict([{"Key": "a"}, {"Key": "b", "Value": "1"}]) == {"a": "", "b": "1"}


def test_a_create_goes_through_a_client_that_never_repeats() -> None:
    cloud = Cloud({"Id": 1})
    assert cloud.create() == {"Id": 1}
    assert cloud.config == {"retries": {"total_max_attempts": 1}}
    assert cloud.requests == [{"Name": "x"}]


@pytest.mark.parametrize(
    "lost", [LOST, refusal("InternalFailure", status=500), refusal("ServiceUnavailable", status=503)]
)
def test_a_lost_answer_finds_what_was_made(lost: Exception) -> None:
    cloud = Cloud(lost)
    assert cloud.create({"Id": 1}) == {"Id": 1}
    assert len(cloud.requests) == 1


def test_a_lost_request_is_repeated_when_nothing_is_there(pauses: list[float]) -> None:
    cloud = Cloud(LOST, LOST, {"Id": 2})
    assert cloud.create(None, None) == {"Id": 2}
    assert len(cloud.requests) == 3
    assert pauses == [0.5, 1.0]


def test_a_throttled_call_is_repeated_without_a_look() -> None:
    cloud = Cloud(refusal("RequestLimitExceeded", status=503), refusal("Throttling"), {"Id": 3})
    assert cloud.create() == {"Id": 3}


def test_what_is_there_already_is_looked_for_once_and_else_is_an_error() -> None:
    assert Cloud(refusal("Exists")).create({"Id": 4}, already=("Exists",)) == {"Id": 4}
    with pytest.raises(ClientError):
        Cloud(refusal("Exists")).create(None, already=("Exists",))
    cloud = Cloud(refusal("Exists"))
    with pytest.raises(ClientError):
        cloud.create()
    assert len(cloud.requests) == 1


@pytest.mark.parametrize("error", [LOST, refusal("Throttling")])
def test_it_gives_up_with_the_last_error(error: Exception, pauses: list[float]) -> None:
    cloud = Cloud(*[error] * mlflow_aws.CREATE_ATTEMPTS)
    with pytest.raises(type(error)):
        cloud.create(*[None] * mlflow_aws.CREATE_ATTEMPTS)
    assert sum(pauses) < 60


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (
            "AddressLimitExceeded",
            "The maximum number of addresses has been reached.",
            "EC2-VPC Elastic IPs (L-0263D0A3)",
        ),
        ("VpcLimitExceeded", "The maximum number of VPCs has been reached.", "VPCs per Region (L-F678F1CE)"),
        ("InternetGatewayLimitExceeded", "", "Internet gateways per Region (L-A4707A72)"),
        ("NatGatewayLimitExceeded", "", "NAT gateways per Availability Zone (L-FE5A380F)"),
        ("LimitExceeded", "Cannot exceed quota for RolesPerAccount: 1000", "RolesPerAccount of IAM"),
        ("LimitExceededException", "Resource limit exceeded.", "that this names"),
        ("DBProxyQuotaExceededFault", "", "that this names"),
        ("TooManyRules", "", "that this names"),
    ],
)
def test_a_quota_is_named_with_where_to_raise_it(code: str, message: str, words: str) -> None:
    sentence = mlflow_aws.reason(refusal(code, message))
    assert f"raise the quota {words} in the Service Quotas console, or remove what uses it up" in sentence
    assert f"({code})" in sentence or sentence.startswith(code)
    assert ".;" not in sentence


@pytest.mark.parametrize("code", mlflow_aws.DENIED)
def test_a_missing_right_is_named_with_where_the_policy_has_it(code: str) -> None:
    sentence = mlflow_aws.reason(refusal(code, DENIAL.format("identity-based policy"), 403))
    assert sentence.endswith(
        "the login lacks ec2:CreateVpc: attach to it the policies in policies/deployer/, which have it"
    )


def test_a_denial_that_names_no_action_has_the_operation() -> None:
    sentence = mlflow_aws.reason(refusal("AccessDenied", "Access Denied", 403, "PutBucketPolicy"))
    assert "the login lacks PutBucketPolicy:" in sentence


@pytest.mark.parametrize("what", ["service control policy", "permissions boundary", "VPC endpoint policy"])
def test_a_right_that_somebody_else_takes_away_is_not_sought_in_our_policies(what: str) -> None:
    for message in (
        DENIAL.format(what),
        f"is not authorized to perform: s3:PutObject with an explicit deny in a {what}",
    ):
        sentence = mlflow_aws.reason(refusal("AccessDenied", message, 403))
        assert f"a {what} stands against " in sentence
        assert "policies/deployer" not in sentence


@pytest.mark.parametrize(
    ("code", "message", "end"),
    [
        ("ExpiredToken", "The security token has expired", "log in to AWS again and repeat the run"),
        ("RequestLimitExceeded", "Request limit exceeded.", "AWS was asked too often: repeat the run"),
        ("LimitExceededException", "Rate exceeded", "AWS was asked too often: repeat the run"),
        ("InvalidParameterValue", "No such thing.", "No such thing (InvalidParameterValue)"),
    ],
)
def test_other_refusals(code: str, message: str, end: str) -> None:
    assert mlflow_aws.reason(refusal(code, message)).endswith(end)


UPSTREAM = "Failed to create VPC: An error occurred ({}) when calling the CreateVpc operation{}: {}"


def test_the_sentence_of_an_upstream_module_gets_its_remedy_once() -> None:
    quota = UPSTREAM.format("VpcLimitExceeded", " (reached max retries: 4)", "The maximum number has been reached.")
    said = mlflow_aws.explained(quota)
    assert said.startswith(quota.rstrip("."))
    assert said.endswith("; raise the quota VPCs per Region (L-F678F1CE) in the Service Quotas console, or remove what "
                         "uses it up, and repeat the run.")  # fmt: skip
    assert mlflow_aws.explained(said) == said
    denial = UPSTREAM.format("UnauthorizedOperation", "", DENIAL.format("identity-based policy"))
    assert "the login lacks ec2:CreateVpc: attach" in mlflow_aws.explained(denial)


def test_the_code_of_a_result_counts_where_its_sentence_has_none() -> None:
    assert "L-0263D0A3" in mlflow_aws.explained("No address.", "AddressLimitExceeded")
    assert mlflow_aws.explained("No address.", "InvalidParameterValue") == "No address."
    assert mlflow_aws.explained("No address.") == "No address."


def test_the_sentence_of_an_own_module_stays_as_it_is() -> None:
    error = refusal("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    sentence = f"Could not allocate the address: {mlflow_aws.reason(error)}."
    assert mlflow_aws.explained(sentence, "AddressLimitExceeded") == sentence


@pytest.fixture(scope="module")
def normal() -> ModuleType:
    """The action plugin through which every module goes."""
    spec = importlib.util.spec_from_file_location("own_normal", ROOT / "plugins" / "action" / "normal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("result", "helped"),
    [
        ({"failed": True, "msg": "No.", "error": {"code": "VpcLimitExceeded", "message": "No."}}, True),
        ({"failed": True, "msg": UPSTREAM.format("VpcLimitExceeded", "", "No.")}, True),
        ({"failed": False, "msg": UPSTREAM.format("VpcLimitExceeded", "", "No.")}, False),
        ({"failed": True, "msg": "No.", "error": "VpcLimitExceeded"}, False),
        ({"failed": True, "msg": ["VpcLimitExceeded"]}, False),
        ({"failed": True}, False),
    ],
)
def test_every_module_that_is_refused_says_what_helps(normal: ModuleType, result: dict[str, Any], helped: bool) -> None:
    before = result.get("msg")
    assert ("L-F678F1CE" in str(normal.with_remedy(dict(result)).get("msg"))) is helped
    assert helped or normal.with_remedy(result).get("msg") == before
