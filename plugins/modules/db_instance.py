#!/usr/bin/python
"""Manage one PostgreSQL instance of RDS; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: db_instance
short_description: Manage one PostgreSQL instance of RDS
description:
  - Everything that RDS describes of an instance and that can be set is compared and repaired in one call, and at once.
    C(amazon.aws.rds_instance) leaves log exports, Performance Insights, storage autoscaling and more as somebody has
    set them.
  - Storage never shrinks and a minor version never goes back. What stands beyond the wanted value is kept.
  - Encryption, user, database name and major version cannot be changed by RDS or not without a decision; a difference
    there is refused before anything is changed.
  - A new instance is not waited for. One that is still being made is left to a later call.
options:
  name:
    description: Identifier of the instance.
    type: str
    required: true
  engine_version:
    description: PostgreSQL version. A major version alone lets RDS choose the minor. Required with O(state=present).
    type: str
  instance_class:
    description: Instance class. Required with O(state=present).
    type: str
  storage_gb:
    description: Storage in GiB, at least. Required with O(state=present).
    type: int
  storage_max_gb:
    description: Size in GiB up to which RDS makes the storage grow by itself; V(0) for never.
    type: int
    default: 0
  iops:
    description: I/O operations a second of the gp3 storage; V(0) for what its size includes. RDS takes another number
      from 400 GiB on.
    type: int
    default: 0
  database:
    description: Name of the first database. Required with O(state=present).
    type: str
  username:
    description: The master user. Required with O(state=present).
    type: str
  password_secret:
    description: Name of the secret whose JSON has the C(password). It is read only when RDS has to be given the
      password. Required with O(state=present).
    type: str
    no_log: false
  port:
    description: TCP port.
    type: int
    default: 5432
  multi_az:
    description: Whether a standby is kept in another zone.
    type: bool
    default: false
  subnet_group:
    description: Subnet group. Required with O(state=present).
    type: str
  security_group_ids:
    description: The exact security groups. Required with O(state=present).
    type: list
    elements: str
  parameter_group:
    description: Parameter group. Required with O(state=present).
    type: str
  backup_days:
    description: Days automatic backups are kept; V(0) for none.
    type: int
    default: 7
  backup_window:
    description: Daily time of the backup, C(hh:mm-hh:mm) in UTC. When empty, RDS draws one and keeps it.
    type: str
    default: ""
  maintenance_window:
    description: Weekly time of maintenance, C(ddd:hh:mm-ddd:hh:mm) in UTC. When empty, RDS draws one and keeps it.
    type: str
    default: ""
  minor_upgrades:
    description: Whether RDS installs new minor versions by itself.
    type: bool
    default: true
  insights:
    description: Whether Performance Insights keeps a week of load.
    type: bool
    default: true
  log_exports:
    description: The exact logs that go to CloudWatch.
    type: list
    elements: str
    choices: [postgresql, upgrade, iam-db-auth-error]
    default: []
  ca:
    description: Certificate authority of the server's certificate.
    type: str
    default: rds-ca-rsa2048-g1
  deletion_protection:
    description: Whether RDS refuses to delete the instance.
    type: bool
    default: true
  final_snapshot:
    description: With O(state=absent) the name of the snapshot that is taken first; none when empty.
    type: str
    default: ""
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  state:
    description: V(absent) starts to delete the instance and does not wait.
    type: str
    choices: [present, absent]
    default: present
  wait_timeout:
    description: Seconds that an instance in which RDS is changing something is waited for before it is changed.
    type: int
    default: 1800
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Start the database
  db_instance:
    name: team-a
    engine_version: "16"
    instance_class: db.t4g.small
    storage_gb: 20
    database: mlflow
    username: mlflow
    password_secret: mlflow/team-a/database
    subnet_group: team-a
    security_group_ids: ["{{ __rds_group.group_id }}"]
    parameter_group: team-a-postgres16
    tags: "{{ rds_tags }}"

- name: Delete it, with a last snapshot
  db_instance:
    name: team-a
    final_snapshot: team-a-final-20250101000000
    state: absent
"""

RETURN = r"""
status:
  description: What RDS says the instance is doing; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: creating
settled:
  description: Whether the instance was compared. One that is still being made or deleted is not.
  returned: always
  type: bool
"""

import json  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    ClientError,
    create,
    diff,
    doing,
    error_code,
    found,
    tag_dict,
    tag_list,
)
from ansible.module_utils.mlflow_rds import retag, with_service_role  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Properties = dict[str, Any]
POLL_SECONDS = 10.0
MISSING = ("DBInstanceNotFound", "DBInstanceNotFoundFault")
BUSY = "InvalidDBInstanceState"
MAKING = ("creating", "deleting")
STOPPED = ("stopped", "stopping")
# gp3: (from GiB, I/O operations a second, MiB/s) that a size includes for PostgreSQL (RDS User Guide, "gp3 storage").
GP3 = ((400, 12000, 500), (0, 3000, 125))
INSIGHTS_DAYS = 7
# RDS wants the size that storage may grow to a tenth above the size that it has.
GROWTH_LEAST = 1.1
# Property: key of DescribeDBInstances, and of CreateDBInstance and ModifyDBInstance where these have another.
FIELDS = {
    "engine_version": "EngineVersion",
    "instance_class": "DBInstanceClass",
    "storage_gb": "AllocatedStorage",
    "storage_max_gb": "MaxAllocatedStorage",
    "storage_type": "StorageType",
    "iops": "Iops",
    "throughput": "StorageThroughput",
    "multi_az": "MultiAZ",
    "public": "PubliclyAccessible",
    "backup_days": "BackupRetentionPeriod",
    "backup_window": "PreferredBackupWindow",
    "maintenance_window": "PreferredMaintenanceWindow",
    "minor_upgrades": "AutoMinorVersionUpgrade",
    "copy_tags_to_snapshot": "CopyTagsToSnapshot",
    "deletion_protection": "DeletionProtection",
    "ca": "CACertificateIdentifier",
    "network_type": "NetworkType",
    "monitoring_seconds": "MonitoringInterval",
    "insights_days": "PerformanceInsightsRetentionPeriod",
    "insights_mode": "DatabaseInsightsMode",
    "log_volume": "DedicatedLogVolume",
}
# What an instance has when RDS does not say.
UNSAID: Properties = {
    "storage_max_gb": 0,
    "public": False,
    "copy_tags_to_snapshot": False,
    "deletion_protection": False,
    "network_type": "IPV4",
    "monitoring_seconds": 0,
    "insights_days": 0,
    "insights_mode": "standard",
    "log_volume": False,
}
# Property: why a difference is refused.
FIXED = {
    "encrypted": "RDS encrypts an instance only when it makes it; restore a snapshot that is encrypted",
    "database": "RDS names the database only when it makes the instance; set the name back",
    "username": "RDS names the user only when it makes the instance; set the name back",
    "major": "a new major version cannot be undone; upgrade the instance in RDS by hand first, or set "
    "mlflow_database_engine_version back",
}


def numbers(version: str) -> list[int]:
    """Return "16.4" as [16, 4]."""
    return [int(part) for part in version.split(".")]


def kept_version(wanted: str, standing: str) -> str:
    """Return `standing` where it is of the same major version and as new as `wanted`, else `wanted`."""
    return standing if major(standing) == major(wanted) and numbers(standing) >= numbers(wanted) else wanted


def major(version: str) -> int:
    """Return the major version of PostgreSQL."""
    return numbers(version)[0]


def included(storage_gb: int) -> tuple[int, int]:
    """Return (I/O operations a second, MiB/s) that gp3 storage of this size includes."""
    return next((iops, throughput) for least, iops, throughput in GP3 if storage_gb >= least)


def properties(instance: Properties | None) -> Properties:
    """Return what can be set of `instance`, in the form of `wanted`. What RDS is about to change counts as changed."""
    if instance is None:
        return {}
    pending = instance.get("PendingModifiedValues") or {}
    values = {**instance, **pending}
    logs = set(instance.get("EnabledCloudwatchLogsExports", []))
    pending_logs = pending.get("PendingCloudwatchLogsExports") or {}
    logs = (logs | set(pending_logs.get("LogTypesToEnable", []))) - set(pending_logs.get("LogTypesToDisable", []))
    state = {name: values.get(key, UNSAID.get(name)) for name, key in FIELDS.items()}
    state.update(
        storage_max_gb=state["storage_max_gb"] or 0,
        iops=state["iops"] or None,
        throughput=state["throughput"] or None,
        insights=bool(values.get("PerformanceInsightsEnabled")),
        insights_days=state["insights_days"] if values.get("PerformanceInsightsEnabled") else 0,
        port=values.get("Port") or (instance.get("Endpoint") or {}).get("Port") or instance.get("DbInstancePort"),
        iam_login=bool(values.get("IAMDatabaseAuthenticationEnabled")),
        managed_password=bool(instance.get("MasterUserSecret")),
        log_exports=sorted(logs),
        subnet_group=(instance.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"),
        security_group_ids=sorted(
            group["VpcSecurityGroupId"]
            for group in instance.get("VpcSecurityGroups", [])
            if group.get("Status") != "removing"
        ),
        parameter_group=next(
            iter(group["DBParameterGroupName"] for group in instance.get("DBParameterGroups", [])), None
        ),
        roles={role["FeatureName"]: role["RoleArn"] for role in instance.get("AssociatedRoles", [])},
        running=instance["DBInstanceStatus"] not in STOPPED,
        encrypted=bool(instance.get("StorageEncrypted")),
        database=instance.get("DBName"),
        username=instance.get("MasterUsername"),
        tags=tag_dict(instance.get("TagList")),
    )
    return state


def wanted(params: Properties, before: Properties) -> Properties:
    """Return the properties that `params` ask for; `before` is what stands, {} for a new instance.

    What only grows is kept where it is beyond the wanted value, and what RDS draws or does not describe is as it is.
    """
    storage = max(params["storage_gb"], before.get("storage_gb") or 0)
    iops, throughput = included(storage)
    most = params["storage_max_gb"]
    after: Properties = {
        "engine_version": kept_version(params["engine_version"], before.get("engine_version") or "0"),
        "storage_gb": storage,
        "storage_max_gb": most if most >= storage * GROWTH_LEAST else 0,
        "storage_type": "gp3",
        "iops": params["iops"] or iops,
        "throughput": throughput,
        "public": False,
        "copy_tags_to_snapshot": True,
        "network_type": "IPV4",
        "monitoring_seconds": 0,
        "insights_days": INSIGHTS_DAYS if params["insights"] else 0,
        "insights_mode": "standard",
        "log_volume": False,
        "roles": {},
        "iam_login": False,
        "managed_password": False,
        "log_exports": sorted(set(params["log_exports"])),
        "security_group_ids": sorted(set(params["security_group_ids"])),
        "running": True,
        "encrypted": True,
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
    }
    for name in (
        "instance_class",
        "multi_az",
        "backup_days",
        "minor_upgrades",
        "deletion_protection",
        "ca",
        "insights",
        "port",
        "subnet_group",
        "parameter_group",
        "database",
        "username",
    ):
        after[name] = params[name]
    for name in ("backup_window", "maintenance_window"):
        after[name] = params[name].lower() or before.get(name)
    if before.get("storage_type") == "gp3" and (iops, throughput) == GP3[-1][1:]:
        # Not every service that speaks RDS says these.
        for name in ("iops", "throughput"):
            after[name] = before[name] if before[name] is None else after[name]
    return after


def refusal(name: str, before: Properties, after: Properties) -> str | None:
    """Return the sentence on the first difference that RDS cannot or shall not change, or None."""
    have, want = ({**each, "major": major(each["engine_version"])} for each in (before, after))
    for key, why in FIXED.items():
        if have[key] is not None and have[key] != want[key]:
            word = {"major": "PostgreSQL", "encrypted": "encryption"}.get(key, key)
            return f"The database {name} has {word} {json.dumps(have[key])} instead of {json.dumps(want[key])}: {why}."
    return None


def modification(before: Properties, after: Properties) -> Properties:
    """Return the arguments of ModifyDBInstance that bring `before` to `after`."""
    different = {name for name in after if before.get(name) != after[name]}
    request = {key: after[name] for name, key in FIELDS.items() if name in different and after[name] is not None}
    if "storage_max_gb" in different:
        # The size itself turns autoscaling off.
        request["MaxAllocatedStorage"] = after["storage_max_gb"] or after["storage_gb"]
    for name in ("iops", "throughput", "insights_days", "insights_mode"):
        request.pop(FIELDS[name], None)
    if different & {"iops", "throughput", "storage_type"}:
        request.update(speed_request(after))
    request.update(insights_request(after) if different & {"insights", "insights_days", "insights_mode"} else {})
    renamed = {"port": "DBPortNumber", "iam_login": "EnableIAMDatabaseAuthentication"}
    renamed |= {"subnet_group": "DBSubnetGroupName", "parameter_group": "DBParameterGroupName"}
    renamed |= {"security_group_ids": "VpcSecurityGroupIds", "managed_password": "ManageMasterUserPassword"}
    request.update({key: after[name] for name, key in renamed.items() if name in different})
    if "log_exports" in different:
        have, want = set(before["log_exports"]), set(after["log_exports"])
        sides = {"EnableLogTypes": sorted(want - have), "DisableLogTypes": sorted(have - want)}
        request["CloudwatchLogsExportConfiguration"] = {key: value for key, value in sides.items() if value}
    return request


def speed_request(after: Properties) -> Properties:
    """Return the speed of the storage; RDS takes none for one that is small, and both for one that is large."""
    if included(after["storage_gb"]) == GP3[-1][1:]:
        return {}
    return {FIELDS[name]: after[name] for name in ("iops", "throughput") if after[name]}


def insights_request(after: Properties) -> Properties:
    """Return what turns Performance Insights to what `after` says."""
    request: Properties = {"EnablePerformanceInsights": after["insights"], "DatabaseInsightsMode": "standard"}
    return {**request, "PerformanceInsightsRetentionPeriod": INSIGHTS_DAYS} if after["insights"] else request


class Instance:
    """One instance. After `read`, `standing` is RDS's description of it, or None."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: Properties = module.params
        self.name: str = module.params["name"]
        self.rds = module.client("rds")
        self.standing: Properties | None = None

    def read(self) -> Properties | None:
        """Find the instance."""
        answer = found(self.rds.describe_db_instances, *MISSING, DBInstanceIdentifier=self.name) or {}
        self.standing = next(iter(answer.get("DBInstances", [])), None)
        return self.standing

    @property
    def status(self) -> str | None:
        """What RDS says the instance is doing."""
        return str(self.standing["DBInstanceStatus"]) if self.standing else None

    def create(self, after: Properties) -> None:
        """Start to create the instance, or take the one that an earlier attempt has started."""
        unsaid = {**UNSAID, "iops": after["iops"], "throughput": after["throughput"], "public": None}
        given = {name: after[name] for name in FIELDS if after[name] is not None and after[name] != unsaid.get(name)}
        request: Properties = {FIELDS[name]: value for name, value in given.items()}
        request.update(
            DBInstanceIdentifier=self.name,
            Engine="postgres",
            DBName=after["database"],
            MasterUsername=after["username"],
            MasterUserPassword=self._password(),
            StorageEncrypted=True,
            Port=after["port"],
            DBSubnetGroupName=after["subnet_group"],
            DBParameterGroupName=after["parameter_group"],
            VpcSecurityGroupIds=after["security_group_ids"],
            EnableCloudwatchLogsExports=after["log_exports"],
            EnableIAMDatabaseAuthentication=False,
            Tags=tag_list(after["tags"]),
            **speed_request(after),
            **(insights_request(after) if after["insights"] else {}),
        )
        with_service_role(
            self.module,
            lambda: create(
                self.module,
                "rds",
                "create_db_instance",
                self.read,
                already=["DBInstanceAlreadyExists"],
                **request,
            ),
        )
        self.read()

    def apply(self, before: Properties, after: Properties) -> None:
        """Bring every property that differs from `before` to `after`, at once."""
        if not before["running"]:
            self._until(lambda: self.status != "stopping", "has stopped")
            if self.status == "stopped":
                self.rds.start_db_instance(DBInstanceIdentifier=self.name)
            self._until(lambda: self.status not in (*STOPPED, "starting"), "has started")
        request = modification(before, after)
        if "ManageMasterUserPassword" in request:
            request["MasterUserPassword"] = self._password()
        if request:
            self._patiently(self.rds.modify_db_instance, ApplyImmediately=True, **request)
        for feature, role in before["roles"].items():
            self._patiently(self.rds.remove_role_from_db_instance, FeatureName=feature, RoleArn=role)
        assert self.standing is not None
        retag(self.rds, self.standing["DBInstanceArn"], before["tags"], after["tags"])

    def delete(self) -> None:
        """Start to delete the instance."""
        snapshot = self.params["final_snapshot"]
        last = {"FinalDBSnapshotIdentifier": snapshot} if snapshot else {}
        try:
            self._patiently(self.rds.delete_db_instance, SkipFinalSnapshot=not snapshot, **last)
        except ClientError as error:
            if error_code(error) not in MISSING:
                raise
        self.read()

    def _patiently(self, call: Any, **request: Any) -> None:
        """Make `call`, repeated while RDS is changing something else in the instance."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        began = time.monotonic()
        while True:
            try:
                call(DBInstanceIdentifier=self.name, **request)
            except ClientError as error:
                self.read()
                if error_code(error) not in (BUSY, f"{BUSY}Fault") or time.monotonic() > deadline:
                    raise
                if self.status == "deleting":
                    return
                time.sleep(POLL_SECONDS)
                continue
            waited = round(time.monotonic() - began)
            if waited >= POLL_SECONDS > 0:
                self.module.warn(f"RDS was changing the database {self.name} already; waited {waited} s for it.")
            return

    def _until(self, done: Any, what: str) -> None:
        deadline = time.monotonic() + self.params["wait_timeout"]
        self.read()
        while not done():
            if time.monotonic() > deadline:
                self.module.fail_json(
                    msg=f"After {self.params['wait_timeout']} s it is not so that the database {self.name} {what}; it "
                    f"is {self.status}. Look at it in RDS, then repeat the run."
                )
            time.sleep(POLL_SECONDS)
            self.read()

    def _password(self) -> str:
        secret = self.module.client("secretsmanager").get_secret_value(SecretId=self.params["password_secret"])
        password = str(json.loads(secret["SecretString"])["password"])
        self.module.no_log_values.add(password)
        return password


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "name": {"type": "str", "required": True},
        "engine_version": {"type": "str"},
        "instance_class": {"type": "str"},
        "storage_gb": {"type": "int"},
        "storage_max_gb": {"type": "int", "default": 0},
        "iops": {"type": "int", "default": 0},
        "database": {"type": "str"},
        "username": {"type": "str"},
        "password_secret": {"type": "str", "no_log": False},
        "port": {"type": "int", "default": 5432},
        "multi_az": {"type": "bool", "default": False},
        "subnet_group": {"type": "str"},
        "security_group_ids": {"type": "list", "elements": "str"},
        "parameter_group": {"type": "str"},
        "backup_days": {"type": "int", "default": 7},
        "backup_window": {"type": "str", "default": ""},
        "maintenance_window": {"type": "str", "default": ""},
        "minor_upgrades": {"type": "bool", "default": True},
        "insights": {"type": "bool", "default": True},
        "log_exports": {
            "type": "list",
            "elements": "str",
            "choices": ["postgresql", "upgrade", "iam-db-auth-error"],
            "default": [],
        },
        "ca": {"type": "str", "default": "rds-ca-rsa2048-g1"},
        "deletion_protection": {"type": "bool", "default": True},
        "final_snapshot": {"type": "str", "default": ""},
        "tags": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait_timeout": {"type": "int", "default": 1800},
    }


REQUIRED = (
    "engine_version",
    "instance_class",
    "storage_gb",
    "database",
    "username",
    "password_secret",
    "subnet_group",
    "security_group_ids",
    "parameter_group",
)


def remove(module: Any, instance: Instance) -> None:
    """Carry out state absent and end the module."""
    changed = instance.standing is not None and instance.status != "deleting"
    before = properties(instance.standing) if changed else {}
    if changed and not module.check_mode:
        with doing(module, f"delete the database {instance.name}"):
            instance.delete()
    module.exit_json(changed=changed, diff=diff(before, {}), status=instance.status, settled=False)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec=argument_spec(), required_if=[("state", "present", REQUIRED)], supports_check_mode=True
    )
    instance = Instance(module)
    with doing(module, f"read the database {instance.name}"):
        instance.read()
    if module.params["state"] == "absent":
        remove(module, instance)
    if instance.status in MAKING:
        module.exit_json(changed=False, diff=diff({}, {}), status=instance.status, settled=False)
    before = properties(instance.standing)
    after = wanted(module.params, before)
    sentence = refusal(instance.name, before, after) if before else None
    if sentence:
        module.fail_json(msg=sentence)
    changed = before != after
    if changed and not module.check_mode:
        with doing(module, f"{'change' if before else 'create'} the database {instance.name}"):
            if before:
                instance.apply(before, after)
            else:
                instance.create(after)
            instance.read()
    module.exit_json(changed=changed, diff=diff(before, after), status=instance.status, settled=bool(before))


if __name__ == "__main__":
    main()
