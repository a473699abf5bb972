"""What is changed in MiniStack from outside: targets, and the names of log streams in policies."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ministack.services import alb, ec2

from local import config, ministack_gaps, ministack_server, tls

GROUP = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/g/1"
LOG = "arn:aws:logs:eu-west-1:000000000000:log-group:/mlflow/s"


@pytest.fixture
def group() -> Iterator[None]:
    """An empty target group whose own port is 5000."""
    alb._tgs[GROUP] = {"TargetGroupArn": GROUP, "Port": 5000}
    yield
    alb.reset()


def targets(*given: tuple[str, int]) -> dict[str, list[str]]:
    """Parameters of a request about targets; port 0 stands for none."""
    found = {"TargetGroupArn": [GROUP]}
    for at, (address, port) in enumerate(given, 1):
        found[f"Targets.member.{at}.Id"] = [address]
        if port:
            found[f"Targets.member.{at}.Port"] = [str(port)]
    return found


def standing() -> list[tuple[str, int]]:
    """The targets of the group."""
    return sorted((one["Id"], int(one.get("Port", 0))) for one in alb._targets.get(GROUP, []))


@pytest.mark.usefixtures("group")
def test_one_address_with_two_ports_is_two_targets() -> None:
    ministack_server.register_targets(targets(("127.0.0.1", 4001)))
    ministack_server.register_targets(targets(("127.0.0.1", 4002), ("127.0.0.1", 4001)))
    assert standing() == [("127.0.0.1", 4001), ("127.0.0.1", 4002)]
    ministack_server.deregister_targets(targets(("127.0.0.1", 4001)))
    assert standing() == [("127.0.0.1", 4002)]
    ministack_server.deregister_targets(targets(("127.0.0.1", 0)))
    assert standing() == []


@pytest.mark.usefixtures("group")
def test_a_target_without_a_port_has_the_groups() -> None:
    ministack_server.register_targets(targets(("127.0.0.1", 0), ("127.0.0.1", 5000)))
    assert len(standing()) == 1


def test_an_unknown_group_is_refused() -> None:
    status = ministack_server.register_targets(targets(("127.0.0.1", 1)))[0]
    assert (status, ministack_server.deregister_targets(targets(("127.0.0.1", 1)))[0]) == (400, 400)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"logGroupName": "/mlflow/s", "logStreamName": "mlflow/1"}, f"{LOG}:log-stream:mlflow/1"),
        ({"logGroupName": "/mlflow/s"}, f"{LOG}:*"),
        ({"resourceArn": LOG}, LOG),
    ],
)
def test_resource_of_a_log_request(body: dict[str, str], expected: str) -> None:
    assert ministack_server.log_resource(LOG, json.dumps(body).encode()) == expected
    assert ministack_server.log_resource("*", json.dumps(body).encode()) == "*"
    assert ministack_server.log_resource(LOG, b"not json") == LOG


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"Path": "/mlflow/a/"}', "mlflow/a"),
        (b'{"Names": ["/mlflow/a/url", "/mlflow/a/bucket"]}', "mlflow/a/url"),
        (b'{"Name": "/mlflow/a/url"}', None),
        (b"", None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_a_right_on_parameters_is_asked_for_by_name(body: bytes, expected: str | None) -> None:
    assert ministack_gaps.parameter_resource(body) == expected


@pytest.fixture
def endpoints() -> Iterator[None]:
    """Three endpoints in two VPCs."""
    for name, vpc, service in (("vpce-1", "vpc-a", "s3"), ("vpce-2", "vpc-a", "logs"), ("vpce-3", "vpc-b", "s3")):
        ec2._vpc_endpoints[name] = {
            "VpcEndpointId": name,
            "VpcEndpointType": "Gateway" if service == "s3" else "Interface",
            "VpcId": vpc,
            "ServiceName": service,
            "State": "available",
            "RouteTableIds": [],
            "SubnetIds": [],
            "OwnerId": "000000000000",
        }
    ec2._tags["vpce-3"] = [{"Key": "Stack", "Value": "b"}]
    yield
    ec2.reset()


@pytest.mark.usefixtures("endpoints")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["vpce-1", "vpce-2", "vpce-3"]),
        ({"VpcEndpointId.1": ["vpce-2"]}, ["vpce-2"]),
        ({"Filter.1.Name": ["vpc-id"], "Filter.1.Value.1": ["vpc-a"]}, ["vpce-1", "vpce-2"]),
        ({"Filter.1.Name": ["vpc-id"], "Filter.1.Value.1": ["vpc-c"]}, []),
        ({"Filter.1.Name": ["tag:Stack"], "Filter.1.Value.1": ["b"]}, ["vpce-3"]),
        ({"Filter.1.Name": ["nobody-knows"], "Filter.1.Value.1": ["b"]}, []),
        (
            {
                "VpcEndpointId.1": ["vpce-2"],
                "VpcEndpointId.2": ["vpce-1"],
                "Filter.1.Name": ["service-name"],
                "Filter.1.Value.1": ["s3"],
            },
            ["vpce-1"],
        ),
    ],
)
def test_endpoints_are_filtered(asked: dict[str, list[str]], expected: list[str]) -> None:
    ministack_gaps._filter_endpoints()
    handler = ministack_gaps._handlers(ec2, "DescribeVpcEndpoints")["DescribeVpcEndpoints"]
    body = handler(asked)[2]
    found = re.findall(r"<vpcEndpointId>([^<]+)<", body.decode() if isinstance(body, bytes) else body)
    assert sorted(found) == expected


def test_a_listener_has_more_certificates_beside_its_default() -> None:
    ministack_gaps._know_listener_certificates()
    arn = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:listener/app/s/1/2"
    alb._listeners[arn] = {"ListenerArn": arn, "Certificates": ["default"]}

    def call(action: str, *certificates: str) -> list[tuple[str, str]]:
        params = {"Action": [action], "ListenerArn": [arn]}
        for at, name in enumerate(certificates, 1):
            params[f"Certificates.member.{at}.CertificateArn"] = [name]
        body = alb._ACTION_MAP[action](params)[2]
        text = body.decode() if isinstance(body, bytes) else body
        return re.findall(r"<CertificateArn>(\w+)</CertificateArn><IsDefault>(\w+)<", text)

    try:
        assert call("DescribeListenerCertificates") == [("default", "true")]
        call("AddListenerCertificates", "one", "two")
        call("AddListenerCertificates", "two")
        assert call("DescribeListenerCertificates") == [("default", "true"), ("one", "false"), ("two", "false")]
        call("RemoveListenerCertificates", "one")
        assert call("DescribeListenerCertificates") == [("default", "true"), ("two", "false")]
        alb._listeners.clear()
        missing = {"Action": ["DescribeListenerCertificates"], "ListenerArn": [arn]}
        assert alb._ACTION_MAP["DescribeListenerCertificates"](missing)[0] == 400
    finally:
        alb.reset()


def test_a_database_keeps_which_logs_it_exports() -> None:
    ministack_gaps._keep_log_exports()
    handlers = ministack_gaps._handlers(ministack_gaps.rds, "CreateDBInstance")
    made = {"Engine": "postgres", "DBInstanceClass": "db.t4g.small", "AllocatedStorage": "20", "MasterUsername": "m"}
    request = {"DBInstanceIdentifier": "logs", "MasterUserPassword": "long-enough-1", **made}
    change = "CloudwatchLogsExportConfiguration"
    handlers["CreateDBInstance"](listed(**request, **{"EnableCloudwatchLogsExports.member.1": "postgresql"}))
    assert exports(handlers) == ["postgresql"]
    turned = {f"{change}.EnableLogTypes.member.1": "upgrade", f"{change}.DisableLogTypes.member.1": "postgresql"}
    handlers["ModifyDBInstance"](listed(DBInstanceIdentifier="logs", **turned))
    assert exports(handlers) == ["upgrade"]


def test_every_class_of_a_database_is_on_offer() -> None:
    ministack_gaps._offer_classes()
    handlers = ministack_gaps._handlers(ministack_gaps.rds, "DescribeOrderableDBInstanceOptions")

    def versions(name: str) -> list[str]:
        body = handlers["DescribeOrderableDBInstanceOptions"](listed(Engine="postgres", DBInstanceClass=name))[2]
        return re.findall(r"<EngineVersion>([\d.]+)<", body.decode() if isinstance(body, bytes) else body)

    assert "16.4" in versions("db.t4g.small") and "16.4" in versions("db.m7g.large")
    assert versions("db.x.y") == []


def test_an_imported_certificate_is_for_the_names_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls.ensure(tmp_path)
    monkeypatch.setattr(ministack_gaps.acm, "_import_certificate", ministack_gaps.acm._import_certificate)
    ministack_gaps._read_certificates()
    pem, key = ((tmp_path / f"{config.PUBLIC_DOMAIN}.{end}").read_bytes() for end in ("pem", "key"))
    given = {"Certificate": base64.b64encode(pem).decode(), "PrivateKey": base64.b64encode(key).decode()}
    arn = json.loads(ministack_gaps.acm._import_certificate(given)[2])["CertificateArn"]
    described = json.loads(ministack_gaps.acm._describe_certificate({"CertificateArn": arn})[2])["Certificate"]
    assert (described["DomainName"], described["Status"]) == (config.PUBLIC_DOMAIN, "ISSUED")


def listed(**values: str) -> dict[str, list[str]]:
    return {name: [value] for name, value in values.items()}


def exports(handlers: dict[str, Any]) -> list[str]:
    body = handlers["DescribeDBInstances"](listed(DBInstanceIdentifier="logs"))[2]
    text = body.decode() if isinstance(body, bytes) else body
    [found] = re.findall(r"<EnabledCloudwatchLogsExports>(.*?)</EnabledCloudwatchLogsExports>", text)
    return re.findall(r"<member>(.*?)</member>", found)
