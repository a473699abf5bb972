"""The faults around the emulator are what they say, as boto3 meets them, in every protocol that AWS speaks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from bench import faults, sides
from bench.faults import Fault
from plugins.module_utils import mlflow_aws


class Quiet(WSGIRequestHandler):
    """No line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class Emulator:
    """moto with the layer around it, served by a thread of this process."""

    def __init__(self) -> None:
        self.layer = faults.Faults(DomainDispatcherApplication(create_backend_app))
        self.server = make_server("127.0.0.1", 0, self.layer, threaded=True, request_handler=Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def client(self, service: str, attempts: int = 1) -> Any:
        """boto3's client, which asks at most so often."""
        session = boto3.session.Session(
            aws_access_key_id=sides.AWS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=sides.AWS["AWS_SECRET_ACCESS_KEY"],
            region_name=sides.REGION,
        )
        config = Config(retries={"total_max_attempts": attempts}, s3={"addressing_style": "path"})
        url = f"http://127.0.0.1:{self.server.server_port}"
        return session.client(service, endpoint_url=url, config=config)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as shell:
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_CA_BUNDLE", "HTTP_PROXY", "http_proxy"):
            shell.delenv(name, raising=False)
        made = Emulator()
        yield made
        made.server.shutdown()


@pytest.fixture(autouse=True)
def no_faults(emulator: Emulator) -> None:
    emulator.layer.arm([])


# One changing call in each protocol: (client, method, arguments, name, code when throttled, code when refused).
WHERE = {"LocationConstraint": sides.REGION}
CALLS: list[tuple[str, str, dict[str, Any], str, str, str]] = [
    ("ec2", "create_vpc", {"CidrBlock": "10.0.0.0/16"}, "ec2 CreateVpc", "RequestLimitExceeded",
     "UnauthorizedOperation"),
    ("iam", "create_group", {"GroupName": "x"}, "iam CreateGroup", "Throttling", "AccessDenied"),
    ("elbv2", "create_target_group", {"Name": "x", "Protocol": "HTTP", "Port": 80, "VpcId": "vpc-1"},
     "elasticloadbalancing CreateTargetGroup", "Throttling", "AccessDenied"),
    ("ecs", "create_cluster", {"clusterName": "x"}, "ecs CreateCluster", "ThrottlingException",
     "AccessDeniedException"),
    ("s3", "create_bucket", {"Bucket": "xxx", "CreateBucketConfiguration": WHERE}, "s3 CreateBucket", "SlowDown",
     "AccessDenied"),
    ("efs", "create_file_system", {"CreationToken": "x"}, "elasticfilesystem CreateFileSystem", "ThrottlingException",
     "AccessDeniedException"),
    ("route53", "create_hosted_zone", {"Name": "x.org", "CallerReference": "x"}, "route53 CreateHostedZone", "SlowDown",
     "AccessDenied"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "method", "arguments", "name", "throttled", "refused"), CALLS)
def test_aws_refuses_in_the_protocol_of_the_service(
    emulator: Emulator, service: str, method: str, arguments: dict[str, Any], name: str, throttled: str, refused: str
) -> None:
    for kind, code in (("throttled", throttled), ("refused", refused)):
        emulator.layer.arm([Fault(name, kind)])
        with pytest.raises(ClientError) as caught:
            getattr(emulator.client(service), method)(**arguments)
        error = caught.value.response["Error"]
        assert error["Code"] == code
        assert kind == "throttled" or f"not authorized to perform: {name.replace(' ', ':')} " in error["Message"]
        assert [hit["call"] for hit in emulator.layer.hits] == [name]
    emulator.layer.arm([Fault(name, "refused", code="QuotaExceeded", message="Enough.")])
    with pytest.raises(ClientError, match=r"\(QuotaExceeded\).*: Enough\."):
        getattr(emulator.client(service), method)(**arguments)


def test_boto3_repeats_what_is_throttled(emulator: Emulator) -> None:
    emulator.layer.arm([Fault("iam *", "throttled", times=2)])
    emulator.client("iam", attempts=3).create_group(GroupName="throttled")
    assert [hit["kind"] for hit in emulator.layer.hits] == ["throttled", "throttled"]


def test_a_lost_answer_is_that_of_a_call_that_was_carried_out(emulator: Emulator) -> None:
    emulator.layer.arm([Fault("iam CreateGroup", "lost")])
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        emulator.client("iam").create_group(GroupName="lost")
    assert emulator.client("iam").get_group(GroupName="lost")["Group"]["GroupName"] == "lost"


def test_botocore_makes_two_of_what_has_no_token(emulator: Emulator) -> None:
    """The fault that this layer is for."""
    emulator.layer.arm([Fault("ec2 CreateVpc", "lost")])
    emulator.client("ec2", attempts=2).create_vpc(CidrBlock="10.7.0.0/16")
    vpcs = emulator.client("ec2").describe_vpcs()["Vpcs"]
    assert [vpc["CidrBlock"] for vpc in vpcs].count("10.7.0.0/16") == 2


def test_what_was_done_before_is_done_where_only_the_answer_got_lost(emulator: Emulator) -> None:
    """Whoever imports mlflow_aws is not told that a repeated call is refused because the first one did it."""
    assert mlflow_aws.done_before is not None
    ec2, ssm = emulator.client("ec2", attempts=2), emulator.client("ssm", attempts=2)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    emulator.layer.arm([Fault("*", "lost", each=True)])
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ssm.put_parameter(Name="/lost", Value="x", Type="String")
    ec2.delete_subnet(SubnetId=subnet)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc)
    assert len(emulator.layer.hits) == 6
    # What was never there is still said.
    emulator.layer.arm([])
    with pytest.raises(ClientError, match="NotFound"):
        ec2.delete_subnet(SubnetId=subnet)
    with pytest.raises(ClientError, match="ParameterAlreadyExists"):
        ssm.put_parameter(Name="/lost", Value="x", Type="String")


def test_a_client_token_makes_one_of_it(emulator: Emulator) -> None:
    ec2 = emulator.client("ec2", attempts=2)
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/24")["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    emulator.layer.arm([Fault("ec2 CreateNatGateway", "lost")])
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    assert [each["NatGatewayId"] for each in ec2.describe_nat_gateways()["NatGateways"]] == [made]
    assert len(emulator.layer.hits) == 1


def test_a_fault_happens_to_the_calls_that_it_names_and_counts(emulator: Emulator) -> None:
    emulator.layer.arm([Fault("iam Create*", "refused", but=["* CreateRole"], nth=2, times=2)])
    iam = emulator.client("iam")
    for name, refused in (("n1", False), ("n2", True), ("n3", True), ("n4", False)):
        if refused:
            with pytest.raises(ClientError):
                iam.create_group(GroupName=name)
        else:
            iam.create_group(GroupName=name)
        iam.list_groups()
    iam.create_role(RoleName="n", AssumeRolePolicyDocument="{}")
    assert emulator.layer.calls == ["iam CreateGroup"] * 4 + ["iam CreateRole"]


def test_each_request_meets_it_for_itself(emulator: Emulator) -> None:
    emulator.layer.arm([Fault("*", "throttled", each=True)])
    iam = emulator.client("iam", attempts=2)
    for name in ("e1", "e2"):
        iam.create_group(GroupName=name)
    assert len(emulator.layer.hits) == 2
    assert len(emulator.layer.calls) == 4


@pytest.mark.parametrize(
    ("method", "path", "query", "operation"),
    [
        ("PUT", "/bucket", "policy", "PutBucketPolicy"),
        ("PUT", "/bucket", "versioning", "PutBucketVersioning"),
        ("PUT", "/bucket", "", "CreateBucket"),
        ("PUT", "/bucket/a/b", "", "PutObject"),
        ("PUT", "/bucket/a", "partNumber=1&uploadId=x", "UploadPart"),
        ("POST", "/bucket", "delete", "DeleteObjects"),
        ("DELETE", "/bucket", "lifecycle", "DeleteBucketLifecycle"),
        ("DELETE", "/bucket", "", "DeleteBucket"),
        ("HEAD", "/bucket", "", "HeadBucket"),
        ("GET", "/bucket", "location", "GetBucketLocation"),
        ("GET", "/bucket", "list-type=2&prefix=a", "ListObjectsV2"),
    ],
)
def test_calls_of_s3_have_their_names(method: str, path: str, query: str, operation: str) -> None:
    assert faults.rest_operation("s3", method, path, query) == operation


def test_a_copy_has_its_name() -> None:
    assert faults.rest_operation("s3", "PUT", "/bucket/a", "", copies=True) == "CopyObject"


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/2015-02-01/file-systems", "CreateFileSystem"),
        ("PUT", "/2015-02-01/file-systems/fs-1/lifecycle-configuration", "PutLifecycleConfiguration"),
        ("DELETE", "/2015-02-01/mount-targets/fsmt-1", "DeleteMountTarget"),
        ("POST", "/2015-02-01/resource-tags/fs-1", "TagResource"),
        ("GET", "/2015-02-01/access-points", "DescribeAccessPoints"),
    ],
)
def test_calls_of_efs_have_their_names(method: str, path: str, operation: str) -> None:
    assert faults.rest_operation("elasticfilesystem", method, path, "") == operation


def test_a_kill_ends_the_process_and_all_that_it_started() -> None:
    # The second is in a session of its own, as the process is that runs modules warm.
    script = "sleep 300 & setsid sleep 300 & wait"
    parent = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    processes = [psutil.Process(parent.pid)]
    while len(processes) < 3:
        processes = [processes[0], *processes[0].children(recursive=True)]
    faults.kill(parent.pid)
    assert parent.wait(10) == -9
    _, alive = psutil.wait_procs(processes[1:], timeout=10)
    assert not [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_faults_come_from_a_file_or_over_http(tmp_path: Path) -> None:
    wanted = [Fault("ec2 *", "lost", but=["ec2 CreateVpc"], each=True), Fault("*", "killed after", nth=3, pid=7)]
    assert faults.load(faults.dump(wanted)) == wanted
    assert faults.load("") == []
    with pytest.raises(ValueError, match="fault 'x' is none of lost, killed before"):
        faults.load('[{"call": "*", "kind": "x"}]')
    (tmp_path / "aws").mkdir()
    with sides.Cloud(tmp_path / "aws") as cloud:
        cloud.arm(Fault("iam *", "refused"))
        assert cloud.happened() == ([], [])
