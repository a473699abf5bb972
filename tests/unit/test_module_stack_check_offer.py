"""Module stack_check: what AWS would refuse half way is asked before the first change, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bench import moto_offer
from tests.own_modules import Answer, client, empty_aws, load, runner
from tests.unit.test_module_stack_check import SETTINGS, STACK, make_network

Stubs = dict[str, Callable[..., Any]]
TLS = {"domain": "mlflow.example.org"}
SMALL = {"instance_class": "db.t4g.small"}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    moto_offer.fill()
    return load("modules", "stack_check")


@pytest.fixture
def stubs() -> Stubs:
    return {}


@pytest.fixture
def run(
    module: ModuleType, stubs: Stubs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Answer]]:
    with empty_aws(monkeypatch):
        one = runner({"stack_check": module}, capsys, monkeypatch, stubs)
        yield lambda **arguments: one("stack_check", **(SETTINGS | arguments))


Run = Callable[..., Answer]


def refused(answer: Answer) -> list[str]:
    """The sentences of a refusal; none for a run that goes on."""
    assert answer.writes == []
    lines = str(answer.get("msg", "")).splitlines()
    assert not lines or lines[0] == f"AWS would refuse {STACK} half way; nothing was changed:"
    return lines[1:]


def certificate(*names: str) -> str:
    answer = client("acm").request_certificate(DomainName=names[0], SubjectAlternativeNames=list(names))
    return str(answer["CertificateArn"])


@pytest.mark.parametrize("name", ["mlflow.example.org", "*.example.org"])
def test_a_certificate_for_the_domain_is_taken(run: Run, name: str) -> None:
    assert not refused(run(certificate_arn=certificate("other.example.org", name), **TLS))


@pytest.mark.parametrize("name", ["example.org", "*.mlflow.example.org", "mlflow.example.com", "*.org"])
def test_a_certificate_for_another_name_is_refused(run: Run, name: str) -> None:
    arn = certificate(name)
    [sentence] = refused(run(certificate_arn=arn, **TLS))
    assert sentence == (
        f"mlflow_certificate_arn is {arn}: it is for {name}, and mlflow_domain is mlflow.example.org; use one that has "
        "this name."
    )


def test_a_certificate_that_is_not_there_or_not_issued_is_refused(run: Run, stubs: Stubs) -> None:
    arn = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
    [sentence] = refused(run(certificate_arn=arn, **TLS))
    assert sentence.startswith(f"mlflow_certificate_arn is {arn}: ACM has no such certificate here; ")
    pending = {"Status": "PENDING_VALIDATION", "DomainName": "mlflow.example.org"}
    stubs["DescribeCertificate"] = lambda **_: {"Certificate": pending}
    [sentence] = refused(run(certificate_arn=arn, **TLS))
    assert "it is pending validation, and only an issued one can be used; " in sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"engine_version": "19"}, "mlflow_database_engine_version is 19: RDS does not offer it here; use one of 13,"),
        ({"engine_version": "16.99"}, "mlflow_database_engine_version is 16.99: RDS does not offer it here; use one"),
        ({"instance_class": "db.x.y"}, "mlflow_database_instance_class is db.x.y: RDS does not offer it for Postg"),
    ],
)  # fmt: skip
def test_a_database_that_rds_does_not_offer_is_refused(run: Run, given: dict[str, str], sentence: str) -> None:
    [found] = refused(run(**(SMALL | given)))
    assert found.startswith(sentence)
    assert not refused(run(**(SMALL | given | {"storage": "efs"})))


@pytest.mark.parametrize("version", ["16", "16.4", "17"])
def test_a_database_that_rds_offers_is_taken(run: Run, version: str) -> None:
    assert not refused(run(**SMALL, engine_version=version))


def test_a_class_that_is_for_other_versions_is_refused(run: Run, stubs: Stubs) -> None:
    options = [{"EngineVersion": "13.4"}]
    stubs["DescribeOrderableDBInstanceOptions"] = lambda **_: {"OrderableDBInstanceOptions": options}
    [sentence] = refused(run(**SMALL))
    assert "RDS does not offer it for PostgreSQL 16.4; name another, or another version." in sentence


def test_vpcs_beyond_the_quota_are_refused_for_a_new_stack_alone(run: Run) -> None:
    for number in range(3):
        client("ec2").create_vpc(CidrBlock=f"10.{number}.0.0/16")
    assert not refused(run())
    client("ec2").create_vpc(CidrBlock="10.9.0.0/16")
    [sentence] = refused(run())
    assert sentence == (
        "the quota VPCs per Region (L-F678F1CE) is 5: with this stack it has to be 6; raise it in the Service Quotas "
        "console, or remove what uses it up."
    )
    make_network()
    assert not refused(run())


def test_addresses_and_gateways_of_others_count(run: Run, stubs: Stubs) -> None:
    stubs["GetServiceQuota"] = lambda **_: {"Quota": {"Value": 2.0}}
    make_network(("eu-west-1a", "eu-west-1b"))
    ec2 = client("ec2")
    subnet = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.42.0.0/20"]}])["Subnets"][0][
        "SubnetId"
    ]
    assert not refused(run(nat_gateways=2))
    first = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.create_nat_gateway(SubnetId=subnet, AllocationId=first)
    assert not refused(run(nat_gateways=1))
    [sentence] = refused(run(nat_gateways=2))
    assert sentence.startswith("the quota EC2-VPC Elastic IPs (L-0263D0A3) is 2: with this stack it has to be 3; raise")
    ec2.create_nat_gateway(SubnetId=subnet, AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"])
    sentences = refused(run(nat_gateways=1))
    assert len(sentences) == 2
    assert "NAT gateways per Availability Zone (L-FE5A380F) is 2: with this stack it has to be 3" in "".join(sentences)


def test_rules_are_counted_against_the_quota_or_its_default(run: Run, stubs: Stubs) -> None:
    assert not refused(run(ingress_rules=60))
    [sentence] = refused(run(ingress_rules=62))
    assert (
        "(L-0EA8095F) is 60: with this stack it has to be 62; list fewer or larger networks in mlflow_all" in sentence
    )
    stubs["GetServiceQuota"] = lambda **_: {"Quota": {"Value": 100.0}}
    assert not refused(run(ingress_rules=62))


def test_more_vcpus_than_fargate_gives_are_refused(run: Run, stubs: Stubs) -> None:
    stubs["GetServiceQuota"] = lambda ServiceCode, **_: {"Quota": {"Value": 6.0 if ServiceCode == "fargate" else 99.0}}
    assert not refused(run(cpu_units=6144))
    [sentence] = refused(run(cpu_units=8192))
    assert "Fargate On-Demand vCPU resource count (L-3032A538) is 6: with this stack it has to be 8; lower " in sentence


def everything(run: Run) -> Answer:
    """A run that has every question to ask, and would be refused for each answer."""
    for number in range(5):
        client("ec2").create_vpc(CidrBlock=f"10.{number}.0.0/16")
    return run(instance_class="db.x.y", engine_version="19", nat_gateways=9, cpu_units=10**9, **TLS,
               certificate_arn="arn:aws:acm:eu-west-1:123456789012:certificate/0a1b")  # fmt: skip


@pytest.mark.parametrize("code", ["AccessDenied", "InternalFailure", ""])
def test_a_login_that_may_not_ask_only_goes_without_the_answer(run: Run, stubs: Stubs, code: str) -> None:
    def deny(**_: Any) -> Any:
        if code:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "x")
        raise ValueError("no answer of AWS")

    assert len(refused(everything(run))) >= 3
    for operation in (
        "DescribeCertificate", "DescribeDBEngineVersions", "DescribeOrderableDBInstanceOptions", "GetServiceQuota",
    ):  # fmt: skip
        stubs[operation] = deny
    assert not refused(everything(run))


def test_destroy_asks_nothing(run: Run) -> None:
    answer = run(refuse=False, instance_class="db.x.y", nat_gateways=9, cpu_units=10**9)
    assert not refused(answer)
    assert not {"GetServiceQuota", "DescribeOrderableDBInstanceOptions"} & set(answer.calls)


def test_a_name_that_something_else_has_is_refused(run: Run) -> None:
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [
        one["SubnetId"] for one in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    ]
    client("elbv2").create_load_balancer(Name=STACK, Subnets=subnets[:2], Type="application")
    client("rds").create_db_instance(
        DBInstanceIdentifier=STACK, DBInstanceClass="db.t4g.small", Engine="postgres", EngineVersion="16.4",
        AllocatedStorage=20, MasterUsername="mlflow", MasterUserPassword="long-enough-1",
    )  # fmt: skip
    answer = run()
    assert [line.partition(";")[0] for line in answer["msg"].splitlines()[1:]] == [
        f"mlflow_stack_name is {STACK}: a {what} of that name is there already and not of this stack"
        for what in ("load balancer", "database")
    ]
    assert answer.writes == []
