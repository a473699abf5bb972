#!/usr/bin/python
"""Refuse what AWS cannot change or would refuse later, and choose the zones; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_check
short_description: Check settings against the stack that exists and what the account has to offer
description:
  - Compares the settings that AWS cannot change with the resources that exist, and fails with one sentence for each
    difference. It runs before the first change, so a run that is refused has changed nothing.
  - Refuses a stack whose published outputs in SSM name its secrets as older code did, until it has been moved.
  - Asks AWS, side by side, what would otherwise fail half way. Those are the certificate, the version and the class of
    the database, a name that something else has, and the quotas for VPCs, gateways, addresses, rules and Fargate. A
    login that may not ask one of them only goes without that answer.
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
  instance_class:
    description: Class of the database.
    type: str
    default: ""
  certificate_arn:
    description: ARN of the load balancer's certificate.
    type: str
    default: ""
  domain:
    description: Host name that the certificate has to be for.
    type: str
    default: ""
  ingress_rules:
    description: Rules that the load balancer's security group gets.
    type: int
    default: 0
  nat_gateways:
    description: NAT gateways of the stack, each with an address.
    type: int
    default: 0
  cpu_units:
    description: CPU units of all tasks at the most, 1024 for a vCPU.
    type: int
    default: 0
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

import functools  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import BotoCoreError, ClientError, filters, found, reason, tag_dict  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

TIERS = ("public", "private", "database")
EXPOSURE = {"internal": "internal", "internet-facing": "public"}
STORAGE = {"efs": "file system", "rds": "database"}
OTHER_STACK = "or give the new server another mlflow_stack_name"
ENGINE = "postgres"
# What a security group takes where the quota cannot be read.
RULES_DEFAULT = 60
# Where a quota is raised: its service, and its name with its code.
QUOTAS = {
    "vpcs": ("vpc", "L-F678F1CE", "VPCs per Region"),
    "internet_gateways": ("vpc", "L-A4707A72", "Internet gateways per Region"),
    "nat_gateways": ("vpc", "L-FE5A380F", "NAT gateways per Availability Zone"),
    "addresses": ("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs"),
    "rules": ("vpc", "L-0EA8095F", "Inbound or outbound rules per security group"),
    "fargate": ("fargate", "L-3032A538", "Fargate On-Demand vCPU resource count"),
}
QUOTA_REMEDIES = {
    "rules": "list fewer or larger networks in mlflow_allowed_cidrs (HTTPS takes two rules for each), or raise it",
    "fargate": "lower mlflow_capacity_max or the size of a task, or raise it in the Service Quotas console",
}
# What a NAT gateway that counts is.
ALIVE = ("pending", "available")
SERVICES = ("ec2", "elbv2", "rds", "efs", "ssm")
OFFERING = ("ec2", "rds", "acm", "service-quotas")
# A question is not worth a long wait.
PATIENCE = {"connect_timeout": 5, "read_timeout": 15, "retries": {"total_max_attempts": 2}}


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
            return {"cidr": None, "vpcs": [], "subnets": []}
        subnets = ec2.describe_subnets(Filters=filters(**{"vpc-id": [vpc["VpcId"] for vpc in vpcs]}))["Subnets"]
        return {
            "cidr": vpcs[0]["CidrBlock"],
            "vpcs": [vpc["VpcId"] for vpc in vpcs],
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

    def balancer(self) -> dict[str, Any]:
        """{scheme, vpc, stack} of the load balancer of this name, {} without one; `stack` is its tag, or None."""
        elbv2 = self.clients["elbv2"]
        answer = found(elbv2.describe_load_balancers, "LoadBalancerNotFound", Names=[self.stack])
        for each in (answer or {}).get("LoadBalancers", []):
            tags = elbv2.describe_tags(ResourceArns=[each["LoadBalancerArn"]])["TagDescriptions"][0]["Tags"]
            return {"scheme": each.get("Scheme"), "vpc": each["VpcId"], "stack": tag_dict(tags).get("Stack")}
        return {}

    def database(self) -> dict[str, Any]:
        """{version, vpc, stack} of the database of this name, {} without one; `stack` is its tag, or None."""
        name = {"DBInstanceIdentifier": self.stack}
        answer = found(
            self.clients["rds"].describe_db_instances, "DBInstanceNotFound", "DBInstanceNotFoundFault", **name
        )
        for each in (answer or {}).get("DBInstances", []):
            vpc = each.get("DBSubnetGroup", {}).get("VpcId")
            return {
                "version": each["EngineVersion"],
                "vpc": vpc,
                "stack": tag_dict(each.get("TagList")).get("Stack"),
            }
        return {}

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
        """All of it, read side by side: {zones, network, balancer, database, file_system, older}."""
        reads = ("zones", "network", "balancer", "database", "file_system", "older")
        with ThreadPoolExecutor(max_workers=len(reads)) as pool:
            waiting = {name: pool.submit(getattr(self, name)) for name in reads}
            return {name: future.result() for name, future in waiting.items()}


class Offer:
    """What an account has to offer; `clients` maps a service to its boto3 client.

    Each question is asked for itself, and one that AWS does not answer, for whatever reason, is None.
    """

    def __init__(self, clients: dict[str, Any], params: dict[str, Any]) -> None:
        """Keep the clients and the module's parameters; nothing is asked yet."""
        self.clients = clients
        self.params = params

    def certificate(self) -> dict[str, Any]:
        """{status, names} of the certificate; {} when there is no such one."""
        arn = {"CertificateArn": self.params["certificate_arn"]}
        answer = found(self.clients["acm"].describe_certificate, "ResourceNotFoundException", **arn)
        if answer is None:
            return {}
        one = answer["Certificate"]
        return {"status": one["Status"], "names": [one["DomainName"], *one.get("SubjectAlternativeNames", [])]}

    def versions(self) -> list[str]:
        """All versions of PostgreSQL."""
        pages = self.clients["rds"].get_paginator("describe_db_engine_versions").paginate(Engine=ENGINE)
        return [each["EngineVersion"] for page in pages for each in page["DBEngineVersions"]]

    def classes(self) -> list[str]:
        """The versions of PostgreSQL for which there is the class of the database."""
        asked = {"Engine": ENGINE, "DBInstanceClass": self.params["instance_class"]}
        pages = self.clients["rds"].get_paginator("describe_orderable_db_instance_options").paginate(**asked)
        return [each["EngineVersion"] for page in pages for each in page["OrderableDBInstanceOptions"]]

    def vpcs(self) -> int:
        """How many VPCs there are."""
        return len(self._all("describe_vpcs", "Vpcs"))

    def internet_gateways(self) -> int:
        """How many internet gateways there are."""
        return len(self._all("describe_internet_gateways", "InternetGateways"))

    def addresses(self) -> list[dict[str, str]]:
        """The tags of each elastic address."""
        return [tag_dict(each.get("Tags")) for each in self.clients["ec2"].describe_addresses()["Addresses"]]

    def gateways(self) -> list[tuple[str, str]]:
        """(zone, stack) of each NAT gateway that is there or being made; an empty stack for a foreign one."""
        zone_of = {each["SubnetId"]: each["AvailabilityZone"] for each in self._all("describe_subnets", "Subnets")}
        there = [each for each in self._all("describe_nat_gateways", "NatGateways") if each["State"] in ALIVE]
        return [(zone_of.get(each["SubnetId"], ""), tag_dict(each.get("Tags")).get("Stack", "")) for each in there]

    def _all(self, operation: str, key: str) -> list[dict[str, Any]]:
        pages = self.clients["ec2"].get_paginator(operation).paginate()
        return [each for page in pages for each in page[key]]

    def quota(self, name: str) -> float:
        """The value of a quota of QUOTAS."""
        service, code, _ = QUOTAS[name]
        asked = {"ServiceCode": service, "QuotaCode": code}
        return float(self.clients["service-quotas"].get_service_quota(**asked)["Quota"]["Value"])

    def questions(self, there: dict[str, Any]) -> dict[str, Callable[[], Any]]:
        """What is worth asking, by name, for a stack of which `there` exists."""
        asked: dict[str, Callable[[], Any]] = {}
        quotas = []
        if self.params["certificate_arn"]:
            asked["certificate"] = self.certificate
        if self.params["storage"] == "rds" and self.params["instance_class"]:
            asked |= {"classes": self.classes} | ({} if there["database"] else {"versions": self.versions})
        if not there["network"]["vpcs"]:
            asked |= {"vpcs": self.vpcs, "internet_gateways": self.internet_gateways}
            quotas += ["vpcs", "internet_gateways"]
        if self.params["nat_gateways"]:
            asked |= {"gateways": self.gateways, "addresses": self.addresses}
            quotas += ["nat_gateways", "addresses"]
        # The default is known, so it is asked only where that is not enough.
        quotas += ["rules"] if self.params["ingress_rules"] > RULES_DEFAULT else []
        quotas += ["fargate"] if self.params["cpu_units"] else []
        return asked | {f"quota of {name}": functools.partial(self.quota, name) for name in quotas}

    def ask(self, there: dict[str, Any]) -> dict[str, Any]:
        """The answers to all questions, asked side by side; None for each that could not be had."""
        asked = self.questions(there)
        if not asked:
            return {}
        with ThreadPoolExecutor(max_workers=len(asked)) as pool:
            waiting = {name: pool.submit(answered, question) for name, question in asked.items()}
            return {name: future.result() for name, future in waiting.items()}


def answered(question: Callable[[], Any]) -> Any:
    """The answer, or None where it could not be had: not allowed, not known to an emulator, not understood."""
    try:
        return question()
    except Exception:
        return None


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
    if there["database"] if other == "rds" else there["file_system"]:
        return [
            f"mlflow_storage is {params['storage']}: {params['name']} keeps its data in a {STORAGE[other]}; "
            f"set it back to {other}, {OTHER_STACK}."
        ]
    actual, wanted = there["database"].get("version"), params["engine_version"]
    if params["storage"] == "rds" and actual and wanted and actual.split(".")[0] != wanted.split(".")[0]:
        return [
            f"mlflow_database_engine_version is {wanted}: the database has {actual}, and a run changes no major "
            "version; set it back, or upgrade the database in RDS first."
        ]
    return []


def scheme_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """The sentence on a load balancer of another scheme."""
    actual = there["balancer"].get("scheme")
    if actual in (None, params["scheme"]):
        return []
    return [
        f"mlflow_exposure is {EXPOSURE[params['scheme']]}: the load balancer is {actual}, which AWS cannot "
        f"change; set it back to {EXPOSURE[actual]}, or delete the load balancer in AWS and run again, after "
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


def name_refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Sentences on a name that something else has: it is in another VPC, and has no tag of this stack."""
    return [
        f"mlflow_stack_name is {params['name']}: a {what} of that name is there already and not of this stack; choose "
        f"another name, or remove that {what}."
        for kind, what in (("balancer", "load balancer"), ("database", "database"))
        if there[kind] and there[kind]["vpc"] not in there["network"]["vpcs"] and there[kind]["stack"] != params["name"]
    ]


def refusals(params: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Every sentence on what AWS cannot change."""
    taken = name_refusals(params, there)
    if taken:
        return [*zone_refusals(params, there), *taken]
    checks = (zone_refusals, range_refusals, storage_refusals, scheme_refusals)
    return [sentence for check in checks for sentence in check(params, there)]


def covers(name: str, domain: str) -> bool:
    """Whether a certificate for `name`, which may begin with *., is good for a host name."""
    parent = domain.partition(".")[2]
    return domain in (name.lower(), "") or name.lower() == f"*.{parent}"


def certificate_lacks(params: dict[str, Any], answers: dict[str, Any]) -> list[str]:
    """The sentence on a certificate that the load balancer could not use."""
    found_one, said = answers.get("certificate"), f"mlflow_certificate_arn is {params['certificate_arn']}"
    if found_one is None:
        return []
    if not found_one:
        return [f"{said}: ACM has no such certificate here; give the ARN of one in this account and region."]
    if found_one["status"] != "ISSUED":
        state = found_one["status"].lower().replace("_", " ")
        return [f"{said}: it is {state}, and only an issued one can be used; wait until ACM has issued it."]
    if not any(covers(name, params["domain"]) for name in found_one["names"]):
        listed = ", ".join(dict.fromkeys(found_one["names"]))
        return [f"{said}: it is for {listed}, and mlflow_domain is {params['domain']}; use one that has this name."]
    return []


def database_lacks(params: dict[str, Any], there: dict[str, Any], answers: dict[str, Any]) -> list[str]:
    """The sentence on a version or a class that AWS does not offer."""
    versions, classes = answers.get("versions"), answers.get("classes")
    wanted = params["engine_version"] or ""
    if versions and wanted and not any(is_version(each, wanted) for each in versions):
        major = [each for each in versions if is_version(each, wanted.split(".")[0])]
        listed = ", ".join(major or sorted({each.split(".")[0] for each in versions}, key=int))
        return [f"mlflow_database_engine_version is {wanted}: RDS does not offer it here; use one of {listed}."]
    if classes is None:
        return []
    said = f"mlflow_database_instance_class is {params['instance_class']}"
    # A database that is there is changed to the class as it is.
    needed = there["database"].get("version", wanted).split(".")[0] if there["database"] else wanted
    if not classes:
        return [
            f"{said}: RDS does not offer it for PostgreSQL in {params['region']}; name another, such as db.t4g.small."
        ]
    if needed and not any(is_version(each, needed) for each in classes):
        return [f"{said}: RDS does not offer it for PostgreSQL {needed}; name another, or another version."]
    return []


def is_version(version: str, wanted: str) -> bool:
    """Whether a version is `wanted`, which may be a major one."""
    return version == wanted or version.startswith(f"{wanted}.")


def quota_lacks(params: dict[str, Any], there: dict[str, Any], answers: dict[str, Any]) -> list[str]:
    """Sentences on quotas that the stack would go beyond."""
    stack, needed = params["name"], params["nat_gateways"]
    sums: dict[str, float | None] = {
        "vpcs": plus(answers.get("vpcs"), 1),
        "internet_gateways": plus(answers.get("internet_gateways"), 1),
        "fargate": params["cpu_units"] / 1024,
        "rules": params["ingress_rules"],
    }
    if answers.get("addresses") is not None:
        foreign = [tags for tags in answers["addresses"] if tags.get("Stack") != stack]
        sums["addresses"] = len(foreign) + needed
    if answers.get("gateways") is not None:
        zones = chosen_zones(params, there)[:needed]
        foreign_zones = [zone for zone, owner in answers["gateways"] if owner != stack]
        sums["nat_gateways"] = max((foreign_zones.count(zone) + 1 for zone in zones), default=0)
    found_quotas = {name: answers.get(f"quota of {name}") for name in QUOTAS}
    found_quotas["rules"] = found_quotas["rules"] or RULES_DEFAULT
    return [
        f"the quota {QUOTAS[name][2]} ({QUOTAS[name][1]}) is {found_quotas[name]:g}: with this stack it has to be "
        f"{total:g}; {QUOTA_REMEDIES.get(name, 'raise it in the Service Quotas console, or remove what uses it up')}."
        for name, total in sums.items()
        if total is not None and found_quotas[name] is not None and total > found_quotas[name]
    ]


def plus(number: int | None, more: int) -> int | None:
    """The sum, or None of what is not known."""
    return None if number is None else number + more


def lacks(params: dict[str, Any], there: dict[str, Any], answers: dict[str, Any]) -> list[str]:
    """Every sentence on what AWS would refuse half way."""
    return [
        *certificate_lacks(params, answers),
        *database_lacks(params, there, answers),
        *quota_lacks(params, there, answers),
    ]


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
            "instance_class": {"type": "str", "default": ""},
            "certificate_arn": {"type": "str", "default": ""},
            "domain": {"type": "str", "default": ""},
            "ingress_rules": {"type": "int", "default": 0},
            "nat_gateways": {"type": "int", "default": 0},
            "cpu_units": {"type": "int", "default": 0},
            "refuse": {"type": "bool", "default": True},
            "moved": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    account = Account(module.params["name"], {name: module.client(name) for name in SERVICES})
    try:
        there = account.read()
    except (ClientError, BotoCoreError) as error:
        module.fail_json(msg=f"Could not read what exists of {account.stack}: {reason(error)}.")
    sentences = [] if module.params["moved"] else older_refusals(there)
    if module.params["refuse"]:
        sentences += refusals(module.params, there)
    if module.params["refuse"] and not sentences:
        clients = {name: module.client(name, config=PATIENCE) for name in OFFERING}
        wanting = lacks(module.params, there, Offer(clients, module.params).ask(there))
        if wanting:
            module.fail_json(
                msg="\n".join([f"AWS would refuse {account.stack} half way; nothing was changed:", *wanting])
            )
    if sentences:
        module.fail_json(
            msg="\n".join([f"{account.stack} cannot be changed like that; nothing was changed:", *sentences])
        )
    module.exit_json(changed=False, availability_zones=chosen_zones(module.params, there))


if __name__ == "__main__":
    main()
