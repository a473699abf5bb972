"""Which variable gives each setting of the server, in this image's contract and in those it takes over from others.

`TABLE` is the whole of it; docs/moving.md shows the same table and scripts/generate_docs.py writes it there.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Refusal(Exception):
    """A sentence for the operator that ends the program; `code` is the exit code."""

    def __init__(self, sentence: str, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code


class Contract(NamedTuple):
    """A set of variables that belong together. The first one whose `mark` is set is the one that applies.

    The mark is the variable that says where artifacts go: all contracts have one, under different names. `PORT`, for
    example, is the server's in one of them and the database's in another.
    """

    name: str
    title: str
    mark: str


OWN = Contract("own", "this image", "MLFLOW_ARTIFACTS_DESTINATION")
ECS_DEMO = Contract("ecs_demo", "ECS demo", "MLFLOW_DEFAULT_ARTIFACT_ROOT")
APP_RUNNER = Contract("app_runner", "App Runner image", "MLFLOW_ARTIFACT_URI")
CDK = Contract("cdk", "CDK module", "BUCKET")
CONTRACTS = (OWN, ECS_DEMO, APP_RUNNER, CDK)

# A default with this value is computed from the administrator's password.
DERIVED = "(derived)"


class Row(NamedTuple):
    """A setting: its own variable, which wins in every contract, then those of the contract in force, in order.

    `names` and `defaults` are by the contract's name; without a default the setting stays missing. `warning` follows
    "<setting> is not set: " in the log when a default of another contract than OWN is used.
    """

    setting: str
    names: Mapping[str, tuple[str, ...]] = {}
    defaults: Mapping[str, str] = {}
    warning: str = ""


TABLE = (
    Row(
        "MLFLOW_ARTIFACTS_DESTINATION",
        {"ecs_demo": ("MLFLOW_DEFAULT_ARTIFACT_ROOT",), "app_runner": ("MLFLOW_ARTIFACT_URI",), "cdk": ("BUCKET",)},
    ),
    Row("MLFLOW_HOST", {}, dict.fromkeys(("own", "ecs_demo", "app_runner", "cdk"), "0.0.0.0")),
    Row("MLFLOW_PORT", {"app_runner": ("PORT",)}, dict.fromkeys(("own", "ecs_demo", "app_runner", "cdk"), "5000")),
    Row("MLFLOW_BACKEND_STORE_URI", {"app_runner": ("MLFLOW_BACKEND_URI", "DATABASE_URL")}),
    Row("MLFLOW_DB_DIALECT", {}, {"app_runner": "postgresql", "cdk": "mysql"}),
    Row("MLFLOW_DB_HOST", {"cdk": ("HOST",)}),
    Row("MLFLOW_DB_PORT", {"cdk": ("PORT",)}),
    Row("MLFLOW_DB_DATABASE", {"cdk": ("DATABASE",)}, {"app_runner": "mlflow"}),
    Row("MLFLOW_DB_USERNAME", {"cdk": ("USERNAME",)}, {"app_runner": "mlflow"}),
    Row("MLFLOW_DB_PASSWORD", {"ecs_demo": ("PGPASSWORD",), "cdk": ("PASSWORD",)}),
    Row(
        "MLFLOW_AUTH",
        {},
        {"ecs_demo": "none", "app_runner": "basic", "cdk": "none"},
        "{default!r} is what this contract had; set it to basic (logins) or none.",
    ),
    Row(
        "MLFLOW_AUTH_ADMIN_USERNAME",
        {"app_runner": ("MLFLOW_TRACKING_USERNAME",)},
        {"own": "admin", "ecs_demo": "admin", "app_runner": "mlflow", "cdk": "admin"},
    ),
    Row("MLFLOW_AUTH_ADMIN_PASSWORD", {"app_runner": ("MLFLOW_TRACKING_PASSWORD",)}),
    Row(
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        {},
        {"ecs_demo": DERIVED, "app_runner": DERIVED, "cdk": DERIVED},
        "it is derived from the administrator's password; set it to a secret of 16 or more characters.",
    ),
    Row(
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        {},
        {"ecs_demo": "*", "app_runner": "*", "cdk": "*"},
        "the server answers to every host name; list those of the load balancer, each as name,name:*.",
    ),
)


@dataclass(frozen=True)
class Given:
    """What the environment says, under this image's names.

    `values` has no empty ones. `shown` maps a setting to the variable the operator knows it by: the one that gave
    the value, or the one that should have. `warnings` are sentences for the log.
    """

    contract: Contract
    values: Mapping[str, str]
    shown: Mapping[str, str]
    warnings: tuple[str, ...] = field(default=())

    def name(self, setting: str) -> str:
        return self.shown.get(setting, setting)


def candidates(row: Row, contract: Contract) -> tuple[str, ...]:
    """The variables that may give the setting, the winner first."""
    return (row.setting, *row.names.get(contract.name, ()))


def consumed() -> set[str]:
    """Every variable that some contract reads; none of them is handed on to the server as it is."""
    return {name for row in TABLE for contract in CONTRACTS for name in candidates(row, contract)}


def translate(environ: Mapping[str, str]) -> Given:
    """Return the settings of the contract in force, beside everything else that was given."""
    present = {name: value for name, value in environ.items() if value != ""}
    contract = next((one for one in CONTRACTS if one.mark in present), OWN)
    values = dict(present)
    shown: dict[str, str] = {}
    warnings: list[str] = []
    for row in TABLE:
        names = candidates(row, contract)
        found = [name for name in names if name in present]
        shown[row.setting] = found[0] if found else names[-1]
        if found:
            values[row.setting] = present[found[0]]
            warnings += [f"{name} is ignored: {found[0]} wins." for name in found[1:]]
        elif contract.name in row.defaults:
            values[row.setting] = row.defaults[contract.name]
    marks = [other.mark for other in CONTRACTS if other.mark in present and other.mark not in shown.values()]
    warnings += [f"{mark} is ignored: {contract.mark} wins." for mark in marks]
    given = Given(contract, values, shown, tuple(warnings))
    if contract is OWN:
        return given
    finish(given, values)
    return Given(contract, values, shown, (*announcements(given, present), *warnings))


def finish(given: Given, values: dict[str, str]) -> None:
    """Replace what the other systems wrote in a way of their own, in `values`."""
    bucket = values["MLFLOW_ARTIFACTS_DESTINATION"]
    if given.contract.mark == given.name("MLFLOW_ARTIFACTS_DESTINATION") and "/" not in bucket.rstrip("/"):
        values["MLFLOW_ARTIFACTS_DESTINATION"] = f"s3://{bucket.rstrip('/')}"
    if given.name("MLFLOW_AUTH_ADMIN_PASSWORD") == "MLFLOW_TRACKING_PASSWORD":
        first_user(values)
    if values.get("MLFLOW_FLASK_SERVER_SECRET_KEY") == DERIVED:
        del values["MLFLOW_FLASK_SERVER_SECRET_KEY"]
        if "MLFLOW_AUTH_ADMIN_PASSWORD" in values:
            key = values["MLFLOW_AUTH_ADMIN_PASSWORD"].encode("utf-8", "surrogateescape")
            values["MLFLOW_FLASK_SERVER_SECRET_KEY"] = hmac.new(key, b"mlflow forms", hashlib.sha256).hexdigest()


def first_user(values: dict[str, str]) -> None:
    """Keep the first user of comma-separated lists of names and passwords. Raises Refusal for lists that differ."""
    names = values["MLFLOW_AUTH_ADMIN_USERNAME"].split(",")
    if len(names) == 1 or "MLFLOW_AUTH_ADMIN_PASSWORD" not in values:
        return
    passwords = values["MLFLOW_AUTH_ADMIN_PASSWORD"].split(",")
    if len(names) != len(passwords):
        raise Refusal(
            f"MLFLOW_TRACKING_USERNAME has {len(names)} names and MLFLOW_TRACKING_PASSWORD {len(passwords)} passwords "
            "(values not shown): give as many passwords as names, none with a comma."
        )
    values["MLFLOW_AUTH_ADMIN_USERNAME"], values["MLFLOW_AUTH_ADMIN_PASSWORD"] = names[0], passwords[0]


def announcements(given: Given, present: Mapping[str, str]) -> Iterator[str]:
    """Say which contract is in force and which settings of this image it lacks."""
    yield f"{given.contract.mark} is set: the variables are read as those of the {given.contract.title}."
    for row in TABLE:
        if not row.warning or row.setting in present or given.contract.name not in row.defaults:
            continue
        if row.defaults[given.contract.name] == DERIVED and given.values["MLFLOW_AUTH"] != "basic":
            continue
        yield f"{row.setting} is not set: {row.warning.format(default=row.defaults[given.contract.name])}"
    if "," in present.get("MLFLOW_TRACKING_USERNAME", "") and given.contract is APP_RUNNER:
        yield "MLFLOW_TRACKING_USERNAME has several users: only the first is made, as administrator; create the others."


def markdown() -> str:
    """The table for the documentation."""
    lines = [
        f"| setting | {' | '.join(contract.title for contract in CONTRACTS[1:])} |",
        "|---|" + "---|" * len(CONTRACTS[1:]),
    ]
    for row in TABLE:
        cells = [cell(row, contract) for contract in CONTRACTS[1:]]
        lines.append(f"| `{row.setting}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(row: Row, contract: Contract) -> str:
    parts = [f"`{name}`" for name in row.names.get(contract.name, ())]
    default = row.defaults.get(contract.name)
    if default is not None:
        text = "derived from the administrator's password" if default == DERIVED else f"`{default}`"
        parts.append(f"else {text}" if parts else text)
    return ", ".join(parts)
