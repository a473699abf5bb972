"""What stands in AWS after the play, read with boto3 and never from a registered result."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Aws = Callable[[str], Any]
REGION = "eu-west-1"


def by_stack(stack: str) -> list[dict[str, Any]]:
    """An EC2 filter for what carries the stack's tag."""
    return [{"Name": "tag:Stack", "Values": [stack]}]


def group(aws: Aws, name: str, stack: str) -> dict[str, Any]:
    """The security group of that name in the stack's VPC."""
    vpc = aws("ec2").describe_vpcs(Filters=by_stack(stack))["Vpcs"][0]["VpcId"]
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [name]}]
    found = aws("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
    assert len(found) == 1
    return dict(found[0])


def sources(rules: list[dict[str, Any]]) -> set[tuple[int, int, str]]:
    """(from port, to port, range or group) of each permission."""
    return {
        (rule.get("FromPort", -1), rule.get("ToPort", -1), source)
        for rule in rules
        for source in [r["CidrIp"] for r in rule.get("IpRanges", [])]
        + [p["GroupId"] for p in rule.get("UserIdGroupPairs", [])]
    }


def load_balancer(aws: Aws, stack: str) -> dict[str, Any]:
    return dict(aws("elbv2").describe_load_balancers(Names=[stack])["LoadBalancers"][0])


def service(aws: Aws, stack: str) -> dict[str, Any]:
    return dict(aws("ecs").describe_services(cluster=stack, services=[stack])["services"][0])


def definition(aws: Aws, stack: str) -> dict[str, Any]:
    arn = service(aws, stack)["taskDefinition"]
    return dict(aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"])


def container(aws: Aws, stack: str) -> dict[str, Any]:
    (only,) = definition(aws, stack)["containerDefinitions"]
    return dict(only)


def environment(aws: Aws, stack: str) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(aws, stack)["environment"]}


def statements(aws: Aws, role: str) -> list[dict[str, Any]]:
    """Every statement of a role's inline policies; it has no attached ones."""
    assert aws("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = aws("iam").list_role_policies(RoleName=role)["PolicyNames"]
    documents = [aws("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [one for document in documents for one in document["Statement"]]


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def test_there_are_two_subnets_of_each_tier_in_two_zones(aws: Aws, stack: str) -> None:
    subnets = aws("ec2").describe_subnets(Filters=by_stack(stack))["Subnets"]
    tiers: dict[str, set[str]] = {}
    for subnet in subnets:
        tier = next(tag["Value"] for tag in subnet["Tags"] if tag["Key"] == "Tier")
        tiers.setdefault(tier, set()).add(subnet["AvailabilityZone"])
        assert not subnet["MapPublicIpOnLaunch"]
    zones = {f"{REGION}a", f"{REGION}b"}
    assert tiers == {"public": zones, "private": zones, "database": zones}
    assert len(subnets) == 6


def test_the_way_out_is_the_one_chosen(aws: Aws, stack: str) -> None:
    vpc = aws("ec2").describe_vpcs(Filters=by_stack(stack))["Vpcs"][0]["VpcId"]
    everywhere = [{"Name": "vpc-id", "Values": [vpc]}]
    nats = [
        nat
        for nat in aws("ec2").describe_nat_gateways(Filters=everywhere)["NatGateways"]
        if nat["State"] == "available" and nat["VpcId"] == vpc
    ]
    endpoints = aws("ec2").describe_vpc_endpoints(Filters=everywhere)["VpcEndpoints"]
    services = {one["ServiceName"].split(f"{REGION}.")[1] for one in endpoints if one["VpcId"] == vpc}
    interfaces = {"ecr.api", "ecr.dkr", "logs", "secretsmanager"}
    expected = {"mol-rds-internal": 1, "mol-rds-public": 2, "mol-efs-internal": 0, "mol-efs-public": 1}[stack]
    assert len(nats) == expected
    assert services == {"s3"} | (interfaces if expected == 0 else set())


def test_only_public_subnets_route_to_the_internet_and_databases_nowhere(aws: Aws, stack: str) -> None:
    tables = aws("ec2").describe_route_tables(Filters=by_stack(stack))["RouteTables"]
    ways = {}
    for table in tables:
        name = next(tag["Value"] for tag in table["Tags"] if tag["Key"] == "Name").removeprefix(f"{stack}-")
        defaults = [r for r in table["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
        ways[name] = {"nat" if r.get("NatGatewayId") else r.get("GatewayId", "?")[:3] for r in defaults}
        assert any(a.get("SubnetId") for a in table["Associations"])
    private = set() if stack == "mol-efs-internal" else {"nat"}
    zones = {f"private-{REGION}a": private, f"private-{REGION}b": private}
    assert ways == {"public": {"igw"}, "database": set(), **zones}


def test_the_default_security_group_is_closed(aws: Aws, stack: str) -> None:
    default = group(aws, "default", stack)
    assert default["IpPermissions"] == []
    assert default["IpPermissionsEgress"] == []


def test_the_server_is_reached_only_through_the_load_balancer(aws: Aws, stack: str) -> None:
    front, server = group(aws, f"{stack}-load-balancer", stack), group(aws, f"{stack}-service", stack)
    world = "0.0.0.0/0" if stack.endswith("public") else "10.42.0.0/16"
    ports = (80, 443) if stack.endswith("public") else (80,)
    assert sources(front["IpPermissions"]) == {(port, port, world) for port in ports}
    assert sources(front["IpPermissionsEgress"]) == {(5000, 5000, "10.42.0.0/16")}
    assert sources(server["IpPermissions"]) == {(5000, 5000, front["GroupId"])}


def test_only_the_server_reaches_the_data(aws: Aws, stack: str) -> None:
    name, port = (f"{stack}-database", 5432) if "rds" in stack else (f"{stack}-efs", 2049)
    server, data = group(aws, f"{stack}-service", stack), group(aws, name, stack)
    assert sources(data["IpPermissions"]) == {(port, port, server["GroupId"])}
    assert data["IpPermissionsEgress"] == []


def test_traffic_is_logged(aws: Aws, stack: str) -> None:
    vpc = aws("ec2").describe_vpcs(Filters=by_stack(stack))["Vpcs"][0]["VpcId"]
    logs = [log for log in aws("ec2").describe_flow_logs()["FlowLogs"] if log["ResourceId"] == vpc]
    assert [(log["TrafficType"], log["FlowLogStatus"]) for log in logs] == [("ALL", "ACTIVE")]
    groups = aws("logs").describe_log_groups(logGroupNamePrefix=f"/mlflow/{stack}/flow")["logGroups"]
    assert [one["retentionInDays"] for one in groups] == [30]


def test_the_repository_scans_and_never_overwrites(aws: Aws, stack: str) -> None:
    (repository,) = aws("ecr").describe_repositories(repositoryNames=[stack])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"]["scanOnPush"] is True
    policy = json.loads(aws("ecr").get_lifecycle_policy(repositoryName=stack)["lifecyclePolicyText"])
    assert policy["rules"][0]["selection"]["countNumber"] == 30


def test_the_store_is_the_one_chosen_and_encrypted(aws: Aws, stack: str) -> None:
    names = {one["DBInstanceIdentifier"] for one in aws("rds").describe_db_instances()["DBInstances"]}
    systems = aws("efs").describe_file_systems(CreationToken=stack)["FileSystems"]
    if "efs" in stack:
        assert stack not in names
        assert [one["Encrypted"] for one in systems] == [True]
        return
    assert systems == []
    (database,) = aws("rds").describe_db_instances(DBInstanceIdentifier=stack)["DBInstances"]
    assert database["StorageEncrypted"] is True
    assert database["PubliclyAccessible"] is False
    assert database["BackupRetentionPeriod"] == 7
    assert database["DeletionProtection"] is False
    assert database["DBSubnetGroup"]["DBSubnetGroupName"] == stack
    parameters = aws("rds").get_paginator("describe_db_parameters")
    name = database["DBParameterGroups"][0]["DBParameterGroupName"]
    values = {
        one["ParameterName"]: one.get("ParameterValue")
        for page in parameters.paginate(DBParameterGroupName=name)
        for one in page["Parameters"]
    }
    assert values["rds.force_ssl"] == "1"


def test_the_file_system_asks_for_tls_and_the_access_point(aws: Aws, stack: str) -> None:
    if "rds" in stack:
        assert "volumes" not in definition(aws, stack) or all(
            "efsVolumeConfiguration" not in volume for volume in definition(aws, stack)["volumes"]
        )
        return
    (system,) = aws("efs").describe_file_systems(CreationToken=stack)["FileSystems"]
    fs = system["FileSystemId"]
    targets = aws("efs").describe_mount_targets(FileSystemId=fs)["MountTargets"]
    (point,) = aws("efs").describe_access_points(FileSystemId=fs)["AccessPoints"]
    policy = json.loads(aws("efs").describe_file_system_policy(FileSystemId=fs)["Policy"])
    (volume,) = [v for v in definition(aws, stack)["volumes"] if v["name"] == "data"]
    mount = volume["efsVolumeConfiguration"]
    assert len(targets) == 2
    assert point["PosixUser"]["Uid"] == point["RootDirectory"]["CreationInfo"]["OwnerUid"] == 10001
    assert {one["Sid"]: one["Effect"] for one in policy["Statement"]} == {
        "TlsOnly": "Deny",
        "OnlyThroughAnAccessPoint": "Deny",
    }
    assert mount["fileSystemId"] == fs
    assert mount["transitEncryption"] == "ENABLED"
    assert mount["authorizationConfig"] == {"accessPointId": point["AccessPointId"], "iam": "ENABLED"}
    assert aws("efs").describe_backup_policy(FileSystemId=fs)["BackupPolicy"]["Status"] in ("ENABLED", "ENABLING")


def test_the_artifact_bucket_is_versioned_encrypted_private_and_tls_only(aws: Aws, stack: str, account: str) -> None:
    s3, bucket = aws("s3"), f"mlflow-{stack}-{account}-{REGION}"
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    (lifecycle,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    assert [(one["Effect"], one["Condition"]) for one in policy["Statement"]] == [
        ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    ]
    assert lifecycle["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert lifecycle["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    assert "Expiration" not in lifecycle
    log = s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
    assert log["TargetBucket"] == f"mlflow-{stack}-{account}-{REGION}-logs"


def test_the_load_balancer_has_the_scheme_and_the_listeners_of_its_exposure(aws: Aws, stack: str) -> None:
    balancer = load_balancer(aws, stack)
    listeners = aws("elbv2").describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    kinds = {(one["Protocol"], one["Port"], one["DefaultActions"][0]["Type"]) for one in listeners}
    if stack.endswith("public"):
        assert balancer["Scheme"] == "internet-facing"
        assert kinds == {("HTTP", 80, "redirect"), ("HTTPS", 443, "forward")}
        (tls,) = [one for one in listeners if one["Protocol"] == "HTTPS"]
        assert tls["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    else:
        assert balancer["Scheme"] == "internal"
        assert kinds == {("HTTP", 80, "forward")}
    tier = "public" if stack.endswith("public") else "private"
    filters = [*by_stack(stack), {"Name": "tag:Tier", "Values": [tier]}]
    subnets = {one["SubnetId"] for one in aws("ec2").describe_subnets(Filters=filters)["Subnets"]}
    assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == subnets


def test_the_load_balancer_logs_and_refuses_malformed_headers(aws: Aws, stack: str, account: str) -> None:
    arn = load_balancer(aws, stack)["LoadBalancerArn"]
    found = aws("elbv2").describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    attributes = {one["Key"]: one["Value"] for one in found}
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["access_logs.s3.bucket"] == f"mlflow-{stack}-{account}-{REGION}-logs"
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert attributes["idle_timeout.timeout_seconds"] == "60"
    (target,) = aws("elbv2").describe_target_groups(Names=[stack])["TargetGroups"]
    assert (target["TargetType"], target["Port"], target["HealthCheckPath"]) == ("ip", 5000, "/health")


def test_the_service_breaks_the_circuit_and_sqlite_has_one_writer(aws: Aws, stack: str) -> None:
    found = service(aws, stack)
    deployment = found["deploymentConfiguration"]
    assert deployment["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    percents = (deployment["minimumHealthyPercent"], deployment["maximumPercent"])
    assert percents == ((0, 100) if "efs" in stack else (100, 200))
    assert found["desiredCount"] == 1
    network = found["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "DISABLED"
    assert network["securityGroups"] == [group(aws, f"{stack}-service", stack)["GroupId"]]


def test_only_a_database_lets_the_number_of_tasks_follow_the_load(aws: Aws, stack: str) -> None:
    scaling = aws("application-autoscaling")
    resource = f"service/{stack}/{stack}"
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[resource])["ScalableTargets"]
    bounds = [(one["MinCapacity"], one["MaxCapacity"]) for one in targets]
    assert bounds == ([] if "efs" in stack else [(1, 2)])


def test_the_server_is_told_its_names_and_no_secret(aws: Aws, stack: str) -> None:
    told, balancer = environment(aws, stack), load_balancer(aws, stack)
    names = [balancer["DNSName"]]
    if stack.endswith("public"):
        names.insert(0, "mlflow.local.test")
    assert told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",") == [form for n in names for form in (n, f"{n}:*")]
    assert told["MLFLOW_AUTH"] == "basic"
    assert told["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert not [name for name in told if "PASSWORD" in name or "KEY" in name]
    expected = {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    if "rds" in stack:
        expected.add("MLFLOW_DB_PASSWORD")
        assert told["MLFLOW_DB_HOST"]
        assert "MLFLOW_DATA_DIR" not in told
    else:
        assert told["MLFLOW_DATA_DIR"] == "/mlflow"
    assert {one["name"] for one in container(aws, stack)["secrets"]} == expected


def test_the_container_is_confined(aws: Aws, stack: str) -> None:
    only = container(aws, stack)
    assert only["readonlyRootFilesystem"] is True
    assert only["user"] == "10001:10001"
    assert "@sha256:" in only["image"]
    assert only["healthCheck"]["command"][0] == "CMD"
    assert definition(aws, stack)["requiresCompatibilities"] == ["FARGATE"]


def test_the_roles_name_every_action_and_resource(aws: Aws, stack: str, account: str) -> None:
    execution, task = f"mlflow-{stack}-{REGION}-execution", f"mlflow-{stack}-{REGION}-task"
    assert definition(aws, stack)["executionRoleArn"].endswith(execution)
    assert definition(aws, stack)["taskRoleArn"].endswith(task)
    for role in (execution, task):
        for statement in statements(aws, role):
            assert not [action for action in as_list(statement["Action"]) if "*" in action]
            unnamed = [resource for resource in as_list(statement["Resource"]) if resource == "*"]
            assert not unnamed or as_list(statement["Action"]) == ["ecr:GetAuthorizationToken"]
    secrets = {arn for s in statements(aws, execution) if s["Sid"] == "Secrets" for arn in as_list(s["Resource"])}
    used = {":".join(one["valueFrom"].split(":")[:7]) for one in container(aws, stack)["secrets"]}
    assert secrets == used
    objects = [s["Resource"] for s in statements(aws, task) if s["Sid"] == "KeepArtifacts"]
    assert objects == [f"arn:aws:s3:::mlflow-{stack}-{account}-{REGION}/artifacts/*"]
    assert ("MountData" in {s["Sid"] for s in statements(aws, task)}) == ("efs" in stack)


def test_the_generated_passwords_are_long_and_differ(aws: Aws, stack: str) -> None:
    names = [f"mlflow/{stack}/admin", *([f"mlflow/{stack}/database"] if "rds" in stack else [])]
    values = [json.loads(aws("secretsmanager").get_secret_value(SecretId=n)["SecretString"])["password"] for n in names]
    assert all(len(value) >= 32 for value in values)
    assert len(set(values)) == len(values)


def test_the_outputs_say_what_stands(aws: Aws, stack: str, account: str) -> None:
    path = f"/mlflow/{stack}/"
    pages = aws("ssm").get_paginator("get_parameters_by_path").paginate(Path=path)
    stored = {one["Name"].removeprefix(path): one["Value"] for page in pages for one in page["Parameters"]}
    root = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
    written = json.loads((root / "outputs" / f"{stack}.json").read_text())
    assert written == stored
    assert stored["load_balancer_dns_name"] == load_balancer(aws, stack)["DNSName"]
    assert stored["task_definition"] == service(aws, stack)["taskDefinition"]
    assert stored["artifact_bucket"] == f"mlflow-{stack}-{account}-{REGION}"
    assert stored["access_log_bucket_arn"] == f"arn:aws:s3:::mlflow-{stack}-{account}-{REGION}-logs"
    assert ("rds_endpoint" in stored, "efs_file_system_id" in stored) == ("rds" in stack, "efs" in stack)
    scheme = "https" if stack.endswith("public") else "http"
    assert stored["tracking_url"].startswith(f"{scheme}://")


@pytest.fixture(scope="module")
def changes() -> list[dict[str, Any]]:
    """Every changed result of the check run, the run and the second run, in that order."""
    lines = Path(os.environ["MOLECULE_CHANGES"]).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_check_run_predicted_the_first_run(changes: list[dict[str, Any]], stack: str) -> None:
    host = stack.removeprefix("mol-")

    def times(check: bool) -> Counter[tuple[str, str]]:
        mine = [one for one in changes if one["host"] == host and one["check"] is check]
        return Counter((one["role"], one["task"].split(" | ")[-1]) for one in mine)

    predicted, done = times(True), times(False)
    assert len(predicted) > 20
    assert predicted == done


def test_the_second_run_changed_nothing(changes: list[dict[str, Any]]) -> None:
    assert len({one["run"] for one in changes if not one["check"]}) == 1
