"""Role drift: what counts as different, what is kept, and what a run is told."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.own_modules import load

MODULE, ACTION = load("modules", "stack_drift"), load("action", "stack_drift")
DRIFT, FILTER = MODULE.drift, load("filter", "drift")
SAME = DRIFT.Upgrade(library=False, reads=False)
RECORD: dict[str, Any] = {"inputs": "i", "parts": {"alb": "1", "rds": "2"}, "until": None}


# --- what counts as different ---------------------------------------------------------------------------------------


def test_the_order_in_which_aws_lists_things_is_no_difference() -> None:
    """Lists come in any order, at any depth."""
    one = [{"Id": "a", "Groups": ["x", "y"]}, {"Id": "b"}]
    other = [{"Id": "b"}, {"Groups": ["y", "x"], "Id": "a"}]
    assert DRIFT.digest(one) == DRIFT.digest(other)


@pytest.mark.parametrize("key", sorted(DRIFT.RESTLESS))
def test_what_changes_by_itself_is_no_difference(key: str) -> None:
    """Counters and dates of use, at any depth."""
    assert DRIFT.digest([{"a": {key: 1, "b": 2}}]) == DRIFT.digest([{"a": {key: 2, "b": 2}}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": []}, {"a": [{}]}),
        ({"a": ["x"]}, {"a": ["x", "x"]}),
        ({"a": datetime.datetime(2026, 1, 1)}, {"a": datetime.datetime(2026, 1, 2)}),
        ({"a": True}, {"a": 1}),
    ],
)
def test_everything_else_is_a_difference(one: Any, other: Any) -> None:
    """Values, types, presence, number and dates."""
    assert DRIFT.digest(one) != DRIFT.digest(other)


def test_a_number_of_tasks_within_the_scaling_is_no_difference() -> None:
    """What scaling changes is scaling's; a number outside is not."""
    targets = [{"MinCapacity": 1, "MaxCapacity": 4}]

    def described(count: int, targets: list[dict[str, int]]) -> str:
        deployments = [{"status": "PRIMARY", "desiredCount": count}, {"status": "ACTIVE", "desiredCount": 9}]
        service = {"desiredCount": count, "deployments": deployments}
        MODULE.steady(service, targets)
        return str(DRIFT.digest(service))

    assert described(1, targets) == described(4, targets)
    assert described(5, targets) != described(4, targets)
    assert described(1, []) != described(2, [])


# --- the record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "inputs", "parts", "expected"),
    [
        (RECORD, "i", {"alb": "1", "rds": "2"}, []),
        ({}, "i", {}, ["no record"]),
        (RECORD, "j", {"alb": "1", "rds": "2"}, ["settings or code"]),
        (RECORD, "i", {"alb": "9", "rds": "2"}, ["alb"]),
        (RECORD, "i", {"rds": "2"}, ["alb"]),
        (RECORD, "i", {"alb": "1", "efs": "3", "rds": "2"}, ["efs"]),
        (RECORD | {"until": 100}, "i", {"alb": "1", "rds": "2"}, []),
        (RECORD | {"until": 99}, "i", {"alb": "1", "rds": "2"}, ["age of the record"]),
        ({"inputs": "i"}, "i", {"alb": "1"}, ["alb"]),
    ],
)
def test_what_differs_is_named(record: dict[str, Any], inputs: str, parts: dict[str, str], expected: list[str]) -> None:
    """And nothing is taken for equal that was not recorded."""
    assert MODULE.differences(record, inputs, parts, now=100.0) == expected


BEFORE: dict[str, Any] = {"inputs": "i", "settings": {"workers": 2}, "reads": "r"}
PARTS: dict[str, Any] = {"alb": {"a": 1}, "rds": {"b": 2}}
DIGESTS = {name: DRIFT.digest(value) for name, value in PARTS.items()}


def record(parameters: dict[str, str]) -> dict[str, Any]:
    """The record among the parameters of a run's end."""
    return dict(json.loads(parameters["record"]))


def test_a_run_that_changed_nothing_is_believed_for_good_and_another_for_an_hour() -> None:
    """The stack before and after decides; the inputs are those of the beginning."""
    same = record(MODULE.kept(BEFORE | {"parts": DIGESTS}, PARTS, {}, now=100.0))
    assert (same["inputs"], same["parts"], same["until"]) == ("i", DIGESTS, None)
    assert record(MODULE.kept(BEFORE | {"parts": {}}, PARTS, {}, now=100.0))["until"] == 3700


def test_what_was_not_repaired_is_not_recorded_as_right() -> None:
    """The part differs in the next run, and the field is still what it was before."""
    parameters = MODULE.kept(BEFORE | {"parts": DIGESTS}, PARTS, {"alb/a": DRIFT.Change(7, 1)}, now=100.0)
    kept = record(parameters)
    assert MODULE.differences(kept, "i", DIGESTS, now=100.0) == ["alb"]
    state, begun = MODULE.last_run(parameters, kept)
    assert begun is None
    assert MODULE.good_fields(state, {}) == {"alb/a": 7, "rds/b": 2}
    assert MODULE.good_fields(state, {"alb": "Could not read alb."}) == {"rds/b": 2}


def test_the_record_fits_into_parameters_and_comes_after_what_it_names() -> None:
    """Parameters are written in the order of their names; each has at most 4,096 characters."""
    many = {"network": {str(number): DRIFT.digest(number) for number in range(400)}}
    parameters = MODULE.kept(BEFORE | {"parts": {}}, many, {}, now=100.0)
    assert sorted(parameters)[-1] == "record"
    assert len(parameters) > 4
    assert max(map(len, parameters.values())) == 4096
    assert MODULE.last_run(parameters, record(parameters))[0]["parts"] == many


def test_the_mark_of_a_run_counts_until_a_later_run_has_recorded() -> None:
    """A mark that is left over says nothing, and neither does one that is not whole."""
    mark = DRIFT.numbered("begun/", DRIFT.pack({"after": "5.000", "suspects": {"alb/a": 1}}))
    assert MODULE.last_run(mark, {"run": "5.000"})[1] == {"after": "5.000", "suspects": {"alb/a": 1}}
    assert MODULE.last_run(mark, {"run": "6.000"})[1] is None
    assert MODULE.last_run({"begun/1": mark["begun/1"][:9]}, {"run": "5.000"})[1] is None


def test_what_is_packed_comes_back_in_the_order_of_its_numbers() -> None:
    """More than nine parts."""
    value = {str(number): DRIFT.digest(number) for number in range(1500)}
    assert len(DRIFT.pack(value)) > 9
    assert DRIFT.unpack(DRIFT.below(DRIFT.numbered("good/x/", DRIFT.pack(value)), "good/x/")) == value
    assert DRIFT.unpack(["no base64"]) == {}


# --- fields ---------------------------------------------------------------------------------------------------------


def test_an_item_is_known_by_what_tells_it_apart() -> None:
    """Names, tags, ports and policies; ids that AWS draws are replaced by names wherever they are."""
    vpc = {"VpcId": "vpc-0123456789abcdef0", "Tags": [{"Key": "Name", "Value": "team-a"}]}
    nameless = {"SubnetId": "subnet-0123456789abcdef0", "VpcId": vpc["VpcId"], "AvailableIpAddressCount": 5}
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    policy = json.dumps({"Statement": [{"Sid": "One", "Effect": "Allow"}]})
    found = DRIFT.fields(
        {
            "network": {
                "Vpcs": [vpc],
                "Subnets": [nameless],
                "rules": [rule],
                "policy": policy,
                "empty": [],
                "none": None,
            }
        }
    )
    assert found == {
        "network/Vpcs[team-a]/VpcId": "team-a",
        "network/Vpcs[team-a]/Tags[Name]": "team-a",
        "network/Subnets[subnet-0123456789abcdef0]/SubnetId": "subnet-0123456789abcdef0",
        "network/Subnets[subnet-0123456789abcdef0]/VpcId": "team-a",
        "network/rules[tcp 80 80]/IpProtocol": "tcp",
        "network/rules[tcp 80 80]/FromPort": 80,
        "network/rules[tcp 80 80]/ToPort": 80,
        "network/rules[tcp 80 80]/IpRanges[0.0.0.0/0]/CidrIp": "0.0.0.0/0",
        "network/policy/Statement[One]/Sid": "One",
        "network/policy/Statement[One]/Effect": "Allow",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("loadbalancer/app/a-1/0123456789abcdef", "loadbalancer/app/a-1/fedcba9876543210"),
        ("listener/app/a-1/0123456789abcdef/1123456789abcdef", "listener/app/a-1/fedcba9876543210/2123456789abcdef"),
        ("targetgroup/a-1/0123456789abcdef", "targetgroup/a-1/fedcba9876543210"),
        ("secret:mlflow/a-1/admin-AbCdEf", "secret:mlflow/a-1/admin-123456"),
    ],
)
def test_what_was_made_anew_under_its_name_is_the_same(one: str, other: str) -> None:
    """Also as an item of a list, whose path it is; another name stays another."""

    def fields(resource: str) -> Any:
        return DRIFT.fields({"alb": {"Arns": [f"arn:aws:x:eu-west-1:123456789012:{resource}", "arn:aws:x:::else"]}})

    assert fields(one) == fields(other)
    assert fields(one) != fields(other.replace("a-1", "a-2"))


def test_two_resources_of_one_name_keep_their_ids() -> None:
    """Neither hides the other."""
    tags = [{"Key": "Name", "Value": "team-a"}]
    vpcs = [{"VpcId": f"vpc-0123456789abcdef{number}", "Tags": tags} for number in (1, 2)]
    assert len(DRIFT.fields({"network": {"Vpcs": vpcs}})) == 4


def test_the_one_item_of_a_list_stays_the_same_item_whatever_changes_in_it() -> None:
    """So that a field in it is compared although another one was changed as well."""
    one, other = ({"x": [{"A": 1, "B": number}]} for number in (1, 2))
    assert DRIFT.changes(DRIFT.fields({"p": one}), DRIFT.fields({"p": other})) == {"p/x[1]/B": DRIFT.Change(1, 2)}


def test_a_variable_that_may_hold_a_secret_has_a_digest_only() -> None:
    """In fields and in what is kept; another secret is another digest."""

    def kept(secret: str) -> str:
        return str(
            DRIFT.canonical(DRIFT.settled([{"name": "DB_PASSWORD", "value": secret}, {"name": "A", "value": "b"}]))
        )

    assert "hunter2" not in kept("hunter2")
    assert kept("hunter2") != kept("hunter3")
    assert '"b"' in kept("hunter2")
    # What was kept is read once more as it is.
    assert DRIFT.canonical(DRIFT.settled(json.loads(kept("hunter2")))) == kept("hunter2")


# --- whose change it is ---------------------------------------------------------------------------------------------

GOOD = {"alb/a": "1", "alb/x[y]/b": "2", "rds/instances[i]/EngineVersion": "16.4"}


def suspects(now: dict[str, Any], begun: Any = None, upgrade: Any = SAME, good: dict[str, Any] = GOOD) -> set[str]:
    """The fields that nothing explains."""
    found = DRIFT.changes(good, now)
    return set(DRIFT.unexplained(found, DRIFT.explained(found, good, now, upgrade), begun))


def test_what_somebody_changed_is_a_suspect() -> None:
    """Changed, added and taken away."""
    now = {"alb/a": "9", "alb/x[z]/b": "2", "rds/instances[i]/EngineVersion": "16.4"}
    assert suspects(now) == {"alb/a", "alb/x[y]/b", "alb/x[z]/b"}


def test_what_a_run_that_did_not_end_may_have_changed_is_its_own() -> None:
    """Unless it differed when that run began, with the same value, or could not be read then."""
    now = GOOD | {"alb/a": "9", "alb/x[y]/b": "3"}
    assert suspects(now, {"suspects": {"alb/a": "9"}, "unread": []}) == {"alb/a"}
    assert suspects(now, {"suspects": {"alb/a": "8"}, "unread": []}) == set()
    assert suspects(now, {"suspects": {}, "unread": ["alb"]}) == {"alb/a", "alb/x[y]/b"}


def test_a_key_that_a_new_version_reads_was_changed_by_nobody() -> None:
    """One that was read before was, and a key that goes only goes with the code that reads."""
    now = GOOD | {"alb/new": "1", "alb/x[z]/b": "5"}
    assert suspects(now) == {"alb/new", "alb/x[z]/b"}
    assert suspects(now, upgrade=DRIFT.Upgrade(library=True, reads=False)) == {"alb/x[z]/b"}
    gone = {path: value for path, value in GOOD.items() if path != "alb/a"}
    assert suspects(gone, upgrade=DRIFT.Upgrade(library=True, reads=False)) == {"alb/a"}
    assert suspects(gone, upgrade=DRIFT.Upgrade(library=True, reads=True)) == set()


def test_minor_upgrades_are_nobodys_only_where_they_are_on() -> None:
    """And a major one never."""
    version, on = "rds/instances[i]/EngineVersion", {"rds/instances[i]/AutoMinorVersionUpgrade": True}
    assert suspects(GOOD | on | {version: "16.6"}, good=GOOD | on) == set()
    assert suspects(GOOD | on | {version: "17.1"}, good=GOOD | on) == {version}
    assert suspects(GOOD | {version: "16.6"}) == {version}


@pytest.mark.parametrize(
    ("path", "was", "now"),
    [
        ("rds/instances[i]/CertificateDetails/ValidTill", "2026", "2027"),
        ("ecs_service/services[s]/deployments[PRIMARY]/rolloutState", "IN_PROGRESS", "COMPLETED"),
        ("ecs_service/services[s]/currentServiceRevisions[a]", None, "a"),
        ("network/NatGateways[n]/State", "pending", "available"),
        ("secrets/admin/LastChangedDate", "1", "2"),
        ("alb/balancers[b]/Attributes[zonal_shift.config.enabled]", None, "false"),
        ("ecr_image/images[x]/imageTag", None, "x"),
    ],
)
def test_what_aws_changes_by_itself_is_nobodys(path: str, was: Any, now: Any) -> None:
    """Each has its reason; the line is said all the same."""
    good, after = ({path: value} if value is not None else {} for value in (was, now))
    found = DRIFT.changes(good, after)
    assert DRIFT.explained(found, good, after, SAME)[path]
    assert DRIFT.lines(found, good, after)[path].startswith(f"{path.split('/')[0]}: ")


def test_every_reason_of_aws_is_of_a_part_that_is_read() -> None:
    """A pattern that nothing can match explains nothing."""
    for own in DRIFT.OWN:
        assert set(re.findall(r"(?:^|\|)(\w+)/", re.sub(r"\(.*?\)", "", own.schema))) <= set(FILTER.ROLES), own


def test_what_is_as_it_was_changed_is_not_repaired() -> None:
    """Set back, gone on to something else, and left."""
    changed = {"a": DRIFT.Change("1", "2"), "b": DRIFT.Change("1", "2"), "c": DRIFT.Change(None, "2")}
    assert set(DRIFT.unrepaired(changed, {"a": "1", "b": "3", "c": "2"}, {})) == {"c"}


@pytest.mark.parametrize(
    ("setting", "path", "change", "followed"),
    [
        (("log_retention_days", 30, 7), "log_groups/g/group/retentionInDays", (30, 7), True),
        (("log_retention_days", 14, 7), "log_groups/g/group/retentionInDays", (30, 7), False),
        (
            ("deletion_protection", True, False),
            "alb/b/Attributes[deletion_protection.enabled]",
            ("true", "false"),
            True,
        ),
        (("flow_logs", True, False), "alb/b/Attributes[deletion_protection.enabled]", ("true", "false"), False),
        (("allowed_cidrs[a]", None, "a"), "network/g/IpRanges[a]/CidrIp", (None, "a"), True),
    ],
)
def test_git_has_followed_a_change_by_hand(setting: Any, path: str, change: Any, followed: bool) -> None:
    """When the setting went from the same to the same; a yes or no needs the name as well."""
    told = {f"settings/{setting[0]}": DRIFT.Change(*setting[1:])}
    left = DRIFT.unrepaired({path: DRIFT.Change(*change)}, {path: change[1]}, told)
    assert (left == {}) is followed


def test_the_settings_that_changed_are_compared_as_fields() -> None:
    """Lists by their items."""
    told = MODULE.told({"workers": 2, "cidrs": ["a"]}, {"workers": 3, "cidrs": ["a", "b"]})
    assert told == {"settings/workers": DRIFT.Change(2, 3), "settings/cidrs[b]": DRIFT.Change(None, "b")}


# --- words ----------------------------------------------------------------------------------------------------------


def test_a_line_names_the_resource_the_field_and_both_values() -> None:
    """A whole item has one line."""
    now = {"alb/a": "9", "alb/x[z]/b": "2", "alb/x[z]/c": "3", "rds/t[Team]": "x"}
    good = {"alb/a": "1", "alb/x[y]/b": "2"}
    lines = DRIFT.lines(DRIFT.changes(good, now), good, now)
    assert DRIFT.by_part(lines, lines) == {
        "alb": [
            "alb: a: was 1, is 9",
            "alb: x[y]: was present, is absent",
            "alb: x[z]: was absent, is present",
        ],
        "rds": ["rds: t[Team]: was absent, is x"],
    }


def test_a_run_begins_with_some_ten_lines() -> None:
    """And the number of the others."""
    assert DRIFT.first({"a": ["1"] * 3, "b": ["2"] * 9}) == [*["1"] * 3, *["2"] * 7, "and 2 more"]


def test_a_plan_says_what_none_of_its_tasks_would_change_back() -> None:
    """A part in which a task of its roles would change something is left to the run."""
    lines = {"alb": ["alb: x"], "secrets": ["secrets: y"]}
    assert FILTER.not_planned(lines, []) == ["alb: x", "secrets: y"]
    assert FILTER.not_planned(lines, ["alb : Make it", "network : Make it"]) == ["secrets: y"]
    assert FILTER.not_planned(lines, ["rds : Make it"]) == ["alb: x"]
    assert set(FILTER.ROLES) == set(
        MODULE.Reader("s", "1", {"ec2": SimpleNamespace(meta=SimpleNamespace(region_name="r"))}, None).parts()
    )


# --- what a run is told ---------------------------------------------------------------------------------------------


def test_any_file_of_the_code_changes_its_digest(tmp_path: Path) -> None:
    """Content, name and number of files; not what Python leaves beside them."""
    folder = tmp_path / "roles" / "alb"
    folder.mkdir(parents=True)
    (folder / "main.yml").write_text("a")
    first = ACTION.code(tmp_path)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("a")
    assert ACTION.code(tmp_path) == first
    (folder / "main.yml").write_text("b")
    second = ACTION.code(tmp_path)
    (folder / "main.yml").rename(folder / "other.yml")
    third = ACTION.code(tmp_path)
    (tmp_path / "site.yml").write_text("b")
    assert len({first, second, third, ACTION.code(tmp_path)}) == 4


def test_the_code_is_where_it_is_looked_for() -> None:
    """A folder that was renamed would be no part of the digest any more."""
    for name in ACTION.CODE:
        assert any(True for _ in ACTION.files(ACTION.ROOT, [name])), name


def test_the_image_and_its_bundle_are_part_of_what_is_told(tmp_path: Path) -> None:
    """A build differs by them, so a run that finds nothing else must not end early."""
    assert "docker" in ACTION.CODE
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a")
    first = ACTION.content(str(bundle))
    bundle.write_text("b")
    assert len({first, ACTION.content(str(bundle)), ACTION.content(""), ACTION.content("https://example.org/ca")}) == 3


def test_whoever_sets_a_roles_variable_past_the_settings_is_seen() -> None:
    """Inputs, internals and wiring of the roles that converge; other variables are not theirs."""
    variables = {
        "alb_scheme": "internal",
        "__alb_x": [1],
        "wiring_x": True,
        "album": 1,
        "mlflow_x": 1,
        "inventory_dir": "/",
    }
    assert ACTION.overriding(variables, ["alb"]) == {"__alb_x": "[1]", "alb_scheme": "'internal'", "wiring_x": "True"}


@pytest.mark.parametrize(
    ("cli", "whole"),
    [
        ({"tags": ["all"], "skip_tags": [], "step": False, "start_at_task": None}, True),
        ({}, True),
        ({"tags": ["alb"]}, False),
        ({"tags": ["all", "never"]}, False),
        ({"tags": ["all"], "skip_tags": ["alb"]}, False),
        ({"step": True}, False),
        ({"start_at_task": "x"}, False),
    ],
)
def test_a_run_that_leaves_tasks_out_is_not_whole(cli: dict[str, Any], whole: bool) -> None:
    """Such a run may not say what the stack is like."""
    assert ACTION.is_whole(cli) is whole


def test_what_is_plain_is_json() -> None:
    """Whatever Ansible puts into a variable has one text."""
    assert json.dumps(ACTION.plain({"a": (1, Path("/x"), None)})) == '{"a": [1, "/x", null]}'
