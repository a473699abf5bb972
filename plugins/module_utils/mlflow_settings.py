"""The operator's settings: types, rules and what follows from them. Pure functions, no Ansible and no AWS.

`settle` is the way in: it takes the argument spec of role preflight and the raw `mlflow_*` variables of a host, and
returns the typed settings and every problem found, each of them one sentence with variable, value and remedy.
"""

from __future__ import annotations

import copy
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PREFIX = "mlflow_"

# Memory in MiB. Measured on MLflow 3.17.2 with job execution off: 411 MB (PSS) idle with one worker. What the first
# worker and the system need, what each further worker takes, and the smallest task that survives a busy minute.
MEMORY_BASE = 600
MEMORY_PER_WORKER = 450
MEMORY_FLOOR = 1024
WORKERS_MOST = 8

SIZES = {"small": (512, 1024), "medium": (1024, 2048), "large": (2048, 4096)}

# Fargate's CPU units with the MiB it takes for each (AWS documentation, "Task CPU and memory").
FARGATE: dict[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}

# What mlflow_image is where the image is built from docker/.
BUILD = "build"

VPC_SHORTEST, VPC_LONGEST = 16, 28
VPC_EXAMPLE = "10.42.0.0/16"
SUBNET_KINDS = ("public", "private", "database")
# A sixteenth of the VPC each, so ten of sixteen stay free for what comes later.
SUBNET_BITS = 4
# AWS asks for a /27 under a load balancer and for a /28 everywhere.
SUBNET_LONGEST = {"public": 27, "private": 27, "database": 28}

# Load balancers and target groups end at 32 characters, of which 24 are the stack's; buckets
# (mlflow-<stack>-<account>-<region>-logs) at 63, which leaves less in regions with a long name.
STACK_NAME_LENGTH = 24
BUCKET_NAME_LENGTH = 63 - len("mlflow--123456789012--logs")

# What gp3 storage of RDS takes beyond what is included: from how many GiB on, and how many I/O operations a second.
IOPS_STORAGE_GB = 400
IOPS_LEAST = 12000
IOPS_PER_GB = 500
# RDS lets a disk grow to a tenth more than it has, or further.
STORAGE_GROWTH_PERCENT = 10
STORAGE_MAX_LEAST_GB = 100
STORAGE_MOST_GB = 65536
WINDOW_MINUTES = 30
DAY_MINUTES = 24 * 60

# Those of every resource, of a subnet and of the service.
OWN_TAGS = ("Stack", "Project", "ManagedBy", "Environment", "Name", "Tier", "Autoscaled")
# No resource has both of the last two.
TAGS_MOST = 50 - len(OWN_TAGS) + 1

# What AWS keeps for itself: names as a whole, and their beginnings.
RESERVED_NAMES = ("default",)
RESERVED_BEGINNINGS = ("internal-", "sg-")
# What no VPC can have: this network, loopback, link-local, multicast and what is reserved.
RESERVED_NETWORKS = [
    ipaddress.IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
]
NETWORK_LISTS = ("mlflow_allowed_cidrs", *(f"mlflow_{kind}_subnet_cidrs" for kind in SUBNET_KINDS))

_HOST = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_DAY = "mon|tue|wed|thu|fri|sat|sun"

# Variable: (what the whole value must look like, the remedy).
PATTERNS = {
    "mlflow_stack_name": (
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*(?<=..)",
        "use 2 or more lower-case letters, digits and single hyphens, starting with a letter, such as team-a",
    ),
    "mlflow_environment": (r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "use letters, digits, - and _, such as dev or prod"),
    "mlflow_region": (r"[a-z]{2,4}(-[a-z]+)+-\d", "use the name of an AWS region, such as eu-west-1"),
    "mlflow_domain": (
        rf"(?=.{{1,253}}$){_HOST}(\.{_HOST})+",
        "give a full host name in lower case, without scheme and port, such as mlflow.example.org",
    ),
    "mlflow_certificate_arn": (
        r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+",
        "give the ARN of a certificate in ACM, arn:aws:acm:<region>:<account>:certificate/<id>",
    ),
    "mlflow_database_instance_class": (r"db\.[a-z0-9-]+\.[a-z0-9-]+", "name an RDS class, such as db.t4g.small"),
    "mlflow_database_engine_version": (
        r"1[3-9](\.\d{1,2})?",
        'give a PostgreSQL version from 13 on as "16" or "16.4"',
    ),
    "mlflow_database_backup_window": (
        rf"{_TIME}-{_TIME}",
        "give a daily time in UTC, as 03:00-04:00",
    ),
    "mlflow_database_maintenance_window": (
        rf"({_DAY}):{_TIME}-({_DAY}):{_TIME}",
        "give a weekly time in UTC, as sun:05:00-sun:06:00",
    ),
    "mlflow_image_base": (
        r"[a-z0-9][A-Za-z0-9._-]*(:\d+(?=/))?(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?",
        "name an image, best by digest, such as registry.example.org/python:3.13-slim@sha256:<64 hex digits>",
    ),
    "mlflow_image_ca_bundle": (
        r"(https://[^/\s@]+/\S+|~?/\S.*)",
        "give the full path of a PEM file or an https URL",
    ),
    "mlflow_permissions_boundary_arn": (
        r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+",
        "give the ARN of an IAM policy, arn:aws:iam::<account>:policy/<name>",
    ),
}

# Variable: (least, most, why these).
RANGES = {
    "mlflow_workers": (1, 64, "a task runs so many processes"),
    "mlflow_auth_cache_seconds": (0, 3600, "an old password may be taken for so long"),
    "mlflow_capacity_min": (1, 100, "a stack runs so many tasks"),
    "mlflow_capacity_max": (1, 100, "a stack runs so many tasks"),
    "mlflow_capacity_cpu_target": (10, 90, "it is a percentage with room to react"),
    "mlflow_database_storage_gb": (20, STORAGE_MOST_GB, "RDS takes no other"),
    "mlflow_database_storage_max_gb": (0, STORAGE_MOST_GB, "RDS takes no other"),
    "mlflow_database_iops": (0, 64000, "RDS takes no other"),
    "mlflow_database_port": (1150, 65535, "RDS takes no other"),
    "mlflow_backup_days": (0, 35, "RDS takes no other"),
    "mlflow_artifact_noncurrent_days": (1, 36500, "S3 takes whole days"),
    "mlflow_access_log_days": (1, 36500, "S3 takes whole days"),
}

# More of a value than is ever printed.
SHOWN_MOST = 2000

# Names of what somebody takes for a setting that holds a secret.
SECRET = re.compile(r"passw|secret|token|credential|private_key|access_key", re.I)

# What to do about a required variable that is not there.
WHEN_MISSING = {"mlflow_stack_name": PATTERNS["mlflow_stack_name"][1]}


@dataclass(frozen=True)
class Problem:
    """One thing the operator has to change. `str()` is the sentence."""

    variable: str
    value: Any
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{visible(self.variable)} is {show(self.value)}: {self.reason}; {self.remedy}."


@dataclass(frozen=True)
class Hidden:
    """Stands for a value that must not be printed (it came out of a vault)."""

    value: Any

    def __repr__(self) -> str:
        return "(vaulted)"


class Unusable(Exception):
    """A rule needs a value that is already reported as bad, so the rule has nothing to say."""


class Settings(dict[str, Any]):
    """Typed values by full variable name. A name that could not be typed raises `Unusable`."""

    def __missing__(self, name: str) -> Any:
        raise Unusable(name)


def show(value: Any) -> str:
    """The value as a person reads it: short, one line, and without the password of a URL."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    text = (
        value
        if isinstance(value, str)
        else repr(value)
        if isinstance(value, Hidden)
        else json.dumps(value, default=str)
    )
    text = re.sub(r"//[^/@\s]+@", "//...@", visible(text[:SHOWN_MOST]))
    return text if len(text) <= 100 else f"{text[:97]}..."


def visible(text: str) -> str:
    """A text on one line, with the code of each character that cannot be seen."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in " ".join(text.split()))


def is_unset(value: Any) -> bool:
    """An empty survey answer, an empty environment variable and null all mean that nothing was said."""
    return value is None or (isinstance(value, str) and not value.strip())


# --- types ----------------------------------------------------------------------------------------------------------


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, (str, int)) and str(value).strip().lower() in words:
        return words[str(value).strip().lower()]
    raise ValueError("it is neither true nor false", "write true or false")


def to_int(value: Any) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, str))
        or not re.fullmatch(r"-?[0-9]{1,18}", str(value).strip())
    ):
        raise ValueError("it is not a whole number", "write digits only, without a unit")
    return int(value)


def to_str(value: Any) -> str:
    if isinstance(value, str):
        return printable(value.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # 16.10 without quotes has already become 16.1 when it arrives here.
    raise ValueError("it is not text", "write it in quotes")


def printable(text: str) -> str:
    """The text itself. Raises ValueError for one with characters that nobody sees, which some of Python drops."""
    if not text.isprintable():
        raise ValueError("it has characters that cannot be seen", "write it anew, on one line")
    return text


def to_list(value: Any) -> list[str]:
    """A list of texts. A string is one item per comma, space or line, or JSON."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else re.split(r"[,\s]+", text.strip(","))
        except ValueError:
            value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError("it is a number, and it has to be text", "write it in quotes")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("it is not a list of texts", "write a YAML list, or the items with commas between them")
    return [printable(item.strip()) for item in value]


def to_dict(value: Any) -> dict[str, str]:
    """Texts by text. A string is JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping) or any(isinstance(item, (Mapping, list, tuple)) for item in value.values()):
        if isinstance(value, (list, tuple)) and not value:
            return {}
        raise ValueError("it is not a dictionary of texts", "write key: value lines")
    return {
        str(key): show(item) if isinstance(item, bool) else "" if item is None else str(item)
        for key, item in value.items()
    }


CASTS: dict[str, Callable[[Any], Any]] = {
    "bool": to_bool,
    "int": to_int,
    "str": to_str,
    "list": to_list,
    "dict": to_dict,
}
EMPTY: dict[str, Any] = {"str": "", "list": [], "dict": {}}


def read(spec: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Settings, list[Problem]]:
    """Type the given variables and default the others.

    Args:
        spec: options of the argument spec, by variable name.
        given: raw values of every `mlflow_*` variable of the host; `Hidden` ones are not printed.

    Returns:
        The settings, without the names that could not be typed, and the problems. A variable that is not set and has
        no default is "", [] or None after its type.
    """
    settings = Settings()
    problems = [unknown(name, spec) for name in sorted(given) if name not in spec]
    for name, option in spec.items():
        raw = given.get(name)
        plain = raw.value if isinstance(raw, Hidden) else raw
        if is_unset(plain):
            if option.get("required"):
                problems.append(Problem(name, None, "every stack needs it", WHEN_MISSING[name]))
            else:
                settings[name] = copy.copy(option.get("default", EMPTY.get(option["type"])))
            continue
        choices = option.get("choices")
        try:
            value = CASTS[option["type"]](plain)
        except ValueError as error:
            reason, remedy = error.args
            # Quotes make no choice of what is none.
            is_text = choices and option["type"] == "str"
            problems.append(Problem(name, raw, reason, f"use {nearest(plain, choices)}" if is_text else remedy))
            continue
        bad = [one for one in (value if isinstance(value, list) else [value]) if choices and one not in choices]
        if bad:
            shown = raw if isinstance(raw, Hidden) else bad[0]
            problems.append(Problem(name, shown, "there is no such choice", f"use {nearest(bad[0], choices)}"))
            continue
        settings[name] = value
    return settings, problems


def nearest(value: Any, choices: Iterable[Any]) -> str:
    """The choices as words, the likeliest first."""
    names = [str(choice) for choice in choices]
    if isinstance(value, int) and all(isinstance(choice, int) for choice in choices):
        return f"{min(choices, key=lambda choice: abs(choice - value))} (of {', '.join(names)})"
    close = difflib.get_close_matches(str(value), names, n=1)
    listed = ", ".join(names[:-1]) + f" or {names[-1]}"
    return f"{close[0]} (of {listed})" if close and len(names) > 2 else listed


def unknown(name: str, spec: Mapping[str, Any]) -> Problem:
    """Never shows the value: a wrong name may well hold a password."""
    if SECRET.search(name):
        remedy = "remove it, for a stack makes its own secrets and no setting holds one"
        return Problem(name, "set", "there is no such setting", remedy)
    known = [known.removeprefix(PREFIX) for known in spec]
    close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    remedy = f"did you mean {PREFIX}{close[0]}" if close else "remove it, the README lists every name"
    return Problem(name, "set", "there is no such setting", remedy)


# --- rules: each yields what is wrong -------------------------------------------------------------------------------


def networks(values: Iterable[str]) -> list[ipaddress.IPv4Network]:
    """Raises Unusable on what `cidr_problem` reports."""
    try:
        return [ipaddress.IPv4Network(value) for value in values]
    except ValueError as error:
        raise Unusable(str(error)) from error


def cidr_problem(name: str, value: str) -> Problem | None:
    length = {"mlflow_allowed_cidrs": 32, "mlflow_vpc_cidr": VPC_SHORTEST}.get(name, 24)
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        try:
            meant = ipaddress.IPv4Network(value, strict=False)
        except ValueError:
            # What the default VPC has free for a subnet.
            example = {32: "203.0.113.0/24", VPC_SHORTEST: VPC_EXAMPLE}.get(length, "10.42.96.0/24")
            remedy = f"write it as address/length, such as {example}"
            return Problem(name, value, "it is not an IPv4 network", remedy)
        if name == "mlflow_vpc_cidr":
            meant = vpc_around(ipaddress.IPv4Network((value.partition("/")[0], meant.prefixlen), strict=False), value)
        return Problem(name, value, "its address goes on behind the prefix", f"write {meant}")
    if "/" in value:
        return None
    meant = ipaddress.IPv4Network((network.network_address, length), strict=False)
    return Problem(name, value, "it has no prefix length", f"add one, such as {meant}")


def vpc_around(network: ipaddress.IPv4Network, value: str = "") -> ipaddress.IPv4Network:
    """The network nearest to one, or to the address in `value`, that a VPC can have and be cut into subnets."""
    address = value.partition("/")[0] or network.network_address
    longest = min(SUBNET_LONGEST.values()) - SUBNET_BITS
    fitting = network.prefixlen if VPC_SHORTEST <= network.prefixlen <= longest else VPC_SHORTEST
    return ipaddress.IPv4Network((address, fitting), strict=False)


def rule_patterns(settings: Settings) -> Iterator[Problem]:
    for name, (pattern, remedy) in PATTERNS.items():
        if name in settings and settings[name] and not re.fullmatch(pattern, settings[name], re.ASCII):
            yield Problem(name, settings[name], "it does not have the right form", remedy)


def rule_ranges(settings: Settings) -> Iterator[Problem]:
    for name, (least, most, reason) in RANGES.items():
        if name in settings and settings[name] is not None and not least <= settings[name] <= most:
            fitting = min(most, most_with_others(name, settings))
            yield Problem(
                name, settings[name], reason, f"use {least} to {fitting}" if fitting > least else f"use {least}"
            )


def most_with_others(name: str, settings: Settings) -> int:
    """The most that the other settings leave to a number, so that advice is not refused in its turn."""
    if name in ("mlflow_workers", "mlflow_capacity_min", "mlflow_capacity_max") and settings["mlflow_storage"] == "efs":
        return 1
    if name == "mlflow_workers":
        return workers_by_memory(task_size(settings)[1])
    highest = RANGES["mlflow_capacity_max"][1]
    return min(settings["mlflow_capacity_max"], highest) if name == "mlflow_capacity_min" else RANGES[name][1]


def rule_region(settings: Settings) -> Iterator[Problem]:
    if not settings["mlflow_region"]:
        yield Problem("mlflow_region", None, "and neither AWS_REGION nor the AWS profile has one", "set mlflow_region")


def rule_account(settings: Settings) -> Iterator[Problem]:
    for account in settings["mlflow_account_id"]:
        if not re.fullmatch("[0-9]{12}", account):
            remedy = 'write 12 digits in quotes, such as "123456789012"'
            yield Problem("mlflow_account_id", account, "it is not the number of an AWS account", remedy)


def rule_stack_name(settings: Settings) -> Iterator[Problem]:
    name = settings["mlflow_stack_name"]
    most = min(STACK_NAME_LENGTH, BUCKET_NAME_LENGTH - len(settings.get("mlflow_region") or ""))
    if len(name) > most:
        reason = f"it has {len(name)} characters, and AWS refuses the longer names made from it"
        yield Problem("mlflow_stack_name", name, reason, f"use at most {most}")
    if name in RESERVED_NAMES:
        yield Problem("mlflow_stack_name", name, "AWS has resources of its own with this name", "use another word")
    for beginning in RESERVED_BEGINNINGS:
        if name.startswith(beginning):
            reason = f"AWS reserves names that start with {beginning}"
            yield Problem("mlflow_stack_name", name, reason, "start it with another word")


def rule_image(settings: Settings) -> Iterator[Problem]:
    image = settings["mlflow_image"]
    if image == BUILD:
        return
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*(:\d+(?=/))?(/[a-z0-9._-]+)*@sha256:[0-9a-f]{64}", image):
        reason = (
            "a stack runs one exact image, and a tag can move"
            if "@sha256:" not in image
            else "it is not <name>@sha256:<64 hex digits>"
        )
        remedy = "use build, or give <name>@sha256:<64 hex digits>, without a tag"
        yield Problem("mlflow_image", image, reason, remedy)


def rule_image_copy(settings: Settings) -> Iterator[Problem]:
    image, copied = settings["mlflow_image"], settings["mlflow_image_copy"]
    if image == BUILD and copied:
        reason = "an image that is built is pushed to the stack's repository anyway"
        yield Problem("mlflow_image_copy", copied, reason, "remove it, or set mlflow_image to the image to copy")


def rule_image_scan(settings: Settings) -> Iterator[Problem]:
    gate = settings["mlflow_image_scan_gate"]
    if gate in ("", "none") or settings["mlflow_image"] == BUILD or settings["mlflow_image_copy"]:
        return
    reason = "mlflow_image is run from where it is, and only the stack's own repository is scanned"
    yield Problem("mlflow_image_scan_gate", gate, reason, "set mlflow_image_copy to true, or remove the gate")


def rule_image_without_internet(settings: Settings) -> Iterator[Problem]:
    image, region = settings["mlflow_image"], settings["mlflow_region"]
    if settings["mlflow_egress"] != "endpoints" or image == BUILD or settings["mlflow_image_copy"]:
        return
    registry = rf"\d{{12}}\.dkr[.-]ecr(-fips)?\.{re.escape(region)}\.(amazonaws\.com(\.cn)?|on\.aws)/"
    if region and not re.match(registry, image):
        reason = f"with mlflow_egress endpoints, tasks reach no registry but ECR in {region}"
        yield Problem("mlflow_image", image, reason, "set mlflow_image_copy to true, or mlflow_egress to nat")


def rule_public_auth(settings: Settings) -> Iterator[Problem]:
    if settings["mlflow_exposure"] == "public" and settings["mlflow_auth"] == "none":
        reason = "with mlflow_exposure public anyone could read and delete everything"
        yield Problem("mlflow_auth", "none", reason, "set mlflow_auth to basic or mlflow_exposure to internal")


def rule_public_tls(settings: Settings) -> Iterator[Problem]:
    if settings["mlflow_exposure"] != "public" or settings["mlflow_allow_plain_http"]:
        return
    if not settings["mlflow_certificate_arn"]:
        reason = "mlflow_certificate_arn is not set, so passwords would cross the internet in clear text"
        remedy = (
            "set mlflow_certificate_arn and mlflow_domain, or mlflow_exposure to internal, "
            "or accept it with mlflow_allow_plain_http true"
        )
        yield Problem("mlflow_exposure", "public", reason, remedy)


def rule_certificate(settings: Settings) -> Iterator[Problem]:
    arn = settings["mlflow_certificate_arn"]
    if not arn:
        return
    if not settings["mlflow_domain"]:
        reason = "no certificate is for the load balancer's own name, so no client would trust it"
        yield Problem("mlflow_certificate_arn", arn, reason, "set mlflow_domain to a name in the certificate")
    region, parts = settings["mlflow_region"], arn.split(":")
    if region and len(parts) > 3 and re.fullmatch(PATTERNS["mlflow_certificate_arn"][0], arn) and parts[3] != region:
        reason = f"it is in {parts[3]} and the load balancer in {region}"
        yield Problem("mlflow_certificate_arn", arn, reason, f"use a certificate in {region}")


def rule_allowed_cidrs(settings: Settings) -> Iterator[Problem]:
    name, values = "mlflow_allowed_cidrs", settings["mlflow_allowed_cidrs"]
    public = settings["mlflow_exposure"] == "public"
    if public and not values:
        yield Problem(
            name, None, "a public load balancer needs to know whom to let in", "list networks such as 203.0.113.0/24"
        )
    for value in values:
        problem = cidr_problem(name, value)
        if problem:
            yield problem
        elif value.endswith("/0") and not public:
            reason = "an internal load balancer is not for everyone"
            yield Problem(name, value, reason, "list the networks of its clients, such as 10.0.0.0/8")
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield Problem(name, value, "it is listed twice", "remove one of the two")


def rule_vpc(settings: Settings) -> Iterator[Problem]:
    name, value = "mlflow_vpc_cidr", settings["mlflow_vpc_cidr"]
    problem = cidr_problem(name, value)
    if problem:
        yield problem
        return
    [vpc] = networks([value])
    if not VPC_SHORTEST <= vpc.prefixlen <= VPC_LONGEST:
        reason = f"a VPC has a prefix length of {VPC_SHORTEST} to {VPC_LONGEST}"
        yield Problem(name, value, reason, f"write {vpc_around(vpc)}")
        return
    if any(vpc.overlaps(reserved) for reserved in RESERVED_NETWORKS):
        yield Problem(name, value, "AWS gives no VPC such addresses", f"use private ones, such as {VPC_EXAMPLE}")
        return
    derived = [kind for kind in SUBNET_KINDS if not settings[f"mlflow_{kind}_subnet_cidrs"]]
    longest = min((SUBNET_LONGEST[kind] for kind in derived), default=32) - SUBNET_BITS
    if vpc.prefixlen > longest:
        lists = " and ".join(f"mlflow_{kind}_subnet_cidrs" for kind in derived)
        yield Problem(
            name, value, "it is too small to cut the subnets from", f"use a /{longest} or larger, or set {lists}"
        )


def rule_subnets(settings: Settings) -> Iterator[Problem]:
    for kind in SUBNET_KINDS:
        name = f"mlflow_{kind}_subnet_cidrs"
        values = settings[name]
        if values and len(values) != 2:
            yield Problem(
                name, values, f"there are two zones and {len(values)} in the list", "give one network for each zone"
            )
        for value in values:
            problem = cidr_problem(name, value)
            if problem:
                yield problem
                continue
            [net] = networks([value])
            if net.prefixlen > SUBNET_LONGEST[kind]:
                yield Problem(name, value, "AWS needs more addresses there", f"use a /{SUBNET_LONGEST[kind]} or larger")


def rule_subnets_in_vpc(settings: Settings) -> Iterator[Problem]:
    [vpc] = networks([settings["mlflow_vpc_cidr"]])
    for kind in SUBNET_KINDS:
        name = f"mlflow_{kind}_subnet_cidrs"
        for net in networks(settings[name]):
            if not net.subnet_of(vpc):
                yield Problem(
                    name, str(net), f"it is not inside mlflow_vpc_cidr {vpc}", "choose networks inside the VPC"
                )


def rule_subnets_overlap(settings: Settings) -> Iterator[Problem]:
    seen: list[tuple[str, ipaddress.IPv4Network]] = []
    for kind in SUBNET_KINDS:
        name = f"mlflow_{kind}_subnet_cidrs"
        for net in networks(settings[name] or derived_subnets(settings["mlflow_vpc_cidr"], kind)):
            for other, taken in seen:
                if net.overlaps(taken):
                    # The list that was typed is the one to change; a derived one only follows the VPC.
                    own, foreign = (name, net), (other, taken)
                    (bad, bad_net), (good, good_net) = (own, foreign) if settings[name] else (foreign, own)
                    hint = "" if settings[good] else ", which is the default"
                    yield Problem(
                        bad,
                        str(bad_net),
                        f"it overlaps {good_net} of {good}{hint}",
                        "choose networks that do not overlap",
                    )
            seen.append((name, net))


def rule_zones(settings: Settings) -> Iterator[Problem]:
    name, zones, region = "mlflow_availability_zones", settings["mlflow_availability_zones"], settings["mlflow_region"]
    if not zones:
        return
    if len(zones) != 2 or len(set(zones)) != 2:
        yield Problem(
            name, zones, "the stack spans two zones", f"name two different ones, such as {region}a and {region}b"
        )
    for zone in zones:
        if region and not re.fullmatch(re.escape(region) + "[a-z]", zone):
            yield Problem(name, zone, f"it is not a zone of {region}", f"use zones such as {region}a and {region}b")


def rule_size_given_once(settings: Settings) -> Iterator[Problem]:
    size, cpu, memory = (settings[f"mlflow_{part}"] for part in ("size", "cpu", "memory"))
    if size and (cpu is not None or memory is not None):
        yield Problem(
            "mlflow_size", size, "mlflow_cpu and mlflow_memory say it too", "remove mlflow_size or the other two"
        )
    elif (cpu is None) != (memory is None):
        present, absent = ("cpu", "memory") if memory is None else ("memory", "cpu")
        value = settings[f"mlflow_{present}"]
        remedy = f"set mlflow_{absent} as well, or only mlflow_size, which is {', '.join(SIZES)}"
        yield Problem(f"mlflow_{present}", value, f"mlflow_{absent} is not set", remedy)


def rule_fargate(settings: Settings) -> Iterator[Problem]:
    cpu, memory = settings["mlflow_cpu"], settings["mlflow_memory"]
    if cpu is not None and cpu not in FARGATE:
        yield Problem("mlflow_cpu", cpu, "Fargate has no such CPU", f"use {nearest(cpu, FARGATE)}")
    if memory is not None and memory < MEMORY_FLOOR:
        reason = "the server needs about 411 MB before the first request, and room for work"
        yield Problem("mlflow_memory", memory, reason, f"use {MEMORY_FLOOR} or more")
    elif cpu in FARGATE and memory is not None and memory not in FARGATE[cpu]:
        fitting = [str(pair) for pair, sizes in FARGATE.items() if memory in sizes]
        usable = [size for size in FARGATE[cpu] if size >= MEMORY_FLOOR]
        near = [str(size) for size in sorted(sorted(usable, key=lambda size: abs(size - memory))[:2])]
        remedy = f"use mlflow_memory {' or '.join(near)}" + (
            f", or mlflow_cpu {' or '.join(fitting)}" if fitting else ""
        )
        yield Problem("mlflow_memory", memory, f"Fargate has no task of {cpu} CPU units with it", remedy)


def rule_workers(settings: Settings) -> Iterator[Problem]:
    workers = settings["mlflow_workers"]
    if workers is None:
        return
    if settings["mlflow_storage"] == "efs":
        if workers != 1:
            yield Problem("mlflow_workers", workers, "SQLite on efs takes one writer", "use 1, or mlflow_storage rds")
        return
    _, memory = task_size(settings)
    if workers > workers_by_memory(memory):
        need = MEMORY_BASE + MEMORY_PER_WORKER * workers
        remedy = f"use at most {workers_by_memory(memory)}, or {need} MiB of memory and more"
        yield Problem("mlflow_workers", workers, f"a task of {memory} MiB does not hold them", remedy)


def rule_capacity(settings: Settings) -> Iterator[Problem]:
    least, most = settings["mlflow_capacity_min"], settings["mlflow_capacity_max"]
    if settings["mlflow_storage"] == "efs":
        for name, value in (("mlflow_capacity_min", least), ("mlflow_capacity_max", most)):
            if value > 1:
                yield Problem(
                    name,
                    value,
                    "two tasks on one SQLite file (mlflow_storage efs) damage it",
                    "use 1, or mlflow_storage rds",
                )
    elif least > most:
        yield Problem(
            "mlflow_capacity_min",
            least,
            f"it is more than mlflow_capacity_max, {most}",
            "raise mlflow_capacity_max or lower this",
        )


def rule_database_storage(settings: Settings) -> Iterator[Problem]:
    name, most, size = (
        "mlflow_database_storage_max_gb",
        *(settings[f"mlflow_database_storage_{part}"] for part in ("max_gb", "gb")),
    )
    least = -(-size * (100 + STORAGE_GROWTH_PERCENT) // 100)
    if most and most < least:
        reason = f"RDS lets a disk of {size} GiB (mlflow_database_storage_gb) grow to a tenth more at least"
        yield Problem(name, most, reason, f"use {least} or more, or 0 for a disk that does not grow")


def rule_database_iops(settings: Settings) -> Iterator[Problem]:
    name, iops, size = "mlflow_database_iops", settings["mlflow_database_iops"], settings["mlflow_database_storage_gb"]
    if not iops:
        return
    if size < IOPS_STORAGE_GB:
        reason = f"RDS takes a number only for a disk of {IOPS_STORAGE_GB} GiB and more"
        yield Problem(name, iops, reason, f"use 0, or mlflow_database_storage_gb {IOPS_STORAGE_GB}")
    elif not IOPS_LEAST <= iops <= IOPS_PER_GB * size:
        reason = f"RDS takes {IOPS_LEAST} to {IOPS_PER_GB * size} for {size} GiB"
        yield Problem(name, iops, reason, "use one of those, or 0")


def windows(backup: str, maintenance: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Both windows as (minute of the day or week at which it begins, minutes that it takes)."""
    (start, end), days = (minutes(time) for time in backup.split("-")), 7 * DAY_MINUTES
    first, last = (_DAY.split("|").index(time[:3]) * DAY_MINUTES + minutes(time[4:]) for time in maintenance.split("-"))
    return (start, (end - start) % DAY_MINUTES), (first, (last - first) % days)


def minutes(time: str) -> int:
    """Minutes since midnight of a time such as 03:30."""
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)


def rule_database_windows(settings: Settings) -> Iterator[Problem]:
    names = [f"mlflow_database_{kind}_window" for kind in ("backup", "maintenance")]
    given = [settings[name] for name in names]
    if not all(re.fullmatch(PATTERNS[name][0], value) for name, value in zip(names, given, strict=True) if value):
        return
    stand_ins = [value or default for value, default in zip(given, ("00:00-00:30", "mon:00:00-mon:00:30"), strict=True)]
    (start, long), (first, lasts) = windows(*stand_ins)
    for name, value, length in zip(names, given, (long, lasts), strict=True):
        if value and length < WINDOW_MINUTES:
            yield Problem(name, value, f"AWS wants {WINDOW_MINUTES} minutes at least", "let it end later")
    # Every day's backup against the maintenance of the week.
    if all(given) and ((start - first) % DAY_MINUTES < lasts or (first - start) % DAY_MINUTES < long):
        yield Problem(names[0], given[0], f"it overlaps {names[1]}, {given[1]}", "choose times that do not overlap")


def rule_tags(settings: Settings) -> Iterator[Problem]:
    name, tags = "mlflow_tags", settings["mlflow_tags"]
    if len(tags) > TAGS_MOST:
        yield Problem(name, f"{len(tags)} tags", "AWS takes 50 with those of the stack", f"keep at most {TAGS_MOST}")
    # IAM takes Team and team for one key.
    own, seen = {key.lower() for key in OWN_TAGS}, set[str]()
    for key, value in tags.items():
        if key.lower() in own:
            yield Problem(name, key, "the stack sets this tag itself", "choose another key")
        elif key.lower() in seen:
            yield Problem(name, key, "another key differs in capitals only, and IAM takes the two for one", "drop one")
        elif not key:
            yield Problem(name, json.dumps({key: value}), "a tag needs a name", "write one before the colon")
        elif key.lower().startswith("aws:"):
            yield Problem(name, key, "AWS reserves keys that start with aws:", "choose another key")
        elif not 1 <= len(key) <= 128 or len(value) > 256:
            yield Problem(name, key, "AWS takes keys of up to 128 and values of up to 256 characters", "shorten it")
        elif not re.fullmatch(r"[\w .:/=+@-]*", key + value):
            yield Problem(
                name,
                f"{key}={value}",
                "AWS takes letters, digits, spaces and . : / = + @ - _ in tags",
                "remove the other characters",
            )
        seen.add(key.lower())


def rule_verify_url(settings: Settings) -> Iterator[Problem]:
    name, value = "mlflow_verify_url", settings["mlflow_verify_url"]
    if not value:
        return
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and url.hostname and url.path in ("", "/") and url.port != 0
    except ValueError:
        good = False
    if not good or "?" in value or "#" in value:
        yield Problem(
            name,
            value,
            "it is not the address of a server",
            "write scheme, host and port only, such as https://mlflow.example.org:8443",
        )
    elif "@" in value:
        yield Problem(name, value, "it holds a login, which would end in logs", "leave out what stands before the @")


def rule_destroy_confirm(settings: Settings) -> Iterator[Problem]:
    value, stack = settings["mlflow_destroy_confirm"], settings["mlflow_stack_name"]
    if value and value != stack:
        yield Problem("mlflow_destroy_confirm", value, f"the stack is {stack}", "write that name to destroy it")


RULES: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    rule_patterns,
    rule_ranges,
    rule_region,
    rule_account,
    rule_stack_name,
    rule_image,
    rule_image_copy,
    rule_image_scan,
    rule_image_without_internet,
    rule_public_auth,
    rule_public_tls,
    rule_certificate,
    rule_allowed_cidrs,
    rule_vpc,
    rule_subnets,
    rule_subnets_in_vpc,
    rule_subnets_overlap,
    rule_zones,
    rule_size_given_once,
    rule_fargate,
    rule_workers,
    rule_capacity,
    rule_database_storage,
    rule_database_iops,
    rule_database_windows,
    rule_tags,
    rule_verify_url,
    rule_destroy_confirm,
)


def check(settings: Settings) -> list[Problem]:
    """Every problem the rules find. A rule stops where it meets a value that is already reported."""
    problems: list[Problem] = []
    for rule in RULES:
        try:
            for problem in rule(settings):
                problems.append(problem)
        except Unusable:
            continue
    return problems


# --- what follows from the settings ---------------------------------------------------------------------------------


def workers_by_memory(memory: int) -> int:
    """How many server processes a task of so many MiB holds; at least one."""
    return max(1, (memory - MEMORY_BASE) // MEMORY_PER_WORKER)


def task_size(settings: Settings) -> tuple[int, int]:
    """CPU units and MiB of a task."""
    cpu, memory = settings["mlflow_cpu"], settings["mlflow_memory"]
    if cpu is not None and memory is not None:
        return cpu, memory
    return SIZES[settings["mlflow_size"] or "small"]


def derived_subnets(vpc_cidr: str, kind: str) -> list[str]:
    """The two networks of a kind cut from the VPC. Raises Unusable when the VPC is too small or no network."""
    [vpc] = networks([vpc_cidr])
    if vpc.prefixlen + SUBNET_BITS > SUBNET_LONGEST[kind]:
        raise Unusable(vpc_cidr)
    pieces = list(vpc.subnets(prefixlen_diff=SUBNET_BITS))
    first = 2 * SUBNET_KINDS.index(kind)
    return [str(piece) for piece in pieces[first : first + 2]]


def derive(settings: Settings) -> dict[str, Any]:
    """The fact `mlflow` without what only AWS knows (account_id, partition).

    Args:
        settings: values without a problem.

    Returns:
        Settings without their prefix; `size` {cpu, memory, workers}; `subnets` {public, private, database}, each two
        ranges; `allowed_cidrs` filled in; `tags` with the stack's own.
    """
    fact = {name.removeprefix(PREFIX): value for name, value in settings.items()}
    for name in ("cpu", "memory", "workers", *(f"{kind}_subnet_cidrs" for kind in SUBNET_KINDS)):
        fact.pop(name)
    vpc = fact["vpc_cidr"]
    cpu, memory = task_size(settings)
    workers = settings["mlflow_workers"] or min(workers_by_memory(memory), WORKERS_MOST)
    fact["size"] = {"cpu": cpu, "memory": memory, "workers": 1 if fact["storage"] == "efs" else workers}
    fact["allowed_cidrs"] = fact["allowed_cidrs"] or [vpc]
    fact["subnets"] = {
        kind: settings[f"mlflow_{kind}_subnet_cidrs"] or derived_subnets(vpc, kind) for kind in SUBNET_KINDS
    }
    if fact["database_storage_max_gb"] is None:
        fact["database_storage_max_gb"] = min(
            max(STORAGE_MAX_LEAST_GB, 2 * fact["database_storage_gb"]), STORAGE_MOST_GB
        )
    own = {"Stack": fact["stack_name"], "Project": "mlflow", "ManagedBy": "ansible", "Environment": fact["environment"]}
    fact["tags"] = fact["tags"] | own
    fact["verify_url"] = fact["verify_url"].rstrip("/")
    # An internal load balancer is out of reach from most places that deploy.
    fact["verify"] = fact["exposure"] == "public" if fact["verify"] is None else fact["verify"]
    return fact


def identity_problems(settings: Settings, identity: Mapping[str, str]) -> list[Problem]:
    """What does not belong to the account that the AWS login is for.

    Args:
        settings: values without a problem.
        identity: {account_id, partition} of the login.
    """
    accounts, account = settings["mlflow_account_id"], identity["account_id"]
    if accounts and account not in accounts:
        reason = f"the AWS login is for account {account}"
        remedy = "log in to the right account (AWS_PROFILE), or choose the inventory of this one"
        return [Problem("mlflow_account_id", ", ".join(accounts), reason, remedy)]
    problems = []
    for name, what in (("mlflow_certificate_arn", "certificate"), ("mlflow_permissions_boundary_arn", "policy")):
        partition, owner = (settings[name].split(":") + [""] * 5)[1:5:3]
        if settings[name] and partition != identity["partition"]:
            reason = f"it is in partition {partition}, and the AWS login in {identity['partition']}"
            problems.append(Problem(name, settings[name], reason, f"use a {what} of account {account}"))
        elif settings[name] and owner not in (account, "aws"):
            reason = f"it is in account {owner}, and the AWS login in {account}"
            problems.append(Problem(name, settings[name], reason, f"use a {what} of account {account}"))
    return problems


def account_line(stack: str, region: str, account: str, last_run: bool | None) -> str:
    """What a run says first where the settings name no account.

    Args:
        stack: name of the stack.
        region: its region.
        account: the account that the AWS login is for.
        last_run: whether the stack has been deployed there; None when the login may not read that.
    """
    known = {
        None: "",
        True: ", where it was deployed before",
        False: ", where it was never deployed: a deployment makes a new one",
    }[last_run]
    advice = f'To have another refused, set mlflow_account_id: "{account}".'
    return f"{stack} is in account {account}, {region}{known}. {advice}"


def warnings(settings: Settings) -> list[str]:
    """What is allowed but should be seen."""
    if settings["mlflow_exposure"] == "public" and not settings["mlflow_certificate_arn"]:
        stack = settings["mlflow_stack_name"]
        return [f"Stack {stack} is public over plain HTTP: anyone on the way can read passwords and models."]
    return []


def settle(spec: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Settings, list[Problem]]:
    """Type, default and check. See `read` for the arguments; the settings are complete when there is no problem."""
    settings, problems = read(spec, given)
    normalise(settings)
    released = bool(settings.get("mlflow_release_image"))
    if released:
        # What a release names stands above what the inventory says, whatever the rules then ask of it.
        settings["mlflow_image"] = settings["mlflow_release_image"]
    problems += check(settings)
    if released:
        # It is the image that was given, and the one to change.
        problems = [
            Problem("mlflow_release_image", p.value, p.reason, p.remedy) if p.variable == "mlflow_image" else p
            for p in problems
        ]
    return settings, concealed(problems, given)


def normalise(settings: Settings) -> None:
    """Write networks and names as AWS takes them: 10.0.0.0/255.0.0.0 is 10.0.0.0/8, and a domain has no capitals."""
    for name in NETWORK_LISTS:
        if name in settings:
            settings[name] = [as_cidr(value) for value in settings[name]]
    if "mlflow_vpc_cidr" in settings:
        settings["mlflow_vpc_cidr"] = as_cidr(settings["mlflow_vpc_cidr"])
    if "mlflow_domain" in settings:
        settings["mlflow_domain"] = settings["mlflow_domain"].lower().removesuffix(".")


def as_cidr(value: str) -> str:
    """A network with its prefix length as a number; what is none stays as it is, for the rules."""
    try:
        return str(ipaddress.IPv4Network(value)) if "/" in value else value
    except ValueError:
        return value


def leaves(value: Any) -> Iterator[str]:
    """All texts and numbers within a value, keys included."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*leaves(key), *leaves(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        # A list may be one text.
        yield from {text.strip(), *re.split(r"[,\s\[\]\"]+", text)} - {""}


def concealed(problems: Iterable[Problem], given: Mapping[str, Any]) -> list[Problem]:
    """The problems without any value that came out of a vault, also where a sentence is about another variable."""
    hidden = {name: raw.value for name, raw in given.items() if isinstance(raw, Hidden)}
    secrets = sorted({leaf for value in hidden.values() for leaf in leaves(value)}, key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(secret)}(?![\w])" for secret in secrets)) if secrets else None

    def conceal(text: str) -> str:
        return pattern.sub("(vaulted)", text) if pattern else text

    return [
        Problem(
            p.variable,
            Hidden(p.value) if p.variable in hidden else conceal(show(p.value)),
            conceal(p.reason),
            conceal(p.remedy),
        )
        if hidden
        else p
        for p in problems
    ]
