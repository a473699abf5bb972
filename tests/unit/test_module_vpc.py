"""The modules of a VPC, its NAT gateways, endpoints and flow log, in-process against moto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ReadTimeoutError
from moto.ec2.models import ec2_backends

from bench import moto_server
from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

ACCOUNT, STACK = "123456789012", "team-a"
TAGS = {"Stack": STACK, "ManagedBy": "ansible"}
CIDR = "10.20.0.0/16"
S3, LOGS = (f"com.amazonaws.{REGION}.{service}" for service in ("s3", "logs"))
NAMES = (
    "vpc",
    "vpc_subnets",
    "vpc_route_tables",
    "vpc_security_group",
    "nat_gateways",
    "vpc_endpoints",
    "vpc_flow_log",
    "stack_info",
)


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    moto_server.free_addresses()
    return {name: load("modules", name) for name in NAMES}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def ec2() -> Any:
    return client("ec2")


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    """What is used in the place of moto, by operation."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


@pytest.fixture
def lose(stubs: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """lose(operation): the first call goes through, but its answer never arrives."""
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def lose_answer(operation: str) -> None:
        def call(**request: Any) -> Any:
            del stubs[operation]
            original(client("ec2"), operation, request)
            raise ReadTimeoutError(endpoint_url="https://ec2")

        stubs[operation] = call

    return lose_answer


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def untag(ec2: Any, *resources: str) -> None:
    ec2.delete_tags(Resources=[*resources], Tags=[{"Key": "Stack"}, {"Key": "Name"}])


def vpcs_of(ec2: Any) -> list[dict[str, Any]]:
    return [vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]


WANTED = {"name": STACK, "cidr": CIDR, "tags": TAGS}


@pytest.fixture
def made(run: Run) -> dict[str, Any]:
    """The module's answer about a VPC that it has made."""
    answer = run("vpc", **WANTED)
    assert answer.get("changed") is True, answer
    return answer


@pytest.fixture
def subnets(run: Run, made: dict[str, Any]) -> list[str]:
    """Two subnets in zones a and b, with the tags of the stack."""
    asked = [{"cidr": f"10.20.{number}.0/24", "az": f"{REGION}{zone}"} for number, zone in enumerate("ab")]
    answer = run("vpc_subnets", vpc_id=made["vpc_id"], subnets=asked, tags=TAGS)
    return list(answer["subnet_ids"])


# --- vpc -------------------------------------------------------------------------------------------------------------


def test_a_vpc_four_steps(run: Run, ec2: Any) -> None:
    answer = four_steps(run, "vpc", **WANTED)
    assert answer.writes == ["CreateVpc", "ModifyVpcAttribute", "CreateInternetGateway", "AttachInternetGateway"]
    (vpc,) = vpcs_of(ec2)
    (gateway,) = ec2.describe_internet_gateways(InternetGatewayIds=[answer["internet_gateway_id"]])["InternetGateways"]
    assert (vpc["VpcId"], vpc["CidrBlock"]) == (answer["vpc_id"], CIDR)
    assert tags_of(vpc) == tags_of(gateway) == {**TAGS, "Name": STACK}
    assert [each["VpcId"] for each in gateway["Attachments"]] == [vpc["VpcId"]]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        name = attribute[0].lower() + attribute[1:]
        assert ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=name)[attribute]["Value"] is True
    gone = four_steps(run, "vpc", name=STACK, tags=TAGS, state="absent")
    assert gone.writes == ["DetachInternetGateway", "DeleteInternetGateway", "DeleteVpc"]
    assert vpcs_of(ec2) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda ec2, vpc, _: ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False}),
        lambda ec2, vpc, _: ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False}),
        lambda ec2, vpc, igw: ec2.create_tags(Resources=[vpc, igw], Tags=tag_list(Extra="x", ManagedBy="hand")),
        lambda ec2, vpc, igw: untag(ec2, vpc, igw),
        lambda ec2, vpc, igw: ec2.detach_internet_gateway(InternetGatewayId=igw, VpcId=vpc),
    ],
)
@pytest.mark.usefixtures("subnets")
def test_a_vpc_that_somebody_has_changed_is_repaired(
    run: Run, ec2: Any, made: dict[str, Any], change: Callable[[Any, str, str], None]
) -> None:
    change(ec2, made["vpc_id"], made["internet_gateway_id"])
    mended = four_steps(run, "vpc", **WANTED)
    assert (mended["vpc_id"], mended["internet_gateway_id"]) == (made["vpc_id"], made["internet_gateway_id"])
    assert "CreateVpc" not in mended.writes
    assert "CreateInternetGateway" not in mended.writes


def test_network_acls_are_as_aws_makes_them(run: Run, ec2: Any, made: dict[str, Any], subnets: list[str]) -> None:
    inside = [{"Name": "vpc-id", "Values": [made["vpc_id"]]}]
    (default,) = ec2.describe_network_acls(Filters=inside)["NetworkAcls"]
    entry = {"NetworkAclId": default["NetworkAclId"], "Protocol": "-1", "Egress": False, "CidrBlock": "0.0.0.0/0"}
    ec2.create_network_acl_entry(**entry, RuleNumber=1, RuleAction="deny")
    ec2.replace_network_acl_entry(**{**entry, "Egress": True}, RuleNumber=100, RuleAction="deny")
    foreign = ec2.create_network_acl(VpcId=made["vpc_id"])["NetworkAcl"]["NetworkAclId"]
    association = next(each for each in default["Associations"] if each["SubnetId"] == subnets[0])
    ec2.replace_network_acl_association(AssociationId=association["NetworkAclAssociationId"], NetworkAclId=foreign)
    four_steps(run, "vpc", **WANTED)
    (left,) = ec2.describe_network_acls(Filters=inside)["NetworkAcls"]

    def entries(acl: dict[str, Any]) -> list[tuple[Any, ...]]:
        return sorted((each["Egress"], each["RuleNumber"], each["RuleAction"]) for each in acl["Entries"])

    assert entries(left) == entries(default)
    assert {each["SubnetId"] for each in left["Associations"]} == set(subnets)


@pytest.mark.parametrize("operation", ["CreateVpc", "CreateInternetGateway", "AttachInternetGateway"])
def test_a_lost_answer_makes_no_second_one(run: Run, ec2: Any, lose: Callable[[str], None], operation: str) -> None:
    gateways = len(ec2.describe_internet_gateways()["InternetGateways"])
    lose(operation)
    first = run("vpc", **WANTED)
    answer = run("vpc", **WANTED)
    assert answer.get("failed") is None, answer
    assert operation == "AttachInternetGateway" or first["changed"] is True, first
    assert len(vpcs_of(ec2)) == 1
    assert len(ec2.describe_internet_gateways()["InternetGateways"]) == gateways + 1


@pytest.mark.usefixtures("subnets")
def test_an_empty_second_vpc_and_a_free_gateway_of_the_stack_go(run: Run, ec2: Any, made: dict[str, Any]) -> None:
    tags = tag_list(**TAGS, Name=STACK)
    ec2.create_vpc(CidrBlock=CIDR, TagSpecifications=[{"ResourceType": "vpc", "Tags": tags}])
    free = [{"ResourceType": "internet-gateway", "Tags": tags}]
    ec2.create_internet_gateway(TagSpecifications=free)
    theirs = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    assert run("stack_info", name=STACK, parts=["network"])["stack"]["network"]["vpc_id"] == made["vpc_id"]
    mended = four_steps(run, "vpc", **WANTED)
    assert mended.writes == ["DeleteInternetGateway", "DeleteVpc"]
    assert [vpc["VpcId"] for vpc in vpcs_of(ec2)] == [made["vpc_id"]]
    ids = [each["InternetGatewayId"] for each in ec2.describe_internet_gateways()["InternetGateways"]]
    assert {theirs, made["internet_gateway_id"]} <= set(ids)


@pytest.mark.usefixtures("subnets")
def test_two_vpcs_in_use_and_another_range_are_refused(run: Run, ec2: Any, made: dict[str, Any]) -> None:
    assert run("vpc", **{**WANTED, "cidr": "10.21.0.0/16"})["msg"] == (
        f"The VPC {STACK} has the range {CIDR} instead of 10.21.0.0/16, which AWS cannot change; set it back, or give "
        "the stack another name."
    )
    other = ec2.create_vpc(CidrBlock=CIDR)["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[other], Tags=tag_list(**TAGS, Name=STACK))
    ec2.create_subnet(VpcId=other, CidrBlock="10.20.0.0/24")
    refused = run("vpc", **WANTED)
    assert refused["msg"] == (
        f"Several VPCs with subnets are tagged Name={STACK} and Stack={STACK} "
        f"({', '.join(sorted((made['vpc_id'], other)))}); take the tag Stack off all but one."
    )
    assert refused.writes == []


# --- vpc_subnets, vpc_route_tables: what somebody has added ---------------------------------------------------------

ONE = {"cidr": "10.20.0.0/24", "az": f"{REGION}a"}


def test_subnets_and_ranges_that_somebody_has_added_go(run: Run, ec2: Any, made: dict[str, Any]) -> None:
    vpc = made["vpc_id"]
    mine = run("vpc_subnets", vpc_id=vpc, subnets=[ONE], tags=TAGS)["subnet_ids"]
    ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.99.0.0/16")
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.0.0/24")
    assert run("vpc_subnets", vpc_id=vpc, subnets=[ONE], tags=TAGS)["changed"] is False
    gone = four_steps(run, "vpc_subnets", vpc_id=vpc, subnets=[ONE], tags=TAGS, purge=True)
    assert gone.writes == ["DeleteSubnet", "DisassociateVpcCidrBlock"]
    left = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    assert [subnet["SubnetId"] for subnet in left] == mine


def test_a_subnet_in_which_something_is_stops_the_run_before_any_change(
    run: Run, ec2: Any, made: dict[str, Any]
) -> None:
    theirs = ec2.create_subnet(VpcId=made["vpc_id"], CidrBlock="10.20.9.0/24")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=theirs)["NetworkInterface"]["NetworkInterfaceId"]
    refused = run("vpc_subnets", vpc_id=made["vpc_id"], subnets=[ONE], tags=TAGS, purge=True)
    assert refused["msg"] == (
        f"The subnet {theirs} (10.20.9.0/24) is none that git asks for, and the network interface {interface} is in "
        "it: delete what uses it, then run again."
    )
    assert refused.writes == []


def test_tables_that_lost_their_tags_are_found_by_their_subnets_and_others_go(
    run: Run, ec2: Any, made: dict[str, Any], subnets: list[str]
) -> None:
    vpc = made["vpc_id"]
    wanted = [{"name": f"t-{number}", "subnet_ids": [subnet]} for number, subnet in enumerate(subnets)]
    arguments = {"vpc_id": vpc, "tables": wanted, "tags": TAGS, "purge": True}
    ids = run("vpc_route_tables", **arguments)["route_table_ids"]
    untag(ec2, *ids.values())
    ec2.create_route_table(VpcId=vpc)
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    main = next(each for each in tables if any(one.get("Main") for one in each["Associations"]))["RouteTableId"]
    everywhere = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": made["internet_gateway_id"]}
    ec2.create_route(RouteTableId=main, **everywhere)
    ec2.create_route(RouteTableId=ids["t-0"], DestinationIpv6CidrBlock="::/0", GatewayId=made["internet_gateway_id"])
    wanted[0]["routes"] = {}  # type: ignore[assignment]
    mended = four_steps(run, "vpc_route_tables", **arguments)
    assert mended["route_table_ids"] == ids
    assert sorted(mended.writes) == ["CreateTags", "CreateTags", "DeleteRoute", "DeleteRoute", "DeleteRouteTable"]


def test_of_two_tables_with_one_name_the_one_in_use_counts(
    run: Run, ec2: Any, made: dict[str, Any], subnets: list[str]
) -> None:
    wanted = {"vpc_id": made["vpc_id"], "tables": [{"name": "t", "subnet_ids": subnets}], "tags": TAGS}
    ids = run("vpc_route_tables", **wanted)["route_table_ids"]
    tags = [{"ResourceType": "route-table", "Tags": tag_list(**TAGS, Name="t")}]
    ec2.create_route_table(VpcId=made["vpc_id"], TagSpecifications=tags)
    mended = four_steps(run, "vpc_route_tables", **wanted)
    assert (mended["route_table_ids"], mended.writes) == (ids, ["DeleteRouteTable"])


def test_a_security_group_goes_and_a_lost_answer_makes_no_error(
    run: Run, made: dict[str, Any], lose: Callable[[str], None]
) -> None:
    group = {"name": "team-a-service", "vpc_id": made["vpc_id"]}
    lose("CreateSecurityGroup")
    assert run("vpc_security_group", **group, description="Tasks", tags=TAGS)["changed"] is True
    assert run("vpc_security_group", **group, description="Tasks", tags=TAGS)["changed"] is False
    assert four_steps(run, "vpc_security_group", **group, state="absent").writes == ["DeleteSecurityGroup"]


# --- nat_gateways ----------------------------------------------------------------------------------------------------


def asked(subnets: list[str], zones: str = "ab") -> list[dict[str, str]]:
    return [{"zone": f"{REGION}{zone}", "subnet_id": subnets["ab".index(zone)]} for zone in zones]


@pytest.fixture
def nats(made: dict[str, Any], subnets: list[str]) -> dict[str, Any]:
    """Arguments of a gateway in each zone."""
    return {"name": STACK, "vpc_id": made["vpc_id"], "gateways": asked(subnets), "tags": TAGS}


def serving(ec2: Any) -> list[tuple[str, str]]:
    """(name, address) of each gateway that is not deleted."""
    gateways = [each for each in ec2.describe_nat_gateways()["NatGateways"] if each["State"] != "deleted"]
    return sorted((tags_of(each)["Name"], each["NatGatewayAddresses"][0]["AllocationId"]) for each in gateways)


def addresses(ec2: Any) -> dict[str, dict[str, str]]:
    return {each["AllocationId"]: tags_of(each) for each in ec2.describe_addresses()["Addresses"]}


def test_nat_gateways_four_steps_fewer_and_none(run: Run, ec2: Any, nats: dict[str, Any], subnets: list[str]) -> None:
    assert four_steps(run, "nat_gateways", **nats).writes == ["AllocateAddress", "CreateNatGateway"] * 2
    assert [name for name, _ in serving(ec2)] == [f"{STACK}-{REGION}a", f"{STACK}-{REGION}b"]
    assert list(addresses(ec2).values()) == [{**TAGS, "Name": f"{STACK}-{REGION}{zone}"} for zone in "ab"]
    one = {**nats, "gateways": asked(subnets, "a")}
    kept = run("nat_gateways", **one, purge=False)
    assert (kept["changed"], kept["surplus"]) == (False, True)
    fewer = four_steps(run, "nat_gateways", **one)
    assert (fewer["surplus"], [name for name, _ in serving(ec2)]) == (False, [f"{STACK}-{REGION}a"])
    assert list(addresses(ec2)) == [address for _, address in serving(ec2)]
    four_steps(run, "nat_gateways", name=STACK, tags=TAGS)
    assert (serving(ec2), addresses(ec2)) == ([], {})


def test_an_address_stays_until_its_gateway_is_gone(
    run: Run, ec2: Any, nats: dict[str, Any], stubs: dict[str, Any]
) -> None:
    ids = run("nat_gateways", **nats)["nat_gateway_ids"].values()
    backend = ec2_backends[ACCOUNT][REGION].nat_gateways

    def delete_nat_gateway(NatGatewayId: str) -> dict[str, Any]:
        backend[NatGatewayId].state = "deleting"
        return {}

    stubs["DeleteNatGateway"] = delete_nat_gateway
    none = {**nats, "gateways": []}
    first = run("nat_gateways", **none)
    assert (first["surplus"], first.writes.count("ReleaseAddress")) == (True, 0)
    again = run("nat_gateways", **none)
    assert (again["surplus"], again.writes) == (True, [])
    for gateway in ids:
        ec2_backends[ACCOUNT][REGION].delete_nat_gateway(gateway)
    last = run("nat_gateways", **none)
    assert (last["surplus"], last.writes) == (False, ["ReleaseAddress"] * 2)
    assert addresses(ec2) == {}


def test_gateways_and_addresses_that_lost_their_tags_are_found_again(run: Run, ec2: Any, nats: dict[str, Any]) -> None:
    ids = run("nat_gateways", **nats)["nat_gateway_ids"]
    before = addresses(ec2)
    untag(ec2, *ids.values(), *before)
    mended = four_steps(run, "nat_gateways", **nats)
    assert (mended["nat_gateway_ids"], mended.writes) == (ids, ["CreateTags"] * 4)
    assert addresses(ec2) == before


@pytest.mark.parametrize("operation", ["AllocateAddress", "CreateNatGateway"])
def test_a_lost_answer_costs_no_second_address(
    run: Run, ec2: Any, nats: dict[str, Any], lose: Callable[[str], None], operation: str
) -> None:
    lose(operation)
    assert run("nat_gateways", **nats)["changed"] is True
    assert run("nat_gateways", **nats)["changed"] is False
    assert len(serving(ec2)) == len(addresses(ec2)) == 2


def test_an_address_that_belongs_to_nothing_is_taken_or_released(run: Run, ec2: Any, nats: dict[str, Any]) -> None:
    tags = [{"ResourceType": "elastic-ip", "Tags": tag_list(**TAGS, Name=f"{STACK}-{REGION}a")}]
    left = ec2.allocate_address(Domain="vpc", TagSpecifications=tags)["AllocationId"]
    theirs = ec2.allocate_address(Domain="vpc")["AllocationId"]
    run("nat_gateways", **nats)
    assert left in [address for _, address in serving(ec2)]
    ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    assert four_steps(run, "nat_gateways", **nats).writes == ["ReleaseAddress"]
    assert set(addresses(ec2)) == {theirs, *(address for _, address in serving(ec2))}


# --- vpc_endpoints ---


@pytest.fixture
def endpoints(run: Run, made: dict[str, Any], subnets: list[str]) -> dict[str, Any]:
    """Arguments of a gateway endpoint and of an interface endpoint."""
    tables = [{"name": f"t-{number}", "subnet_ids": [subnet]} for number, subnet in enumerate(subnets)]
    ids = run("vpc_route_tables", vpc_id=made["vpc_id"], tables=tables, tags=TAGS)["route_table_ids"]
    group = run("vpc_security_group", name="e", vpc_id=made["vpc_id"], description="e")["group_id"]
    interface = {"name": "team-a-logs", "service": LOGS, "subnet_ids": subnets, "security_group_ids": [group]}
    gateway = {"name": "team-a-s3", "service": S3, "type": "Gateway", "route_table_ids": sorted(ids.values())}
    return {"vpc_id": made["vpc_id"], "endpoints": [gateway, interface], "tags": TAGS}


def present(ec2: Any) -> dict[str, dict[str, Any]]:
    """Each endpoint that is not deleted by its service; two of one service fail."""
    left = [each for each in ec2.describe_vpc_endpoints()["VpcEndpoints"] if each["State"] != "deleted"]
    assert len({each["ServiceName"] for each in left}) == len(left)
    return {each["ServiceName"]: each for each in left}


def test_endpoints_four_steps_and_fewer(run: Run, ec2: Any, endpoints: dict[str, Any]) -> None:
    answer = four_steps(run, "vpc_endpoints", **endpoints)
    assert answer.writes == ["CreateVpcEndpoint"] * 2
    assert (answer["pending"], answer["surplus"]) == (False, False)
    gateway, interface = endpoints["endpoints"]
    assert sorted(present(ec2)[S3]["RouteTableIds"]) == gateway["route_table_ids"]
    assert sorted(present(ec2)[LOGS]["SubnetIds"]) == sorted(interface["subnet_ids"])
    assert present(ec2)[LOGS]["PrivateDnsEnabled"] is True
    assert tags_of(present(ec2)[LOGS]) == {**TAGS, "Name": "team-a-logs"}
    fewer = {**endpoints, "endpoints": [gateway]}
    kept = run("vpc_endpoints", **fewer, purge="none")
    assert (kept["changed"], kept["surplus"]) == (False, True)
    four_steps(run, "vpc_endpoints", **fewer)
    assert list(present(ec2)) == [S3]


def test_endpoints_that_somebody_has_changed_are_repaired(
    run: Run, ec2: Any, endpoints: dict[str, Any], made: dict[str, Any]
) -> None:
    ids = run("vpc_endpoints", **endpoints)["endpoint_ids"]
    gateway, interface = endpoints["endpoints"]
    other = ec2.create_security_group(GroupName="x", Description="x", VpcId=made["vpc_id"])["GroupId"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    ec2.modify_vpc_endpoint(
        VpcEndpointId=ids[S3], RemoveRouteTableIds=gateway["route_table_ids"][:1], PolicyDocument=policy
    )
    ec2.modify_vpc_endpoint(
        VpcEndpointId=ids[LOGS], RemoveSubnetIds=interface["subnet_ids"][:1], AddSecurityGroupIds=[other]
    )
    untag(ec2, *ids.values())
    mended = four_steps(run, "vpc_endpoints", **endpoints)
    assert mended["endpoint_ids"] == ids
    assert mended.writes == ["ModifyVpcEndpoint", "CreateTags"] * 2
    assert sorted(present(ec2)[S3]["RouteTableIds"]) == gateway["route_table_ids"]
    assert [group["GroupId"] for group in present(ec2)[LOGS]["Groups"]] == interface["security_group_ids"]


def test_an_endpoint_that_is_deleted_is_not_present(run: Run, ec2: Any, endpoints: dict[str, Any]) -> None:
    ids = run("vpc_endpoints", **endpoints)["endpoint_ids"]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[ids[S3]])
    assert four_steps(run, "vpc_endpoints", **endpoints)["endpoint_ids"][S3] != ids[S3]


def test_a_lost_answer_makes_no_second_endpoint(
    run: Run, ec2: Any, endpoints: dict[str, Any], lose: Callable[[str], None]
) -> None:
    lose("CreateVpcEndpoint")
    assert run("vpc_endpoints", **endpoints)["changed"] is True
    assert run("vpc_endpoints", **endpoints)["changed"] is False
    assert len(present(ec2)) == 2


def test_an_endpoint_of_somebody_else_stays_until_all_go(run: Run, ec2: Any, endpoints: dict[str, Any]) -> None:
    theirs = f"com.amazonaws.{REGION}.sqs"
    ec2.create_vpc_endpoint(VpcId=endpoints["vpc_id"], ServiceName=theirs, VpcEndpointType="Interface")
    run("vpc_endpoints", **endpoints)
    run("vpc_endpoints", **{**endpoints, "endpoints": []})
    assert list(present(ec2)) == [theirs]
    four_steps(run, "vpc_endpoints", vpc_id=endpoints["vpc_id"], purge="all")
    assert present(ec2) == {}


# --- vpc_flow_log ----------------------------------------------------------------------------------------------------


@pytest.fixture
def flow_log(made: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a flow log whose group and role are there."""
    client("logs").create_log_group(logGroupName="/mlflow/team-a/flow")
    role = client("iam").create_role(RoleName="flow", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    return {"vpc_id": made["vpc_id"], "log_group": "/mlflow/team-a/flow", "role_arn": role, "tags": TAGS}


def test_flow_log_four_steps_and_absence(run: Run, ec2: Any, flow_log: dict[str, Any]) -> None:
    answer = four_steps(run, "vpc_flow_log", **flow_log)
    assert answer.writes == ["CreateFlowLogs"]
    (found,) = ec2.describe_flow_logs()["FlowLogs"]
    assert (found["FlowLogId"], found["DeliverLogsPermissionArn"]) == (answer["flow_log_id"], flow_log["role_arn"])
    assert tags_of(found) == TAGS
    retagged = four_steps(run, "vpc_flow_log", **{**flow_log, "tags": {"Stack": STACK, "Team": "a"}})
    assert (retagged["flow_log_id"], retagged.writes) == (answer["flow_log_id"], ["CreateTags", "DeleteTags"])
    for key, value in (("traffic_type", "REJECT"), ("role_arn", flow_log["role_arn"] + "-2")):
        if key == "role_arn":
            client("iam").create_role(RoleName="flow-2", AssumeRolePolicyDocument="{}")
        replaced = four_steps(run, "vpc_flow_log", **{**flow_log, key: value})
        assert replaced.writes == ["DeleteFlowLogs", "CreateFlowLogs"]
    gone = {key: flow_log[key] for key in ("vpc_id", "log_group")}
    assert four_steps(run, "vpc_flow_log", **gone, state="absent")["flow_log_id"] is None
    assert ec2.describe_flow_logs()["FlowLogs"] == []


@pytest.mark.parametrize("setting", [{"MaxAggregationInterval": 60}, {"LogFormat": "${srcaddr}"}])
def test_a_flow_log_with_other_settings_is_replaced(
    run: Run, ec2: Any, flow_log: dict[str, Any], setting: dict[str, Any]
) -> None:
    ec2.create_flow_logs(
        ResourceIds=[flow_log["vpc_id"]],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName=flow_log["log_group"],
        DeliverLogsPermissionArn=flow_log["role_arn"],
        **setting,
    )
    assert four_steps(run, "vpc_flow_log", **flow_log).writes == ["DeleteFlowLogs", "CreateFlowLogs"]


def test_flow_log_leaves_another_group_alone(run: Run, ec2: Any, flow_log: dict[str, Any]) -> None:
    run("vpc_flow_log", **flow_log)
    client("logs").create_log_group(logGroupName="/other")
    run("vpc_flow_log", **{**flow_log, "log_group": "/other"})
    run("vpc_flow_log", vpc_id=flow_log["vpc_id"], log_group="/other", state="absent")
    assert [each["LogGroupName"] for each in ec2.describe_flow_logs()["FlowLogs"]] == ["/mlflow/team-a/flow"]


def test_a_lost_answer_makes_no_second_flow_log(
    run: Run, ec2: Any, flow_log: dict[str, Any], lose: Callable[[str], None]
) -> None:
    lose("CreateFlowLogs")
    assert run("vpc_flow_log", **flow_log)["changed"] is True
    assert len(ec2.describe_flow_logs()["FlowLogs"]) == 1


@pytest.mark.parametrize(
    ("flow_log_of", "mine"),
    [
        ({"LogGroupName": "/a"}, True),
        ({"LogDestination": "/a"}, True),
        ({"LogDestination": f"arn:aws:logs:{REGION}:1:log-group:/a:*"}, True),
        ({"LogDestination": "arn:aws:s3:::bucket/a"}, False),
        ({"LogGroupName": "/b/a"}, False),
    ],
)
def test_flow_log_is_found_in_every_form(
    modules: dict[str, ModuleType], flow_log_of: dict[str, str], mine: bool
) -> None:
    assert modules["vpc_flow_log"].to_group(flow_log_of, "/a") is mine


def test_flow_log_of_a_missing_vpc_or_without_a_role_is_one_sentence(run: Run, flow_log: dict[str, Any]) -> None:
    answer = run("vpc_flow_log", **{**flow_log, "vpc_id": "vpc-00000000000000000"})
    assert answer["msg"].startswith("Could not create the flow log of vpc-00000000000000000: ")
    assert "role_arn" in run("vpc_flow_log", vpc_id="vpc-1", log_group="/a")["msg"]
