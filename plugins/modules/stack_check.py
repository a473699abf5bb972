#!/usr/bin/python
"""Refuse what AWS cannot change on a stack that exists, and choose its zones; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_check
short_description: Check settings against the stack that exists and the account's zones
description:
  - Compares the settings that AWS cannot change with the resources that exist, and fails with one sentence for each
    difference. It runs before the first change, so a run that is refused has changed nothing.
  - Refuses a stack whose published outputs in SSM name its secrets as older code did, until it has been moved.
  - Chooses the two availability zones. A stack that exists keeps its zones; a new one gets those that are named, or the
    first two of the account.
options:
  name:
    description: Name of the stack.
    type: str
    required: true
  storage:
    description: Where the server keeps its data.
    type: str
    choices: [efs, rds]
    required: true
  scheme:
    description: Scheme of the load balancer.
    type: str
    choices: [internal, internet-facing]
    required: true
  vpc_cidr:
    description: IPv4 range of the VPC.
    type: str
    required: true
  subnets:
    description: The two IPv4 ranges of each tier, by tier, in the order of their zones.
    type: dict
    required: true
  availability_zones:
    description: The two zones that the operator names, or none.
    type: list
    elements: str
    default: []
  engine_version:
    description: Version of PostgreSQL, of which only the major one is compared.
    type: str
    default: ""
  refuse:
    description: Whether a difference fails the module. Without it, only a stack that has to be moved does.
    type: bool
    default: true
  moved:
    description: Whether this run moves a stack of older code, so that it is not refused for that.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Refuse what AWS cannot change
  stack_check:
    name: team-a
    storage: rds
    scheme: internal
    vpc_cidr: 10.42.0.0/16
    subnets:
      public: [10.42.0.0/20, 10.42.16.0/20]
      private: [10.42.32.0/20, 10.42.48.0/20]
      database: [10.42.64.0/20, 10.42.80.0/20]
  register: __preflight_check
"""

RETURN = r"""
availability_zones:
  description: The two zones, in the order of the subnets.
  returned: always
  type: list
  elements: str
  sample: [eu-west-1a, eu-west-1b]
"""

from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import BotoCoreError, ClientError, filters, found, reason, tag_dict  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

TIERS = ("public", "private", "database")
EXPOSURE = {"internal": "internal", "internet-facing": "public"}
STORAGE = {"efs": "file system", "rds": "database"}
OTHER_STACK = "or give the new server another mlflow_stack_name"


class Account:
    """What the account has of one stack; `clients` maps a service to its boto3 client."""

    def __init__(self, stack: str, clients: dict[str, Any]) -> None:
        """Keep the name and the clients; nothing is read yet."""
        self.stack = stack
        self.clients = clients

    def zones(self) -> list[str]:
        """Names of the zones that this account can use, in order."""
        wanted = filters(state="available", **{"zone-type": "availability-zone"})
        answer = self.clients["ec2"].describe_availability_zones(Filters=wanted)
        return sorted(zone["ZoneName"] for zone in answer["AvailabilityZones"])

    def network(self) -> dict[str, Any]:
        """Return {cidr, subnets}: the VPC's first range, and of each subnet of ours its {tier, cidr, zone}."""
        ec2 = self.clients["ec2"]
        named = filters(**{"tag:Name": self.stack, "tag:Stack": self.stack})
        vpcs = ec2.describe_vpcs(Filters=named)["Vpcs"]
        if not vpcs:
            return {"cidr": None, "subnets": []}
        subnets = ec2.describe_subnets(Filters=filters(**{"vpc-id": [vpc["VpcId"] for vpc in vpcs]}))["Subnets"]
        return {
            "cidr": vpcs[0]["CidrBlock"],
            "subnets": [
                {
                    "tier": tag_dict(each.get("Tags")).get("Tier"),
                    "cidr": each["CidrBlock"],
                    "zone": each["AvailabilityZone"],
                }
                for each in subnets
                if tag_dict(each.get("Tags")).get("Stack") == self.stack
            ],
        }

    def scheme(self) -> str | None:
        """Scheme of the load balancer, or None without one."""
        answer = found(self.clients["elbv2"].describe_load_balancers, "LoadBalancerNotFound", Names=[self.stack])
        return next((str(each["Scheme"]) for each in (answer or {}).get("LoadBalancers", [])), None)

    def engine(self) -> str | None:
        """Version of the database, or None without one."""
        name = {"DBInstanceIdentifier": self.stack}
        answer = found(
            self.clients["rds"].describe_db_instances, "DBInstanceNotFound", "DBInstanceNotFoundFault", **name
        )
        return next((str(each["EngineVersion"]) for each in (answer or {}).get("DBInstances", [])), None)

    def file_system(self) -> bool:
        """Whether there is a file system that is not being deleted."""
        systems = self.clients["efs"].describe_file_systems(CreationToken=self.stack)["FileSystems"]
        return any(each["LifeCycleState"] not in ("deleting", "deleted") for each in systems)

    def older(self) -> list[str]:
        """Names of the secrets that the last run has published with a name of older code."""
        names = [f"/mlflow/{self.stack}/{use}_secret_arn" for use in ("admin", "database")]
        published = self.clients["ssm"].get_parameters(Names=names)["Parameters"]
        secrets = sorted(each["Value"].rpartition(":secret:")[2] for each in published)
        return [secret for secret in secrets if secret.startswith(f"{self.stack}/")]

    def read(self) -> dict[str, Any]:
        """All of it, read side by side: {zones, network, scheme, engine, file_system, older}."""
        reads = ("zones", "network", "scheme", "engine", "file_system", "older")
        with ThreadPoolExecutor(max_workers=len(reads)) as pool:
            waiting = {name: pool.submit(getattr(self, name)) for name in reads}
            return {name: future.result() for name, future in waiting.items()}


def ranges(subnets: dict[str, list[str]]) -> list[tuple[str, str, int]]:
    """(tier, range, number of the zone) of each subnet that is asked for."""
    return [(tier, cidr, number) for tier in TIERS for number, cidr in enumerate(subnets[tier])]


def zones_in_use(params: dict[str, Any], there: dict[str, Any]) -> list[str | None]:
    """The zone of the first and of the second subnet of any tier; None where no such subnet exists."""
    zone_of = {subnet["cidr"]: subnet["zone"] for subnet in there["network"]["subnets"]}
    zones: list[str | None] = [None, None]
    for _, cidr, number in ranges(params["subnets"]):
        zones[number] = zones[number] or zone_of.get(cidr)
    return zones


def chosen_zones(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """The two zones of the stack; fewer when the account has fewer."""
    used = zones_in_use(params, there)
    candidates = params["availability_zones"] or there["zones"]
    free = [zone for zone in candidates if zone not in used]
    return [zone for zone in (each or (free.pop(0) if free else None) for each in used) if zone]


def zone_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Sentences on zones that the account has not, or that are not those of the subnets."""
    wanted, region_has = params["availability_zones"], there["zones"]
    if not wanted and len(region_has) < 2 and None in zones_in_use(params, there):
        return [
            f"mlflow_region is {params['region'] or 'not set'}: this account has {len(region_has)} availability zones "
            "there, and a stack needs two; use another region."
        ]
    unknown = [zone for zone in wanted if zone not in region_has]
    sentences = [
        f"mlflow_availability_zones is {', '.join(wanted)}: this account has no {zone}; use two of "
        f"{', '.join(region_has)}."
        for zone in unknown
    ]
    used = zones_in_use(params, there)
    if wanted and any(each and each != named for each, named in zip(used, wanted, strict=True)):
        actual = ", ".join(each or "none" for each in used)
        sentences.append(
            f"mlflow_availability_zones is {', '.join(wanted)}: the subnets are in {actual}, and AWS cannot move them; "
            f"set it back, {OTHER_STACK}."
        )
    return sentences


def range_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Sentences on the ranges of the VPC and of its subnets."""
    network = there["network"]
    if network["cidr"] and network["cidr"] != params["vpc_cidr"]:
        return [
            f"mlflow_vpc_cidr is {params['vpc_cidr']}: the VPC has {network['cidr']}, which AWS cannot change; "
            f"set it back, {OTHER_STACK}."
        ]
    sentences = []
    for tier in TIERS:
        wanted = params["subnets"][tier]
        actual = sorted(each["cidr"] for each in network["subnets"] if each["tier"] == tier)
        if not set(actual) <= set(wanted):
            sentences.append(
                f"mlflow_{tier}_subnet_cidrs is {', '.join(wanted)}: the subnets have {', '.join(actual)}, which AWS "
                f"cannot change; set it back, {OTHER_STACK}."
            )
    return sentences


def storage_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Sentences on data that would be left behind, and on the major version of the database."""
    other = "rds" if params["storage"] == "efs" else "efs"
    if there["engine"] if other == "rds" else there["file_system"]:
        return [
            f"mlflow_storage is {params['storage']}: {params['name']} keeps its data in a {STORAGE[other]}; "
            f"set it back to {other}, {OTHER_STACK}."
        ]
    actual, wanted = there["engine"], params["engine_version"]
    if params["storage"] == "rds" and actual and wanted and actual.split(".")[0] != wanted.split(".")[0]:
        return [
            f"mlflow_database_engine_version is {wanted}: the database has {actual}, and a run changes no major "
            "version; set it back, or upgrade the database in RDS first."
        ]
    return []


def scheme_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """The sentence on a load balancer of another scheme."""
    if there["scheme"] in (None, params["scheme"]):
        return []
    return [
        f"mlflow_exposure is {EXPOSURE[params['scheme']]}: the load balancer is {there['scheme']}, which AWS cannot "
        f"change; set it back to {EXPOSURE[there['scheme']]}, or delete the load balancer in AWS and run again, after "
        "which the server has another address."
    ]


def older_refusals(there: dict[str, Any]) -> list[str]:
    """The sentence on a stack that older code has made."""
    if not there["older"]:
        return []
    return [
        f"its secrets have names of older code ({', '.join(there['older'])}); run playbooks/move.yml once, which keeps "
        "their values and the artifacts (docs/upgrading.md)."
    ]


def refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Every sentence on what AWS cannot change."""
    checks = (zone_refusals, range_refusals, storage_refusals, scheme_refusals)
    return [sentence for check in checks for sentence in check(params, there)]


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "storage": {"type": "str", "choices": ["efs", "rds"], "required": True},
            "scheme": {"type": "str", "choices": ["internal", "internet-facing"], "required": True},
            "vpc_cidr": {"type": "str", "required": True},
            "subnets": {"type": "dict", "required": True},
            "availability_zones": {"type": "list", "elements": "str", "default": []},
            "engine_version": {"type": "str", "default": ""},
            "refuse": {"type": "bool", "default": True},
            "moved": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    account = Account(
        module.params["name"], {name: module.client(name) for name in ("ec2", "elbv2", "rds", "efs", "ssm")}
    )
    try:
        there = account.read()
    except (ClientError, BotoCoreError) as error:
        module.fail_json(msg=f"Could not read what exists of {account.stack}: {reason(error)}.")
    sentences = [] if module.params["moved"] else older_refusals(there)
    if module.params["refuse"]:
        sentences += refusals(module.params, there)
    if sentences:
        module.fail_json(
            msg="\n".join([f"{account.stack} cannot be changed like that; nothing was changed:", *sentences])
        )
    module.exit_json(changed=False, availability_zones=chosen_zones(module.params, there))


if __name__ == "__main__":
    main()
