"""The modules of a stack's network, and what is looked at while something is awaited, in-process against moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends

from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

ACCOUNT, STACK = "123456789012", "team-a"
TAGS = {"Stack": STACK, "ManagedBy": "ansible"}
ANYWHERE = "0.0.0.0/0"
NAMES = ("vpc_route_tables", "vpc_security_group", "vpc_subnets", "efs_file_system", "stack_info")


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    return {name: load("modules", name) for name in NAMES}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def ec2() -> Any:
    return client("ec2")


@pytest.fixture
def stubs() -> dict[str, Callable[..., Any]]:
    """What stands in for moto, by operation."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType],
    stubs: dict[str, Callable[..., Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


@pytest.fixture
def vpc(ec2: Any) -> str:
    made: str = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[made], Tags=tag_list(Name=STACK, Stack=STACK))
    return made


@pytest.fixture
def subnets(ec2: Any, vpc: str) -> list[str]:
    return [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("abab")
    ]


@pytest.fixture
def internet(ec2: Any, vpc: str) -> str:
    made: str = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc)
    return made


def nat(ec2: Any, subnet: str, name: str = f"{STACK}-a") -> str:
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    tags = [{"ResourceType": "natgateway", "Tags": tag_list(Name=name, Stack=STACK)}]
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tags)
    return str(made["NatGateway"]["NatGatewayId"])


# --- vpc_route_tables ------------------------------------------------------------------------------------------------


def tables(ec2: Any, vpc: str) -> dict[str, dict[str, Any]]:
    """Every table of the VPC that has a name: id, sorted subnets, {range: target} of what was added, tags."""
    found = {}
    for table in ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]:
        if "Name" in tags_of(table):
            found[tags_of(table)["Name"]] = {
                "id": table["RouteTableId"],
                "subnets": sorted(each["SubnetId"] for each in table["Associations"] if each.get("SubnetId")),
                "routes": {
                    route["DestinationCidrBlock"]: route.get("NatGatewayId") or route.get("GatewayId")
                    for route in table["Routes"]
                    if route.get("DestinationCidrBlock") and route["Origin"] == "CreateRoute"
                },
                "tags": tags_of(table),
            }
    return found


def test_route_tables_are_made_in_one_call_for_each_difference(
    run: Run, ec2: Any, vpc: str, subnets: list[str], internet: str
) -> None:
    gateway = nat(ec2, subnets[0])
    wanted = [
        {"name": "team-a-public", "subnet_ids": subnets[:2], "routes": {ANYWHERE: internet}},
        {"name": "team-a-private", "subnet_ids": [subnets[2]], "routes": {ANYWHERE: gateway}},
        {"name": "team-a-database", "subnet_ids": [subnets[3]], "routes": {}},
    ]
    made = four_steps(run, "vpc_route_tables", vpc_id=vpc, tables=wanted, tags=TAGS)
    assert sorted(made.writes) == sorted(["CreateRouteTable"] * 3 + ["CreateRoute"] * 2 + ["AssociateRouteTable"] * 4)
    standing = tables(ec2, vpc)
    assert made["route_table_ids"] == {name: table["id"] for name, table in standing.items()}
    for table in wanted:
        found = standing[str(table["name"])]
        assert (found["subnets"], found["routes"]) == (sorted(table["subnet_ids"]), table["routes"])
        assert found["tags"] == {**TAGS, "Name": table["name"]}
    assert run("vpc_route_tables", vpc_id=vpc, tables=wanted, tags=TAGS).calls == ["DescribeRouteTables"]


def test_route_tables_that_others_have_changed_are_repaired(
    run: Run, ec2: Any, vpc: str, subnets: list[str], internet: str
) -> None:
    gateway, other = nat(ec2, subnets[0]), nat(ec2, subnets[1], "team-a-b")
    wanted = [
        {"name": "team-a-public", "subnet_ids": subnets[:2], "routes": {ANYWHERE: internet}},
        {"name": "team-a-private", "subnet_ids": subnets[2:], "routes": {ANYWHERE: gateway}},
    ]
    run("vpc_route_tables", vpc_id=vpc, tables=wanted, tags=TAGS)
    before = tables(ec2, vpc)
    public, private = before["team-a-public"]["id"], before["team-a-private"]["id"]
    ec2.create_route(RouteTableId=private, DestinationCidrBlock="192.0.2.0/24", NatGatewayId=other)
    ec2.replace_route(RouteTableId=private, DestinationCidrBlock=ANYWHERE, NatGatewayId=other)
    ec2.create_tags(Resources=[private], Tags=tag_list(ManagedBy="hand", Extra="x"))
    (association,) = [
        each["RouteTableAssociationId"]
        for each in ec2.describe_route_tables(RouteTableIds=[private])["RouteTables"][0]["Associations"]
        if each.get("SubnetId") == subnets[2]
    ]
    ec2.replace_route_table_association(AssociationId=association, RouteTableId=public)
    mended = four_steps(run, "vpc_route_tables", vpc_id=vpc, tables=wanted, tags=TAGS)
    # The subnet moves in one step: between two it would use the main table, which leads nowhere.
    assert sorted(mended.writes) == [
        "CreateTags",
        "DeleteRoute",
        "DeleteTags",
        "ReplaceRoute",
        "ReplaceRouteTableAssociation",
    ]
    assert tables(ec2, vpc) == before


def test_route_tables_lose_a_subnet_that_is_not_theirs(run: Run, ec2: Any, vpc: str, subnets: list[str]) -> None:
    def with_subnets(*chosen: str) -> dict[str, Any]:
        return {"vpc_id": vpc, "tables": [{"name": "team-a-public", "subnet_ids": [*chosen]}], "tags": TAGS}

    run("vpc_route_tables", **with_subnets(*subnets[:2]))
    fewer = four_steps(run, "vpc_route_tables", **with_subnets(subnets[1]))
    assert fewer.writes == ["DisassociateRouteTable"]
    assert tables(ec2, vpc)["team-a-public"]["subnets"] == [subnets[1]]


def test_a_route_table_keeps_what_is_not_said(run: Run, ec2: Any, vpc: str, subnets: list[str], internet: str) -> None:
    table = {"name": "team-a-private", "subnet_ids": [subnets[0]], "routes": {ANYWHERE: internet}}
    run("vpc_route_tables", vpc_id=vpc, tables=[table], tags=TAGS)
    before = tables(ec2, vpc)
    for part in ({"subnet_ids": [subnets[0]]}, {"routes": {ANYWHERE: internet}}, {}):
        answer = run("vpc_route_tables", vpc_id=vpc, tables=[{"name": "team-a-private", **part}])
        assert (answer["changed"], answer.writes) == (False, []), answer["diff"]
    assert tables(ec2, vpc) == before


def test_a_route_table_keeps_the_route_of_a_gateway_endpoint(run: Run, ec2: Any, vpc: str, subnets: list[str]) -> None:
    arguments = {"vpc_id": vpc, "tables": [{"name": "team-a-private", "routes": {}}], "tags": TAGS}
    made = run("vpc_route_tables", **arguments)["route_table_ids"]["team-a-private"]
    endpoint = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[made])
    ec2.create_route(
        RouteTableId=made,
        DestinationCidrBlock="198.51.100.0/24",
        GatewayId=endpoint["VpcEndpoint"]["VpcEndpointId"],
    )
    assert run("vpc_route_tables", **arguments)["changed"] is False


def test_a_route_table_that_the_earlier_module_made_is_taken_up(
    run: Run, ec2: Any, vpc: str, subnets: list[str]
) -> None:
    tags = [{"ResourceType": "route-table", "Tags": tag_list(Name="team-a-database", **TAGS)}]
    old = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags)["RouteTable"]["RouteTableId"]
    answer = four_steps(
        run,
        "vpc_route_tables",
        vpc_id=vpc,
        tables=[{"name": "team-a-database", "subnet_ids": subnets[2:], "routes": {}}],
        tags={**TAGS, "Team": "a"},
    )
    assert answer["route_table_ids"] == {"team-a-database": old}
    assert answer.writes == ["CreateTags", "AssociateRouteTable", "AssociateRouteTable"]


def test_a_route_table_of_another_stack_is_left_alone_and_two_are_refused(
    run: Run, ec2: Any, vpc: str, subnets: list[str]
) -> None:
    tags = [{"ResourceType": "route-table", "Tags": tag_list(Name="team-a-public", Stack="team-b")}]
    other = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags)["RouteTable"]["RouteTableId"]
    arguments = {"vpc_id": vpc, "tables": [{"name": "team-a-public"}], "tags": TAGS}
    mine = run("vpc_route_tables", **arguments)["route_table_ids"]["team-a-public"]
    assert mine != other
    ec2.create_tags(Resources=[other], Tags=tag_list(Stack=STACK))
    for table, subnet in zip((mine, other), subnets, strict=False):
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    refused = run("vpc_route_tables", **arguments)
    first, second = sorted((mine, other))
    assert refused["msg"] == (
        f"Several route tables of {vpc} are named team-a-public ({first}, {second}); delete all but one."
    )
    assert refused.writes == []


def test_route_tables_go_with_their_associations_and_nothing_else(
    run: Run, ec2: Any, vpc: str, subnets: list[str]
) -> None:
    kept = {"name": "team-a-database", "subnet_ids": [subnets[3]]}
    wanted = [{"name": "team-a-public", "subnet_ids": subnets[:2]}, kept]
    run("vpc_route_tables", vpc_id=vpc, tables=wanted, tags=TAGS)
    gone = four_steps(run, "vpc_route_tables", vpc_id=vpc, tables=[{"name": "team-a-public"}], state="absent")
    assert gone.writes == ["DisassociateRouteTable"] * 2 + ["DeleteRouteTable"]
    assert list(tables(ec2, vpc)) == ["team-a-database"]


def test_a_route_table_that_is_not_known_at_once_is_asked_for_again(
    run: Run, ec2: Any, vpc: str, internet: str, stubs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    asked = []

    def create_route(**request: Any) -> dict[str, Any]:
        asked.append(request)
        if len(asked) < 3:
            raise ClientError({"Error": {"Code": "InvalidRouteTableID.NotFound", "Message": ""}}, "CreateRoute")
        return {"Return": True}

    stubs["CreateRoute"] = create_route
    made = run("vpc_route_tables", vpc_id=vpc, tables=[{"name": "t", "routes": {ANYWHERE: internet}}])
    assert made.get("changed") is True, made
    assert len(asked) == 3


def test_a_refusal_of_a_route_is_one_sentence(run: Run, vpc: str, stubs: dict[str, Any]) -> None:
    def create_route(**_: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "RouteLimitExceeded", "Message": "Too many."}}, "CreateRoute")

    stubs["CreateRoute"] = create_route
    answer = run("vpc_route_tables", vpc_id=vpc, tables=[{"name": "t", "routes": {ANYWHERE: "nat-1"}}])
    assert answer["msg"] == (
        f"Could not route {ANYWHERE} of t to nat-1: Too many (RouteLimitExceeded); raise the quota Routes per route "
        "table (L-93826ACB) in the Service Quotas console, or remove what uses it up, and repeat the run."
    )


# --- vpc_subnets -----------------------------------------------------------------------------------------------------

TWO = [
    {"cidr": "10.20.1.0/24", "az": f"{REGION}b", "tags": {"Tier": "private"}},
    {"cidr": "10.20.0.0/24", "az": f"{REGION}a"},
]


def test_subnets_four_steps_in_the_order_asked_for(run: Run, ec2: Any, vpc: str) -> None:
    made = four_steps(run, "vpc_subnets", vpc_id=vpc, subnets=TWO, tags=TAGS)
    assert made.writes == ["CreateSubnet"] * 2
    standing = ec2.describe_subnets(SubnetIds=made["subnet_ids"])["Subnets"]
    by_id = {subnet["SubnetId"]: subnet for subnet in standing}
    found = [(by_id[each]["CidrBlock"], by_id[each]["AvailabilityZone"]) for each in made["subnet_ids"]]
    assert found == [(each["cidr"], each["az"]) for each in TWO]
    assert [tags_of(by_id[each]) for each in made["subnet_ids"]] == [{**TAGS, "Tier": "private"}, TAGS]
    assert run("vpc_subnets", vpc_id=vpc, subnets=TWO, tags=TAGS).calls == ["DescribeSubnets"]


def test_subnets_are_repaired(run: Run, ec2: Any, vpc: str) -> None:
    made = run("vpc_subnets", vpc_id=vpc, subnets=TWO, tags=TAGS)["subnet_ids"]
    ec2.modify_subnet_attribute(SubnetId=made[0], MapPublicIpOnLaunch={"Value": True})
    ec2.create_tags(Resources=[made[1]], Tags=tag_list(ManagedBy="hand", Extra="x"))
    mended = four_steps(run, "vpc_subnets", vpc_id=vpc, subnets=TWO, tags=TAGS)
    assert mended["subnet_ids"] == made
    assert mended.writes == ["ModifySubnetAttribute", "CreateTags", "DeleteTags"]


def test_a_subnet_does_not_move(run: Run, vpc: str) -> None:
    run("vpc_subnets", vpc_id=vpc, subnets=TWO)
    moved = run("vpc_subnets", vpc_id=vpc, subnets=[{"cidr": "10.20.0.0/24", "az": f"{REGION}c"}])
    assert moved["msg"] == (
        f"The subnet 10.20.0.0/24 is in {REGION}a instead of {REGION}c, which AWS cannot change; delete it first."
    )
    assert moved.writes == []
    assert run("vpc_subnets", vpc_id=vpc, subnets=[{"cidr": "10.20.0.0/24"}])["msg"] == "Every subnet needs its az."


def test_subnets_go_and_those_of_another_vpc_stay(run: Run, ec2: Any, vpc: str) -> None:
    other = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    theirs = run("vpc_subnets", vpc_id=other, subnets=TWO)["subnet_ids"]
    run("vpc_subnets", vpc_id=vpc, subnets=TWO)
    gone = four_steps(run, "vpc_subnets", vpc_id=vpc, subnets=[{"cidr": each["cidr"]} for each in TWO], state="absent")
    assert gone.writes == ["DeleteSubnet"] * 2
    left = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [other]}])["Subnets"]
    assert sorted(subnet["SubnetId"] for subnet in left) == sorted(theirs)
    assert ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"] == []


# --- vpc_security_group ----------------------------------------------------------------------------------------------


@pytest.fixture
def group(vpc: str) -> dict[str, Any]:
    """Parameters of a group."""
    return {
        "name": "team-a-service",
        "vpc_id": vpc,
        "description": "Tasks",
        "ingress": [{"ports": [80, 443], "cidrs": ["10.0.0.0/8", "192.0.2.0/24"], "description": "Clients"}],
        "egress": [{"ports": ["1-65535"], "cidrs": ["10.20.0.0/16"], "description": "Storage"}],
        "tags": TAGS,
    }


def lets(ec2: Any, group_id: str) -> dict[str, set[tuple[Any, ...]]]:
    """Direction: {(protocol, from, to, other side, description)} of a group."""
    (found,) = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    return {
        direction: {
            (each["IpProtocol"], each.get("FromPort"), each.get("ToPort"), other, side.get("Description"))
            for each in found[key]
            for side in [*each["IpRanges"], *each.get("Ipv6Ranges", []), *each["UserIdGroupPairs"]]
            for other in [side.get("CidrIp") or side.get("CidrIpv6") or side.get("GroupId")]
        }
        for direction, key in (("in", "IpPermissions"), ("out", "IpPermissionsEgress"))
    }


def test_a_group_is_made_without_the_rule_that_lets_everything_out(
    run: Run, ec2: Any, group: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("time.sleep")
    made = four_steps(run, "vpc_security_group", **group)
    assert made.writes == [
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "AuthorizeSecurityGroupEgress",
        "RevokeSecurityGroupEgress",
    ]
    ranges = ("10.0.0.0/8", "192.0.2.0/24")
    assert lets(ec2, made["group_id"]) == {
        "in": {("tcp", port, port, other, "Clients") for port in (80, 443) for other in ranges},
        "out": {("tcp", 1, 65535, "10.20.0.0/16", "Storage")},
    }
    (standing,) = ec2.describe_security_groups(GroupIds=[made["group_id"]])["SecurityGroups"]
    assert (standing["Description"], tags_of(standing)) == ("Tasks", TAGS)
    assert run("vpc_security_group", **group).calls == ["DescribeSecurityGroups"]


def test_a_group_that_others_have_changed_is_repaired(run: Run, ec2: Any, group: dict[str, Any], vpc: str) -> None:
    other = ec2.create_security_group(GroupName="other", Description="x", VpcId=vpc)["GroupId"]
    group["ingress"].append({"ports": [5000], "group_id": other, "description": "Load balancer"})
    made = run("vpc_security_group", **group)["group_id"]
    before = lets(ec2, made)
    foreign = [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": ANYWHERE}]},
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": other}]},
        {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    ]
    ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=foreign)
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=[https])
    ec2.create_tags(Resources=[made], Tags=tag_list(Extra="x"))
    mended = four_steps(run, "vpc_security_group", **group)
    assert mended.writes == ["DeleteTags", "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"]
    assert lets(ec2, made) == before


def test_a_rules_description_is_changed_without_closing_it(run: Run, ec2: Any, group: dict[str, Any]) -> None:
    made = run("vpc_security_group", **group)["group_id"]
    group["egress"][0]["description"] = "Database"
    assert four_steps(run, "vpc_security_group", **group).writes == ["UpdateSecurityGroupRuleDescriptionsEgress"]
    assert lets(ec2, made)["out"] == {("tcp", 1, 65535, "10.20.0.0/16", "Database")}


def test_the_default_group_is_closed_and_that_of_another_vpc_is_not(run: Run, ec2: Any, vpc: str) -> None:
    other = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    closed = four_steps(run, "vpc_security_group", name="default", vpc_id=vpc, description="default VPC security group")
    assert lets(ec2, closed["group_id"]) == {"in": set(), "out": set()}
    (left,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [other]}])["SecurityGroups"]
    assert lets(ec2, left["GroupId"])["out"] != set()


def test_rules_that_somebody_else_has_just_set_are_no_error(
    run: Run, group: dict[str, Any], stubs: dict[str, Any]
) -> None:
    def raising(code: str) -> Callable[..., Any]:
        def call(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": code, "Message": "No."}}, "Authorize")

        return call

    stubs["AuthorizeSecurityGroupIngress"] = raising("InvalidPermission.Duplicate")
    stubs["RevokeSecurityGroupEgress"] = raising("InvalidPermission.NotFound")
    assert run("vpc_security_group", **group)["changed"] is True
    stubs["AuthorizeSecurityGroupIngress"] = raising("RulesPerSecurityGroupLimitExceeded")
    assert run("vpc_security_group", **group)["msg"] == (
        "Could not set the ingress rules of the security group team-a-service: No (RulesPerSecurityGroupLimitExceeded)"
        "; raise the quota Inbound or outbound rules per security group (L-0EA8095F) in the Service Quotas console, or "
        "remove what uses it up, and repeat the run."
    )


# --- what is deleted without waiting ---------------------------------------------------------------------------------


def test_a_file_system_stays_until_its_mount_targets_are_gone(
    run: Run, subnets: list[str], stubs: dict[str, Any]
) -> None:
    group = client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    targets = {"subnet_ids": subnets[:1], "security_group_ids": [group]}
    run("efs_file_system", name=STACK, mount_targets=targets, tags=TAGS)
    stubs["DeleteMountTarget"] = lambda **_: {}
    first = run("efs_file_system", name=STACK, state="absent")
    assert first.writes == ["DeleteMountTarget"]
    assert len(client("efs").describe_file_systems()["FileSystems"]) == 1
    (target,) = run("stack_info", name=STACK, parts=["mount_targets"])["stack"]["mount_targets"]["standing"]
    assert target["id"].startswith("fsmt-")
    del stubs["DeleteMountTarget"]
    last = run("efs_file_system", name=STACK, state="absent", wait=True)
    assert last.writes == ["DeleteMountTarget", "DeleteFileSystem"]
    assert run("stack_info", name=STACK, parts=["mount_targets"])["stack"]["mount_targets"]["standing"] == []


# --- what stack_info says of what is awaited --------------------------------------------------------------------------


def standing(run: Run, part: str) -> list[dict[str, Any]]:
    answer = run("stack_info", name=STACK, parts=[part])
    assert answer.writes == []
    found: list[dict[str, Any]] = answer["stack"][part]["standing"]
    return found


def test_the_nat_gateway_that_serves_best_counts(run: Run, ec2: Any, subnets: list[str]) -> None:
    assert standing(run, "nat_gateways") == []
    # The better one is found first, and later.
    other_failed, pending, failed, deleted = (nat(ec2, subnets[0]) for _ in range(4))
    other = nat(ec2, subnets[1], f"{STACK}-b")
    ec2.create_tags(Resources=[nat(ec2, subnets[1], "team-b-b")], Tags=tag_list(Stack="team-b"))
    gateways = ec2_backends[ACCOUNT][REGION].nat_gateways
    for gateway, state in ((other_failed, "failed"), (pending, "pending"), (failed, "failed"), (deleted, "deleted")):
        gateways[gateway].state = state
    assert standing(run, "nat_gateways") == [
        {"name": f"{STACK}-a", "id": pending, "state": "pending", "failure": None},
        {"name": f"{STACK}-b", "id": other, "state": "available", "failure": None},
    ]


def test_endpoints_and_used_interfaces_of_this_vpc_count(run: Run, ec2: Any, vpc: str, subnets: list[str]) -> None:
    other = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    service = f"com.amazonaws.{REGION}.s3"
    mine = ec2.create_vpc_endpoint(VpcId=vpc, VpcEndpointType="Gateway", ServiceName=service)["VpcEndpoint"][
        "VpcEndpointId"
    ]
    ec2.create_vpc_endpoint(VpcId=other, VpcEndpointType="Gateway", ServiceName=service)
    assert standing(run, "endpoints") == [{"id": mine, "service": service, "state": "available"}]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[mine])
    assert standing(run, "endpoints") == []

    used, _ = (
        ec2.create_network_interface(SubnetId=subnets[0], Description="ELB app/team-a/1")["NetworkInterface"]
        for _ in range(2)
    )
    ec2_backends[ACCOUNT][REGION].enis[used["NetworkInterfaceId"]].status = "in-use"
    found = standing(run, "interfaces")
    assert [(each["id"], each["description"]) for each in found] == [(used["NetworkInterfaceId"], "ELB app/team-a/1")]
