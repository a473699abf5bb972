"""The load balancer's modules: each input alone, each change by hand, answers that get lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.own_modules import REGION, Run, client, empty_aws, four_steps, load, runner, tag_list

STACK = "team-a"
TAGS = {"Stack": STACK, "Name": STACK}
MISSING_ARN = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:loadbalancer/app/team-a/00000000"
TLS = "ELBSecurityPolicy-TLS13-1-2-2021-06"
Stubs = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    loaded = {name: load("modules", name) for name in ("lb_load_balancer", "lb_listeners", "lb_target_group")}
    loaded["lb_load_balancer"].POLL_SECONDS = 0.0  # type: ignore[attr-defined]
    return loaded


@pytest.fixture(autouse=True)
def no_pause(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.mlflow_aws.CREATE_PAUSE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with empty_aws(monkeypatch):
        yield


@pytest.fixture
def stubs() -> Stubs:
    """What stands in for moto, by operation; a test may add to it."""
    return {}


@pytest.fixture
def run(
    modules: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stubs: Stubs
) -> Run:
    return runner(modules, capsys, monkeypatch, stubs)


def refusal(code: str, message: str) -> ClientError:
    """AWS's refusal of a call."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


def times(stubs: Stubs, operation: str, *errors: Exception, after: bool = False) -> None:
    """Have `operation` fail with each of `errors` once, `after` it was done or before, and then work."""
    left = list(errors)
    method = getattr(client("elbv2"), operation)
    name = "".join(word.title() for word in operation.split("_"))

    def stub(**request: Any) -> Any:
        stubs.pop(name)
        try:
            answer = method(**request) if after or not left else None
        finally:
            if left:
                stubs[name] = stub
        if not left:
            return answer
        raise left.pop(0)

    stubs[name] = stub


@pytest.fixture
def network() -> dict[str, Any]:
    """A VPC, three subnets in two zones, two groups."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{row}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for row, zone in enumerate("aba")
    ]
    groups = [ec2.create_security_group(GroupName=use, Description=use, VpcId=vpc)["GroupId"] for use in ("one", "two")]
    return {"vpc": vpc, "subnets": [subnet["SubnetId"] for subnet in subnets], "groups": groups}


# --- lb_load_balancer ------------------------------------------------------------------------------------------------


@pytest.fixture
def balancer(network: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a load balancer."""
    return {
        "name": STACK,
        "scheme": "internal",
        "subnets": network["subnets"][:2],
        "security_groups": network["groups"][:1],
        "attributes": {"deletion_protection.enabled": "true", "idle_timeout.timeout_seconds": "60"},
        "tags": TAGS,
    }


def described() -> dict[str, Any]:
    """The load balancer as a second reader sees it, with {attributes} and {tags}."""
    elb = client("elbv2")
    [found] = elb.describe_load_balancers(Names=[STACK])["LoadBalancers"]
    arn = found["LoadBalancerArn"]
    attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    [tags] = elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return {
        "subnets": sorted(zone["SubnetId"] for zone in found["AvailabilityZones"]),
        "security_groups": found["SecurityGroups"],
        "ip_address_type": found["IpAddressType"],
        "scheme": found["Scheme"],
        "attributes": {each["Key"]: each["Value"] for each in attributes},
        "tags": {each["Key"]: each["Value"] for each in tags["Tags"]},
    }


def test_load_balancer_four_steps_and_absence(run: Run, balancer: dict[str, Any]) -> None:
    made = four_steps(run, "lb_load_balancer", **balancer)
    assert made.writes == ["CreateLoadBalancer", "ModifyLoadBalancerAttributes"]
    seen = described()
    for key in ("scheme", "security_groups", "tags"):
        assert seen[key] == balancer[key], key
    assert (seen["subnets"], seen["ip_address_type"]) == (sorted(balancer["subnets"]), "ipv4")
    assert seen["attributes"]["deletion_protection.enabled"] == "true"
    assert made["dns_name"].startswith(STACK)
    gone = four_steps(run, "lb_load_balancer", name=STACK, state="absent")
    assert (gone["load_balancer_arn"], gone.writes) == (None, ["DeleteLoadBalancer"])
    assert client("elbv2").describe_load_balancers()["LoadBalancers"] == []


INPUTS: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], list[str]]] = {
    "subnets": (lambda network, _: network["subnets"][1:], ["SetSubnets"]),
    "security_groups": (lambda network, _: network["groups"][1:], ["SetSecurityGroups"]),
    "tags": (lambda *_: {"Stack": STACK, "Team": "a"}, ["AddTags", "RemoveTags"]),
    "attributes": (
        lambda _, given: {**given["attributes"], "deletion_protection.enabled": "false"},
        ["ModifyLoadBalancerAttributes"],
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_load_balancer_follows_each_input_alone(
    run: Run, network: dict[str, Any], balancer: dict[str, Any], name: str
) -> None:
    made = run("lb_load_balancer", **balancer)
    new, writes = INPUTS[name][0](network, balancer), INPUTS[name][1]
    answer = four_steps(run, "lb_load_balancer", **{**balancer, name: new})
    assert (answer["load_balancer_arn"], answer.writes) == (made["load_balancer_arn"], writes)
    seen = described()[name]
    if isinstance(new, list):
        assert sorted(seen) == sorted(new)
    else:
        assert {**seen, **new} == seen
    if name == "tags":
        assert seen == new


BY_HAND = {
    "client_keep_alive.seconds": "60",
    "connection_logs.s3.enabled": "true",
    "idle_timeout.timeout_seconds": "7",
    "routing.http.desync_mitigation_mode": "monitor",
    "routing.http.drop_invalid_header_fields.enabled": "true",
    "routing.http.preserve_host_header.enabled": "true",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "true",
    "routing.http.xff_client_port.enabled": "true",
    "routing.http.xff_header_processing.mode": "remove",
    "routing.http2.enabled": "false",
    "waf.fail_open.enabled": "true",
    "zonal_shift.config.enabled": "true",
    "access_logs.s3.enabled": "true",
    "health_check_logs.s3.enabled": "true",
    "deletion_protection.enabled": "false",
}


def test_every_known_attribute_is_changed_by_hand_below(modules: dict[str, ModuleType]) -> None:
    assert set(BY_HAND) == set(modules["lb_load_balancer"].DEFAULTS)


@pytest.mark.parametrize("attribute", BY_HAND)
def test_load_balancer_takes_back_an_attribute_set_by_hand(
    run: Run, modules: dict[str, ModuleType], balancer: dict[str, Any], attribute: str
) -> None:
    arn = run("lb_load_balancer", **balancer)["load_balancer_arn"]
    change = {"Key": attribute, "Value": BY_HAND[attribute]}
    client("elbv2").modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[change])
    four_steps(run, "lb_load_balancer", **balancer)
    wanted = {**modules["lb_load_balancer"].DEFAULTS, **balancer["attributes"]}
    assert described()["attributes"][attribute] == wanted[attribute] != BY_HAND[attribute]


def test_load_balancer_takes_back_the_address_type(run: Run, balancer: dict[str, Any]) -> None:
    arn = run("lb_load_balancer", **balancer)["load_balancer_arn"]
    client("elbv2").set_ip_address_type(LoadBalancerArn=arn, IpAddressType="dualstack")
    assert four_steps(run, "lb_load_balancer", **balancer).writes == ["SetIpAddressType"]
    assert described()["ip_address_type"] == "ipv4"


def test_access_logs_go_off_and_no_bucket_is_emptied(run: Run, balancer: dict[str, Any], stubs: Stubs) -> None:
    # AWS answers: The value of 'access_logs.s3.bucket' cannot be empty.
    logs = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "logs", "access_logs.s3.prefix": "lb"}
    run("lb_load_balancer", **{**balancer, "attributes": {**balancer["attributes"], **logs}})
    sent: list[Any] = []

    def modify(**request: Any) -> Any:
        sent.extend(request["Attributes"])
        stubs.clear()
        return client("elbv2").modify_load_balancer_attributes(**request)

    stubs["ModifyLoadBalancerAttributes"] = modify
    assert run("lb_load_balancer", **balancer)["changed"] is True
    assert sent == [{"Key": "access_logs.s3.enabled", "Value": "false"}]
    assert run("lb_load_balancer", **balancer)["changed"] is False


def test_load_balancer_refuses_what_aws_cannot_change_and_what_is_no_string(run: Run, balancer: dict[str, Any]) -> None:
    run("lb_load_balancer", **balancer)
    for check in (True, False):
        refused = run("lb_load_balancer", check=check, **{**balancer, "scheme": "internet-facing"})
        assert refused["msg"] == (
            "The load balancer team-a has scheme internal instead of internet-facing, which AWS cannot change; delete "
            "it, or keep what it has."
        )
    bad = run("lb_load_balancer", **{**balancer, "attributes": {"routing.http2.enabled": True}})
    assert bad["msg"] == "attributes.routing.http2.enabled is True; the load balancer takes only strings."
    assert bad.calls == []


LOST = ReadTimeoutError(endpoint_url="https://aws")


def test_a_lost_answer_makes_no_second_load_balancer(run: Run, balancer: dict[str, Any], stubs: Stubs) -> None:
    times(stubs, "create_load_balancer", LOST, after=True)
    made = run("lb_load_balancer", **balancer)
    assert made["changed"] is True, made
    assert len(client("elbv2").describe_load_balancers()["LoadBalancers"]) == 1
    assert described()["attributes"]["deletion_protection.enabled"] == "true"
    assert run("lb_load_balancer", **balancer)["changed"] is False


def test_what_another_run_has_made_meanwhile_is_repaired(
    run: Run, network: dict[str, Any], balancer: dict[str, Any], stubs: Stubs
) -> None:
    def other(**request: Any) -> Any:
        stubs.clear()
        del request["Tags"]
        client("elbv2").create_load_balancer(**{**request, "SecurityGroups": network["groups"][1:]})
        raise refusal("DuplicateLoadBalancerName", "It is there.")

    stubs["CreateLoadBalancer"] = other
    answer = run("lb_load_balancer", **balancer)
    assert answer.writes.count("CreateLoadBalancer") == 2  # one of them is the other run's
    assert (described()["security_groups"], described()["tags"]) == (balancer["security_groups"], TAGS)


@pytest.mark.parametrize(
    ("operation", "message", "what"),
    [
        (
            "modify_load_balancer_attributes",
            "Access Denied for bucket: logs. Please check S3bucket permission",
            "the policy of the log bucket to take effect",
        ),
        (
            "create_load_balancer",
            "Unable to assume role AWSServiceRoleForElasticLoadBalancing",
            "the service-linked role of Elastic Load Balancing",
        ),
    ],
)
def test_what_passes_is_waited_for_and_said(
    run: Run,
    modules: dict[str, ModuleType],
    balancer: dict[str, Any],
    stubs: Stubs,
    operation: str,
    message: str,
    what: str,
) -> None:
    times(stubs, operation, *[refusal("InvalidConfigurationRequest", message)] * 3)
    made = run("lb_load_balancer", **balancer)
    assert made["changed"] is True, made
    assert f"AWS was waited for 0 s, for {what}." in str(made["warnings"])


def test_waiting_ends(
    run: Run, modules: dict[str, ModuleType], balancer: dict[str, Any], stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules["lb_load_balancer"], "PATIENCE_SECONDS", 0.0)
    denied = refusal("InvalidConfigurationRequest", "Access Denied for bucket: logs")
    times(stubs, "modify_load_balancer_attributes", *[denied] * 50)
    assert run("lb_load_balancer", **balancer)["msg"] == (
        "Could not set the load balancer team-a: Access Denied for bucket: logs (InvalidConfigurationRequest)."
    )


# --- lb_listeners ----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(run: Run, network: dict[str, Any], balancer: dict[str, Any]) -> dict[str, str]:
    """The ARNs of a load balancer, two target groups and two certificates."""
    elb, acm = client("elbv2"), client("acm")
    arns = {"balancer": run("lb_load_balancer", **balancer)["load_balancer_arn"]}
    for name in ("group", "other"):
        group = elb.create_target_group(Name=name, Protocol="HTTP", Port=5000, VpcId=network["vpc"], TargetType="ip")
        arns[name] = group["TargetGroups"][0]["TargetGroupArn"]
    for name in ("certificate", "foreign"):
        arns[name] = acm.request_certificate(DomainName=f"{name}.example.com")["CertificateArn"]
    return arns


REDIRECT = {"Protocol": "HTTPS", "Host": "#{host}", "Port": "443", "Path": "/#{path}", "Query": "#{query}"}


def plain(made: dict[str, str], port: int = 80) -> dict[str, Any]:
    """A listener as the role gives it without a certificate."""
    return {
        "Protocol": "HTTP",
        "Port": port,
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": made["group"]}],
    }


def secure(made: dict[str, str]) -> list[dict[str, Any]]:
    """The listeners as the role gives them with a certificate."""
    moved = {"Type": "redirect", "RedirectConfig": {**REDIRECT, "StatusCode": "HTTP_301"}}
    return [
        {"Protocol": "HTTP", "Port": 80, "DefaultActions": [moved]},
        {
            **plain(made, 443),
            "Protocol": "HTTPS",
            "SslPolicy": TLS,
            "Certificates": [{"CertificateArn": made["certificate"]}],
        },
    ]


def listeners(made: dict[str, str]) -> dict[int, dict[str, Any]]:
    """Port to listener, as a second reader sees it."""
    found = client("elbv2").describe_listeners(LoadBalancerArn=made["balancer"])["Listeners"]
    return {listener["Port"]: listener for listener in found}


def test_listeners_go_from_plain_to_secure_and_back(run: Run, made: dict[str, str]) -> None:
    for wanted, ports, writes in (
        ([plain(made)], [80], ["CreateListener"]),
        (secure(made), [80, 443], ["CreateListener", "ModifyListener"]),
        ([plain(made)], [80, 443], ["ModifyListener", "DeleteListener"]),
        ([plain(made, 8080)], [80, 8080], ["CreateListener", "DeleteListener"]),
    ):
        answer = four_steps(run, "lb_listeners", load_balancer_arn=made["balancer"], listeners=wanted, tags=TAGS)
        assert (answer["changed_ports"], answer.writes) == (ports, writes)
        standing = listeners(made)
        assert {port: one["DefaultActions"][0]["Type"] for port, one in standing.items()} == {
            one["Port"]: one["DefaultActions"][0]["Type"] for one in wanted
        }
        for one in standing.values():
            [tags] = client("elbv2").describe_tags(ResourceArns=[one["ListenerArn"]])["TagDescriptions"]
            assert tags["Tags"] == tag_list(**dict(sorted(TAGS.items())))


def foreign_actions(made: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Default actions that somebody may put in the place of a plain forward."""
    group = {"TargetGroupArn": made["group"], "Weight": 1}
    sticky = {"Enabled": True, "DurationSeconds": 60}
    config = {"TargetGroups": [group], "TargetGroupStickinessConfig": sticky}
    return {
        "elsewhere": [{"Type": "forward", "TargetGroupArn": made["other"]}],
        "sticky": [{"Type": "forward", "TargetGroupArn": made["group"], "ForwardConfig": config}],
        "nothing gets through": [{"Type": "forward", "ForwardConfig": {"TargetGroups": [{**group, "Weight": 0}]}}],
        "two groups": [
            {
                "Type": "forward",
                "ForwardConfig": {"TargetGroups": [group, {"TargetGroupArn": made["other"], "Weight": 9}]},
            }
        ],
        "a fixed response": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}],
    }


@pytest.mark.parametrize("kind", ["elsewhere", "sticky", "nothing gets through", "two groups", "a fixed response"])
def test_listener_takes_back_its_action(run: Run, made: dict[str, str], kind: str) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": [plain(made)]}
    run("lb_listeners", **arguments)
    arn = listeners(made)[80]["ListenerArn"]
    client("elbv2").modify_listener(ListenerArn=arn, DefaultActions=foreign_actions(made)[kind])
    assert four_steps(run, "lb_listeners", **arguments).writes == ["ModifyListener"]
    [action] = listeners(made)[80]["DefaultActions"]
    assert (action["Type"], action["TargetGroupArn"]) == ("forward", made["group"])
    assert "ForwardConfig" not in action or not action["ForwardConfig"]["TargetGroupStickinessConfig"]["Enabled"]


@pytest.mark.parametrize("key", [*REDIRECT, "StatusCode"])
def test_listener_takes_back_each_part_of_the_redirect(run: Run, made: dict[str, str], key: str) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": secure(made)}
    run("lb_listeners", **arguments)
    wanted = secure(made)[0]["DefaultActions"][0]["RedirectConfig"]
    other = {"Protocol": "HTTP", "Host": "evil.example.com", "Port": "8443", "Path": "/x", "Query": "q=1"}
    config = {**wanted, key: other.get(key, "HTTP_302")}
    action = {"Type": "redirect", "RedirectConfig": config}
    client("elbv2").modify_listener(ListenerArn=listeners(made)[80]["ListenerArn"], DefaultActions=[action])
    assert four_steps(run, "lb_listeners", **arguments)["changed_ports"] == [80]
    assert listeners(made)[80]["DefaultActions"][0]["RedirectConfig"] == wanted


def test_rules_made_by_hand_go(run: Run, made: dict[str, str]) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": secure(made)}
    run("lb_listeners", **arguments)
    elb = client("elbv2")
    arn = listeners(made)[443]["ListenerArn"]
    for priority in (1, 2):
        elb.create_rule(
            ListenerArn=arn,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{priority}"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": made["other"]}],
        )
    answer = four_steps(run, "lb_listeners", **arguments)
    assert (answer["changed_ports"], answer.writes) == ([443], ["DeleteRule"] * 2)
    assert [rule["IsDefault"] for rule in elb.describe_rules(ListenerArn=arn)["Rules"]] == [True]


def test_certificates_and_policy_are_exact(run: Run, made: dict[str, str]) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": secure(made)}
    run("lb_listeners", **arguments)
    elb = client("elbv2")
    arn = listeners(made)[443]["ListenerArn"]
    more = [{"CertificateArn": made["foreign"]}]
    elb.add_listener_certificates(ListenerArn=arn, Certificates=more)
    assert four_steps(run, "lb_listeners", **arguments).writes == ["RemoveListenerCertificates"]
    standing = elb.describe_listener_certificates(ListenerArn=arn)["Certificates"]
    assert [each["CertificateArn"] for each in standing] == [made["certificate"]]
    for change in ({"Certificates": more}, {"SslPolicy": "ELBSecurityPolicy-2016-08"}):
        elb.modify_listener(ListenerArn=arn, **change)
        assert four_steps(run, "lb_listeners", **arguments)["changed_ports"] == [443]
        again = listeners(made)[443]
        assert again["Certificates"][0]["CertificateArn"] == made["certificate"]
        assert again["SslPolicy"] == TLS


def test_mutual_authentication_goes_off(run: Run, made: dict[str, str], stubs: Stubs) -> None:
    # moto knows nothing of it.
    arguments = {"load_balancer_arn": made["balancer"], "listeners": secure(made)}
    run("lb_listeners", **arguments)
    answer = client("elbv2").describe_listeners(LoadBalancerArn=made["balancer"])
    for listener in answer["Listeners"]:
        if listener["Protocol"] == "HTTPS":
            listener["MutualAuthentication"] = {"Mode": "verify", "TrustStoreArn": "arn:x"}
    sent: dict[str, Any] = {}
    stubs["DescribeListeners"] = lambda **_: answer
    stubs["ModifyListener"] = lambda **request: sent.update(request) or {}
    assert run("lb_listeners", **arguments)["changed_ports"] == [443]
    assert sent["MutualAuthentication"] == {"Mode": "off"}


ATTRIBUTES = {
    "routing.http.response.server.enabled": ("false", "true"),
    "routing.http.response.access_control_allow_origin.header_value": ("*", ""),
    "routing.http.request.x_amzn_tls_cipher_suite.header_name": ("Cipher", "X-Amzn-Tls-Cipher-Suite"),
    "something.new": ("x", "x"),
}


def test_listener_attributes_go_back_to_their_defaults(run: Run, made: dict[str, str]) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": [plain(made)]}
    run("lb_listeners", **arguments)
    elb = client("elbv2")
    arn = listeners(made)[80]["ListenerArn"]
    by_hand = [{"Key": name, "Value": value} for name, (value, _) in ATTRIBUTES.items()]
    elb.modify_listener_attributes(ListenerArn=arn, Attributes=by_hand)
    assert four_steps(run, "lb_listeners", **arguments).writes == ["ModifyListenerAttributes"]
    seen = {each["Key"]: each["Value"] for each in elb.describe_listener_attributes(ListenerArn=arn)["Attributes"]}
    assert {name: seen[name] for name in ATTRIBUTES} == {name: default for name, (_, default) in ATTRIBUTES.items()}


def test_listener_tags_are_exact_or_left_alone(run: Run, made: dict[str, str]) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": [plain(made)]}
    run("lb_listeners", **arguments, tags=TAGS)
    assert run("lb_listeners", **arguments)["changed"] is False
    changed = four_steps(run, "lb_listeners", **arguments, tags={"Stack": STACK, "Team": "a"})
    assert changed.writes == ["AddTags", "RemoveTags"]
    [tags] = client("elbv2").describe_tags(ResourceArns=[listeners(made)[80]["ListenerArn"]])["TagDescriptions"]
    assert {each["Key"]: each["Value"] for each in tags["Tags"]} == {"Stack": STACK, "Team": "a"}


def test_a_lost_answer_makes_one_listener_and_what_differs_is_repaired(
    run: Run, made: dict[str, str], stubs: Stubs
) -> None:
    times(stubs, "create_listener", LOST, after=True)
    arguments = {"load_balancer_arn": made["balancer"], "listeners": [plain(made)], "tags": TAGS}
    assert run("lb_listeners", **arguments)["changed_ports"] == [80]
    assert run("lb_listeners", **arguments)["changed"] is False

    def other(**request: Any) -> Any:
        stubs.clear()
        elsewhere = [{"Type": "forward", "TargetGroupArn": made["other"]}]
        del request["Tags"]
        client("elbv2").create_listener(**{**request, "DefaultActions": elsewhere})
        raise refusal("DuplicateListener", "It is there.")

    stubs["CreateListener"] = other
    arguments["listeners"] = [plain(made), plain(made, 81)]
    assert run("lb_listeners", **arguments)["changed_ports"] == [81]
    assert listeners(made)[81]["DefaultActions"][0]["TargetGroupArn"] == made["group"]
    assert run("lb_listeners", **arguments)["changed"] is False


def test_listeners_do_not_mind_what_aws_adds(run: Run, made: dict[str, str]) -> None:
    arguments = {"load_balancer_arn": made["balancer"], "listeners": [plain(made)]}
    run("lb_listeners", **arguments)
    [action] = plain(made)["DefaultActions"]
    groups = [{"TargetGroupArn": made["group"], "Weight": 1}]
    long = {**action, "Order": 1, "ForwardConfig": {"TargetGroups": groups}}
    client("elbv2").modify_listener(ListenerArn=listeners(made)[80]["ListenerArn"], DefaultActions=[long])
    assert run("lb_listeners", **arguments)["changed"] is False


def test_listeners_of_a_missing_load_balancer_and_bad_ones(run: Run) -> None:
    made = {"group": "arn", "certificate": "arn"}
    arguments = {"load_balancer_arn": MISSING_ARN, "listeners": [plain(made)]}
    assert run("lb_listeners", check=True, **arguments)["changed"] is True
    assert run("lb_listeners", **arguments)["msg"].startswith(f"Could not read the listeners of {MISSING_ARN}: ")
    ports = "listeners needs a Port, a number, in each entry, and each number only once."
    keys = (
        "The listener on port 443 needs Port, Protocol, DefaultActions, SslPolicy, Certificates, nothing else, and one"
    )
    for bad, sentence in (
        ([{"Protocol": "HTTP"}], ports),
        ([plain(made)] * 2, ports),
        ([{**secure(made)[1], "Certificates": []}], f"{keys} certificate."),
        ([{**secure(made)[1], "AlpnPolicy": ["None"]}], f"{keys} certificate."),
    ):
        refused = run("lb_listeners", load_balancer_arn=MISSING_ARN, listeners=bad)
        assert (refused["msg"], refused.calls) == (sentence, [])


# --- lb_target_group -------------------------------------------------------------------------------------------------


@pytest.fixture
def group(network: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a target group."""
    return {"name": STACK, "vpc_id": network["vpc"], "port": 5000, "tags": TAGS}


def group_attributes() -> dict[str, str]:
    """The target group's attributes, as a second reader sees them."""
    elb = client("elbv2")
    [found] = elb.describe_target_groups(Names=[STACK])["TargetGroups"]
    attributes = elb.describe_target_group_attributes(TargetGroupArn=found["TargetGroupArn"])["Attributes"]
    return {each["Key"]: each["Value"] for each in attributes}


def test_target_group_four_steps_each_input_and_absence(run: Run, group: dict[str, Any]) -> None:
    made = four_steps(run, "lb_target_group", **group)
    elb = client("elbv2")
    for name, value, key in (
        ("health_check_path", "/version", "HealthCheckPath"),
        ("health_check_interval", 20, "HealthCheckIntervalSeconds"),
        ("health_check_timeout", 7, "HealthCheckTimeoutSeconds"),
        ("healthy_threshold", 3, "HealthyThresholdCount"),
        ("unhealthy_threshold", 5, "UnhealthyThresholdCount"),
    ):
        group[name] = value
        answer = four_steps(run, "lb_target_group", **group)
        assert (answer["target_group_arn"], answer.writes) == (made["target_group_arn"], ["ModifyTargetGroup"])
        assert elb.describe_target_groups(Names=[STACK])["TargetGroups"][0][key] == value
    for change, writes in (
        ({"success_codes": "200-299"}, ["ModifyTargetGroup"]),
        ({"deregistration_delay": 30}, ["ModifyTargetGroupAttributes"]),
        ({"tags": {"Stack": STACK, "Team": "a"}}, ["AddTags", "RemoveTags"]),
    ):
        group |= change
        assert four_steps(run, "lb_target_group", **group).writes == writes
    assert elb.describe_target_groups(Names=[STACK])["TargetGroups"][0]["Matcher"] == {"HttpCode": "200-299"}
    assert group_attributes()["deregistration_delay.timeout_seconds"] == "30"
    for check in (True, False):
        refused = run("lb_target_group", check=check, **{**group, "port": 8080})
        sentence = f"The target group {STACK} has port 5000 instead of 8080, which AWS cannot change; "
        assert refused["msg"] == sentence + "delete it, or keep what it has."
    assert four_steps(run, "lb_target_group", name=STACK, state="absent")["target_group_arn"] is None
    assert elb.describe_target_groups()["TargetGroups"] == []


GROUP_BY_HAND = {
    "load_balancing.algorithm.anomaly_mitigation": "on",
    "load_balancing.algorithm.type": "least_outstanding_requests",
    "load_balancing.cross_zone.enabled": "false",
    "slow_start.duration_seconds": "60",
    "stickiness.app_cookie.duration_seconds": "60",
    "stickiness.enabled": "true",
    "stickiness.lb_cookie.duration_seconds": "60",
    "stickiness.type": "app_cookie",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "2",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "50",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "50",
}


def test_every_known_attribute_of_a_target_group_is_changed_by_hand_below(modules: dict[str, ModuleType]) -> None:
    assert set(GROUP_BY_HAND) == set(modules["lb_target_group"].DEFAULTS)


@pytest.mark.parametrize("attribute", GROUP_BY_HAND)
def test_target_group_takes_back_an_attribute_set_by_hand(
    run: Run, modules: dict[str, ModuleType], group: dict[str, Any], attribute: str
) -> None:
    arn = run("lb_target_group", **group)["target_group_arn"]
    change = [{"Key": attribute, "Value": GROUP_BY_HAND[attribute]}]
    if attribute == "stickiness.type":
        change.append({"Key": "stickiness.app_cookie.cookie_name", "Value": "x"})
    client("elbv2").modify_target_group_attributes(TargetGroupArn=arn, Attributes=change)
    four_steps(run, "lb_target_group", **group)
    assert group_attributes()[attribute] == modules["lb_target_group"].DEFAULTS[attribute] != GROUP_BY_HAND[attribute]


@pytest.mark.parametrize(
    ("key", "value"), [("HealthCheckPort", "8080"), ("HealthCheckProtocol", "HTTPS"), ("HealthCheckPath", "/x")]
)
def test_target_group_takes_back_its_health_check(run: Run, group: dict[str, Any], key: str, value: str) -> None:
    arn = run("lb_target_group", **group)["target_group_arn"]
    elb = client("elbv2")
    before = elb.describe_target_groups(Names=[STACK])["TargetGroups"][0][key]
    elb.modify_target_group(TargetGroupArn=arn, **{key: value})
    assert four_steps(run, "lb_target_group", **group).writes == ["ModifyTargetGroup"]
    assert elb.describe_target_groups(Names=[STACK])["TargetGroups"][0][key] == before


def test_a_target_registered_by_hand_stays(run: Run, group: dict[str, Any]) -> None:
    arn = run("lb_target_group", **group)["target_group_arn"]
    elb = client("elbv2")
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.20.0.9", "Port": 5000}])
    assert run("lb_target_group", **group)["changed"] is False
    assert len(elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]) == 1


def test_a_lost_answer_makes_no_second_target_group(run: Run, group: dict[str, Any], stubs: Stubs) -> None:
    times(stubs, "create_target_group", LOST, after=True)
    assert run("lb_target_group", **group)["changed"] is True
    assert len(client("elbv2").describe_target_groups()["TargetGroups"]) == 1
    assert run("lb_target_group", **group)["changed"] is False
