"""What module stack_drift compares: descriptions of a stack as fields, and why a field may differ.

A field is one value that AWS describes, by its path: the part of the stack, then keys and, for items of lists, what
tells them apart, such as `network/Subnets[team-a-private-a]/MapPublicIpOnLaunch`. So the order of lists is of no
matter, and an id that AWS draws matters only where it is the value itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Fields = dict[str, Any]
# The characters that one SSM parameter of the standard tier holds.
PARAMETER_LENGTH = 4096
# What changes by itself and no task reads.
RESTLESS = frozenset(
    (
        "AvailableIpAddressCount",
        "DeliverLogsStatus",
        "LastAccessedDate",
        "LatestRestorableTime",
        "ResponseMetadata",
        "RoleLastUsed",
        "SizeInBytes",
        "activeServicesCount",
        "events",
        "failedTasks",
        "lastEvaluatedAt",
        "lastRecordedPullTime",
        "pendingCount",
        "pendingTasksCount",
        "rolloutStateReason",
        "runningCount",
        "runningTasksCount",
        "statistics",
        "storedBytes",
        "updatedAt",
    )
)
# Lists of resources whose ids AWS draws: where the list is, and the key of the id. Their names are used in place of
# the ids, so that a resource that was made anew under its name is the same.
DRAWN = {
    "AccessPoints": "AccessPointId",
    "Addresses": "AllocationId",
    "FileSystems": "FileSystemId",
    "FlowLogs": "FlowLogId",
    "InternetGateways": "InternetGatewayId",
    "NatGateways": "NatGatewayId",
    "NetworkAcls": "NetworkAclId",
    "RouteTables": "RouteTableId",
    "SecurityGroups": "GroupId",
    "Subnets": "SubnetId",
    "VpcEndpoints": "VpcEndpointId",
    "Vpcs": "VpcId",
}
# The end of an ARN that AWS draws: what is made anew under its name has another one.
DRAWN_ENDS = re.compile(
    r"(?<=:)((?:loadbalancer|listener|listener-rule)/app/[\w-]+|targetgroup/[\w-]+)(?:/[0-9a-f]{16})+\b"
    r"|(:secret:[\w/+=.@-]+)-[A-Za-z0-9]{6}\b"
)
# What tells the items of any other list apart: the first keys of which an item has the first.
IDENTITY = (
    ("IpProtocol", "FromPort", "ToPort"),
    ("Egress", "RuleNumber"),
    ("CidrIp",),
    ("CidrIpv6",),
    ("PrefixListId",),
    ("DestinationCidrBlock",),
    ("DestinationIpv6CidrBlock",),
    ("DestinationPrefixListId",),
    ("SubnetId",),
    ("SubnetIdentifier",),
    ("Sid",),
    ("ID",),
    ("Key",),
    ("key",),
    ("name",),
    ("InstanceProfileName",),
    ("PolicyName",),
    ("RoleName",),
    ("DBInstanceIdentifier",),
    ("DBParameterGroupName",),
    ("DBSubnetGroupName",),
    ("ParameterName",),
    ("LoadBalancerName",),
    ("TargetGroupName",),
    ("Priority",),
    ("Port",),
    ("CertificateArn",),
    ("ResourceArn",),
    ("ZoneName",),
    ("repositoryName",),
    ("imageTag",),
    ("clusterName",),
    ("serviceName",),
    ("filterName",),
    ("logGroupName",),
    ("containerName",),
    ("containerPath",),
    ("containerPort",),
    ("capacityProvider",),
    ("ScheduledActionName",),
    ("ResourceId",),
    ("GroupId",),
    ("VpcSecurityGroupId",),
    ("CidrBlock",),
    ("RouteTableAssociationId",),
    ("Name",),
    ("Id",),
    ("status",),
)
# Names of environment variables whose values may be secrets. Ours are in Secrets Manager; somebody's may not be.
SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|_UR[IL]$", re.IGNORECASE)
SHOWN_LENGTH = 120
SHOWN_LINES = 10


class Own(NamedTuple):
    """A field that AWS itself changes."""

    schema: str  # a regular expression for the whole path, with [] for each item
    reason: str


# What may differ although nobody has changed it, and what only follows from another field. It is said, and never fails.
OWN = (
    Own(r"rds/.*/DBInstanceStatus|efs/.*/LifeCycleState|alb/.*/State/Code", "a state that AWS reports"),
    Own(r"rds/.*/(SubnetGroupStatus|SubnetStatus|Status|ParameterApplyStatus)", "a state that AWS reports"),
    Own(r"rds/.*/PendingModifiedValues/.*", "a change that AWS has accepted and will apply"),
    Own(r"rds/.*/CertificateDetails/ValidTill", "RDS renews the certificate of a server"),
    Own(r"rds/.*/(AvailabilityZone|SecondaryAvailabilityZone)", "a database of two zones changes sides when one fails"),
    Own(r"network/(Vpcs|Subnets|NatGateways|VpcEndpoints)\[\]/State", "a state that AWS reports"),
    Own(r"network/FlowLogs\[\]/FlowLogStatus|network/RouteTables\[\]/Routes\[\]/State", "a state that AWS reports"),
    Own(r"network/NatGateways\[\]/NatGatewayAddresses\[\]/.*", "the address is compared where it stands"),
    Own(r"network/Addresses\[\]/(AssociationId|NetworkInterface.*)", "drawn when the gateway takes the address"),
    Own(r"network/VpcEndpoints\[\]/(NetworkInterfaceIds|DnsEntries).*", "drawn for the endpoint"),
    Own(r"ecs_service/services\[\]/(deployments|taskSets)\[\]/.*", "ECS renews deployments by itself"),
    Own(
        r"ecs_service/services\[\]/(currentServiceDeployment|currentServiceRevisions).*", "ECS renews revisions itself"
    ),
    Own(r"ecs_service/services\[\]/(platformVersion|platformFamily|createdBy)", "ECS chooses the newest platform"),
    Own(r"ecs_service/revisions\[\]", "a revision that no service runs does nothing"),
    Own(r"ecs_service/clusters\[\]/(attachmentsStatus|registeredContainerInstancesCount)", "a state that AWS reports"),
    Own(r"ecs_service/policies\[\]/Alarms\[\].*", "drawn by Application Auto Scaling for its policy"),
    Own(r"secrets/.*/(LastChangedDate|NextRotationDate|LastRotatedDate)", "the date of a change that is seen itself"),
    Own(r"log_groups/.*/metricFilterCount", "the filters are compared themselves"),
    Own(r".*/(Creat(ed|ion)(Date|Time|edTime|Timestamp)|created_?[aA]t|creat(ion|ed)Time|registeredAt)", "a date"),
    Own(r".*/(InstanceCreateTime|CreatedDate|CreationTimestamp)", "a date"),
)
# AWS lists every attribute of them, so that one that was not there is one that AWS has added.
ATTRIBUTES = re.compile(r"alb/\w+\[\]/Attributes\[\]")
# Who pushes an image only adds a tag to the repository; the one that runs is named by its digest.
PUSHED = re.compile(r"ecr_image/images\[\]/(imageTag|imageDigest)")


# --- descriptions ---------------------------------------------------------------------------------------------------


def settled(value: Any) -> Any:
    """`value` without what changes by itself, its lists in one order, and all in types that JSON has.

    A variable of a container that may hold a secret has a digest of it instead, which tells as well whether it changed.
    """
    if isinstance(value, dict):
        if {*value} == {"name", "value"} and SECRET.search(str(value["name"])):
            return {"name": value["name"], "value": _masked(str(value["value"]))}
        return {key: settled(item) for key, item in value.items() if key not in RESTLESS}
    if isinstance(value, (list, tuple)):
        return sorted((settled(item) for item in value), key=canonical)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _masked(secret: str) -> str:
    begin = "sha256:"
    return secret if secret.startswith(begin) else f"{begin}{hashlib.sha256(secret.encode()).hexdigest()[:12]}"


def canonical(value: Any) -> str:
    """`value` as JSON of one form only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 of `value`, settled."""
    return hashlib.sha256(canonical(settled(value)).encode()).hexdigest()


def named(parts: Mapping[str, Any]) -> dict[str, Any]:
    """`parts`, settled, with names in place of the ids of DRAWN wherever they are, and ARNs without DRAWN_ENDS."""
    plain = {part: settled(value) for part, value in parts.items()}
    names: dict[str, set[str]] = {}
    for kind, resource in _resources(plain):
        names.setdefault(f"{kind} {_name(resource)}", set()).add(str(resource[DRAWN[kind]]))
    # Of several with one name each keeps its id.
    known = {ids.pop(): name.partition(" ")[2] for name, ids in names.items() if len(ids) == 1}
    text = re.sub(
        r"\b[a-z]+-[0-9a-f]{8,}\b", lambda match: json.dumps(known.get(match[0], match[0]))[1:-1], canonical(plain)
    )
    return dict(json.loads(DRAWN_ENDS.sub(lambda match: match[1] or match[2], text)))


def _resources(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every resource of DRAWN in `value`, with its kind."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in DRAWN and isinstance(item, list):
                yield from ((key, each) for each in item if isinstance(each, dict) and DRAWN[key] in each)
            yield from _resources(item)
    elif isinstance(value, list):
        for item in value:
            yield from _resources(item)


def _name(resource: Mapping[str, Any]) -> str:
    """The name that somebody gave a resource, or its id."""
    tags = {tag.get("Key"): tag.get("Value") for tag in resource.get("Tags") or [] if isinstance(tag, dict)}
    given = resource.get("GroupName") or tags.get("Name") or resource.get("ServiceName")
    return str(given or next(resource[key] for key in DRAWN.values() if key in resource))


def fields(parts: Mapping[str, Any]) -> Fields:
    """The fields of descriptions by their paths; what is empty or null is no field."""
    found: Fields = {}
    for part, value in named(parts).items():
        _walk(found, part, "", value)
    return found


def _walk(found: Fields, path: str, key: str, value: Any) -> None:
    if isinstance(value, str) and value.startswith("{"):
        value = _parsed(value)
    if value == {} and key.endswith("Configuration"):
        # There is nothing to say about it but that it is there, such as the events of a bucket.
        found[path] = "present"
    elif isinstance(value, dict):
        for name, item in value.items():
            _walk(found, f"{path}/{name}", name, item)
    elif isinstance(value, list):
        for name, item in _items(key, value):
            _walk(found, f"{path}[{name}]", key, _of_pair(item))
    elif value is not None:
        found[path] = value


def _parsed(text: str) -> Any:
    """A policy that AWS gives as text, as what it means."""
    try:
        return settled(json.loads(text))
    except ValueError:
        return text


def _of_pair(item: Any) -> Any:
    """The value of a tag, an attribute or a variable, which its list knows by its name; any other item as it is."""
    if not isinstance(item, dict) or len(item) != 2:
        return item
    lower = {key.lower(): value for key, value in item.items()}
    return lower["value"] if {*lower} in ({"key", "value"}, {"name", "value"}) else item


def _items(key: str, values: list[Any]) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with what tells it apart."""
    names = [_identity(key, value) for value in values]
    if len({*names}) < len(names):
        names = [_content(value) for value in values]
    elif len(names) == 1 and names == [_content(values[0])] and isinstance(values[0], dict):
        # The one item of a list stays the same item whatever changes in it.
        names = ["1"]
    # A path is taken apart by its brackets.
    yield from ((name.replace("[", "(").replace("]", ")"), value) for name, value in zip(names, values, strict=True))


def _identity(key: str, value: Any) -> str:
    if not isinstance(value, dict):
        return _content(value)
    keys: Iterable[str] = (DRAWN[key],) if DRAWN.get(key) in value else ()
    keys = keys or next((each for each in IDENTITY if each[0] in value), ())
    return " ".join(str(value[each]) for each in keys if each in value) or _content(value)


def _content(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]} {digest(value)[:8]}"


# --- differences ----------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """What a field was in the last good state, and what it is; None where it was or is absent."""

    was: Any
    now: Any


Changes = dict[str, Change]


def changes(good: Fields, now: Fields) -> Changes:
    """The fields that differ."""
    paths = sorted({*good, *now})
    return {path: Change(good.get(path), now.get(path)) for path in paths if good.get(path) != now.get(path)}


def schema(path: str) -> str:
    """The path without what tells items apart."""
    return re.sub(r"\[[^]]*\]", "[]", path)


class Upgrade(NamedTuple):
    """What has changed in how a stack is read since the last good state."""

    library: bool
    reads: bool


def explained(found: Changes, good: Fields, now: Fields, upgrade: Upgrade) -> dict[str, str]:
    """The changes that are nobody's, by path, each with its reason."""
    before, after = ({schema(path) for path in side} for side in (good, now))
    reasons = {}
    for path, change in found.items():
        kind = schema(path)
        if change.was is None and any(upgrade) and kind not in before:
            reasons[path] = "not read before this upgrade"
        elif change.now is None and upgrade.reads and kind not in after:
            reasons[path] = "not read any more since this upgrade"
        else:
            reasons[path] = _own(kind, path, change, now)
    return {path: text for path, text in reasons.items() if text}


def _own(kind: str, path: str, change: Change, now: Fields) -> str:
    """Why AWS itself has changed a field, or ""."""
    if change.was is None and ATTRIBUTES.fullmatch(kind):
        return "an attribute that AWS has added"
    if change.was is None and PUSHED.fullmatch(kind):
        return "an image that somebody has pushed"
    instance = path.rpartition("/")[0]
    if kind.endswith("/EngineVersion") and now.get(f"{instance}/AutoMinorVersionUpgrade") is True:
        minor = str(change.was).split(".")[0] == str(change.now).split(".")[0]
        return "RDS upgrades minor versions, as it is set to" if minor else ""
    if kind.endswith("/AllocatedStorage") and now.get(f"{instance}/MaxAllocatedStorage"):
        return "RDS adds storage, as it is set to"
    return next((own.reason for own in OWN if re.fullmatch(own.schema, kind)), "")


def unexplained(found: Changes, reasons: Mapping[str, str], begun: Mapping[str, Any] | None) -> Changes:
    """The changes that somebody else may have made.

    `begun` is what a run that did not end has left: `suspects`, the fields that differed when it began with their
    values, and `unread`, the parts that it could not read. What differs beyond them it may have changed itself.
    """
    rest = {path: change for path, change in found.items() if path not in reasons}
    if begun is None:
        return rest
    suspects, unread = begun.get("suspects", {}), begun.get("unread", [])
    return {
        path: change
        for path, change in rest.items()
        if path.split("/")[0] in unread or (path in suspects and suspects[path] == change.now)
    }


def unrepaired(suspects: Changes, end: Fields, told: Mapping[str, Change]) -> Changes:
    """Of what differed at the beginning what is still so at the end, and what git has not followed.

    `told` has the settings that changed since the last good state. Git has followed a field when a setting went from
    the same value to the same value; for a yes or no the setting's name has to be in the path as well.
    """
    return {
        path: change
        for path, change in suspects.items()
        if end.get(path) == change.now and not any(_followed(name, each, path, change) for name, each in told.items())
    }


def _followed(name: str, setting: Change, path: str, change: Change) -> bool:
    if [_plain(value) for value in setting] != [_plain(value) for value in change]:
        return False
    yes_or_no = {_plain(value) for value in setting} <= {"true", "false", "none"}
    return not yes_or_no or _letters(schema(name).rpartition("/")[2]) in _letters(path)


def _plain(value: Any) -> str:
    return str(value).lower()


def _letters(text: str) -> str:
    return re.sub("[^a-z]", "", text.lower())


def taken_back(end: Fields, wrong: Mapping[str, Any]) -> Fields:
    """`end` with what the fields of `wrong` were in the last good state, null for absent."""
    return {path: value for path, value in {**end, **wrong}.items() if value is not None}


# --- words ----------------------------------------------------------------------------------------------------------


def lines(found: Changes, good: Fields, now: Fields) -> dict[str, str]:
    """A line per field that differs, by path; all fields of an item of a list that was or is not there share one."""
    before, after = _containers(good), _containers(now)
    return {path: _line(path, change, before, after) for path, change in found.items()}


def _line(path: str, change: Change, before: set[str], after: set[str]) -> str:
    lacking = before if change.was is None else after if change.now is None else None
    whole = next((each for each in _prefixes(path) if each not in lacking), None) if lacking is not None else None
    was, now = _shown(change.was), _shown(change.now)
    if whole and (whole != path or path.endswith(f"[{change.was or change.now}]")):
        was, now = ("absent", "present") if change.was is None else ("present", "absent")
    part, _, shown = (whole or path).partition("/")
    return f"{part}: {shown}: was {was}, is {now}"


def by_part(texts: Mapping[str, str], paths: Iterable[str]) -> dict[str, list[str]]:
    """The lines of `paths` by part, each once."""
    told: dict[str, dict[str, None]] = {}
    for path in paths:
        told.setdefault(path.split("/")[0], {})[texts[path]] = None
    return {part: list(each) for part, each in told.items()}


def _prefixes(path: str) -> Iterator[str]:
    """The items of lists that a path goes through, the outermost first."""
    yield from (path[: match.end()] for match in re.finditer(r"\]", path))


def _containers(side: Fields) -> set[str]:
    return {prefix for path in side for prefix in _prefixes(path)}


def _shown(value: Any) -> str:
    text = "absent" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


def first(told: Mapping[str, Sequence[str]]) -> list[str]:
    """The first of many lines, and how many there are more."""
    texts = [text for each in told.values() for text in each]
    more = len(texts) - SHOWN_LINES
    return [*texts[:SHOWN_LINES], *([f"and {more} more"] if more > 0 else [])]


# --- what is kept ---------------------------------------------------------------------------------------------------


def pack(value: Any) -> list[str]:
    """`value` as texts that each fit into one SSM parameter."""
    text = base64.b64encode(zlib.compress(canonical(value).encode(), 9)).decode()
    return [text[start : start + PARAMETER_LENGTH] for start in range(0, len(text), PARAMETER_LENGTH)]


def unpack(texts: Iterable[str]) -> dict[str, Any]:
    """What `pack` was given; {} when it is not whole."""
    try:
        value = json.loads(zlib.decompress(base64.b64decode("".join(texts), validate=True)))
    except (ValueError, zlib.error, binascii.Error):
        return {}
    return value if isinstance(value, dict) else {}


def below(parameters: Mapping[str, str], path: str) -> list[str]:
    """The values of the parameters `path`1, `path`2 and so on."""
    numbers = sorted(
        int(name.removeprefix(path)) for name in parameters if re.fullmatch(rf"{re.escape(path)}\d+", name)
    )
    return [parameters[f"{path}{number}"] for number in numbers]


def numbered(path: str, texts: Iterable[str]) -> dict[str, str]:
    """The parameters for `texts`, as `below` finds them."""
    return {f"{path}{number}": text for number, text in enumerate(texts, start=1)}
