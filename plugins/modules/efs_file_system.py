#!/usr/bin/python
"""Manage one EFS file system with its access point and mount targets; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: efs_file_system
short_description: Manage one EFS file system with its policy, access point and mount targets
description:
  - Finds the file system by its creation token and repairs every property that AWS can change. What AWS cannot change
    (encryption, performance mode) is refused. An omitted option leaves what stands alone.
  - An access point with another directory or user is replaced, which touches no files, and others are removed. So is
    a replication, and a protection that is off is put on again, where O(access_point) is given.
  - Returns without waiting for mount targets. A later call with O(wait=true) waits right before the first use.
options:
  name:
    description: Creation token of the file system.
    type: str
    required: true
  encrypted:
    description: Whether the file system is encrypted at rest. Without it a new one is.
    type: bool
  kms_key_id:
    description: ARN or id of the KMS key. Without it the key that AWS manages is used.
    type: str
  performance_mode:
    description: Performance mode. Without it a new file system gets V(generalPurpose).
    type: str
    choices: [generalPurpose, maxIO]
  throughput_mode:
    description: Throughput mode. Without it a new file system gets V(elastic).
    type: str
    choices: [elastic, bursting]
  transition_to_ia:
    description: Days without access after which a file moves to Infrequent Access; V(0) for never. Other rules of the
      life cycle, such as for Archive, are removed with it.
    type: int
    choices: [0, 1, 7, 14, 30, 60, 90, 180, 270, 365]
  backup_policy:
    description: Whether AWS Backup makes daily backups. Without it a new file system has none.
    type: bool
  policy:
    description: Resource policy, compared by meaning. An empty one is removed.
    type: dict
  access_point:
    description: The one access point. Others are removed.
    type: dict
    suboptions:
      path:
        description: Directory that clients see as root. It is created at the first mount.
        type: str
        required: true
      uid:
        description: User id of every access and owner of the directory.
        type: int
        required: true
      gid:
        description: Group id of every access and of the directory.
        type: int
        required: true
      permissions:
        description: Permissions the directory is created with, octal.
        type: str
        default: "0750"
  mount_targets:
    description: Where the file system can be mounted.
    type: dict
    suboptions:
      subnet_ids:
        description: Subnets, at most one per availability zone. Mount targets elsewhere are deleted.
        type: list
        elements: str
        required: true
      security_group_ids:
        description: Security groups of every mount target.
        type: list
        elements: str
        required: true
  tags:
    description: The exact tags of the file system and of its access point.
    type: dict
  state:
    description: V(absent) deletes access points, mount targets and then the file system with everything on it.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until the file system and every mount target are available, or gone. Without it
        O(state=absent) leaves a file system whose mount targets are still being deleted to a later call.
    type: bool
    default: false
  wait_timeout:
    description: Seconds after which waiting, also for deletions, fails.
    type: int
    default: 600
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
- name: Start the file system
  efs_file_system:
    name: team-a
    transition_to_ia: 30
    access_point: {path: /mlflow, uid: 1000, gid: 1000}
    mount_targets:
      subnet_ids: "{{ efs_subnet_ids }}"
      security_group_ids: ["{{ __efs_group.group_id }}"]
    tags: "{{ efs_tags }}"

- name: Wait until the file system can be mounted
  efs_file_system:
    name: team-a
    wait: true
"""

RETURN = r"""
file_system_id:
  description: Identifier of the file system; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: fs-0a1b2c3d4e5f60718
file_system_arn:
  description: ARN of the file system; null likewise.
  returned: always
  type: str
access_point_id:
  description: Identifier of the access point; null when there is none.
  returned: always
  type: str
access_point_arn:
  description: ARN of the access point; null when there is none.
  returned: always
  type: str
status:
  description: Life cycle state of the file system; null when it is absent.
  returned: always
  type: str
  sample: available
mount_targets_available:
  description: Whether there are mount targets and all of them are available.
  returned: always
  type: bool
"""

import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from ansible.module_utils.mlflow_aws import (  # noqa: E402
    create,
    diff,
    doing,
    found,
    tag_changes,
    tag_dict,
    tag_list,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies  # noqa: E402

Properties = dict[str, Any]
POLL_SECONDS = 5.0
GONE = ("deleting", "deleted")
NEW: Properties = {
    "encrypted": True,
    "kms_key_id": None,
    "performance_mode": "generalPurpose",
    "throughput_mode": "elastic",
    "lifecycle": [],
    "backup_policy": False,
    "policy": {},
    "access_point": {},
    "foreign_access_points": [],
    "protection": True,
    "replication": False,
    "mount_targets": {},
    "tags": {},
}
IMMUTABLE = ("encrypted", "kms_key_id", "performance_mode")


class FileSystem:
    """One file system as it stands, read at once and changed step by step.

    `module` carries the parameters and fails with one sentence when AWS refuses. After `read`, `standing` is the file
    system as EFS describes it (None = missing), `point` its access point, `targets` its mount targets.
    """

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: Properties = module.params
        self.efs = module.client("efs")
        self.standing: Properties | None = None
        self.point: Properties | None = None
        self.foreign: list[str] = []
        self.targets: list[Properties] = []

    @property
    def id(self) -> str:
        """Identifier of the standing file system."""
        assert self.standing is not None
        return str(self.standing["FileSystemId"])

    @property
    def label(self) -> str:
        """How sentences call the file system."""
        return f"file system {self.params['name']}" + (f" ({self.id})" if self.standing else "")

    def read(self) -> None:
        """Find the file system, its access point and its mount targets."""
        with doing(self.module, f"read the {self.label}"):
            self.standing = self._system()
            points: list[Properties] = []
            self.targets = []
            if self.standing:
                points = self.efs.describe_access_points(FileSystemId=self.id)["AccessPoints"]
                self.targets = self.efs.describe_mount_targets(FileSystemId=self.id)["MountTargets"]
        points = [point for point in points if point.get("LifeCycleState") not in GONE]
        self._choose([point for point in points if point.get("FileSystemId", self.id) == self.id])
        self.targets = [target for target in self.targets if target["LifeCycleState"] not in GONE]

    def _system(self) -> Properties | None:
        systems = self.efs.describe_file_systems(CreationToken=self.params["name"])["FileSystems"]
        return systems[0] if systems and systems[0]["LifeCycleState"] != "deleted" else None

    def _choose(self, points: list[Properties]) -> None:
        """Keep the access point that is as it is asked for; without one it is the first, and none is foreign."""
        wanted = self.params["access_point"]
        if not wanted:
            self.point, self.foreign = next(iter(points), None), []
            return
        tags = (self.params["tags"] or {}).items()
        right = [point for point in points if _point_properties(point) == wanted]
        # One that has the tags counts before one that somebody has made.
        right.sort(key=lambda point: not tags <= tag_dict(point.get("Tags")).items())
        self.point = next(iter(right), None)
        self.foreign = sorted(point["AccessPointId"] for point in points if point is not self.point)

    def properties(self) -> Properties:
        """Return what stands in the form of `wanted`; empty when the file system is missing."""
        if self.standing is None:
            return {}
        policy, backup = None, None
        with doing(self.module, f"read the settings of the {self.label}"):
            lifecycle = self.efs.describe_lifecycle_configuration(FileSystemId=self.id)["LifecyclePolicies"]
            backup = found(self.efs.describe_backup_policy, "PolicyNotFound", FileSystemId=self.id)
            if self.params["policy"] is not None:
                policy = found(self.efs.describe_file_system_policy, "PolicyNotFound", FileSystemId=self.id)
            replication = None
            if self.params["access_point"]:
                replication = found(
                    self.efs.describe_replication_configurations, "ReplicationNotFound", FileSystemId=self.id
                )
            groups = {}
            if self.params["mount_targets"]:
                groups = {target["SubnetId"]: self._groups(target) for target in self.targets}
        protection = self.standing.get("FileSystemProtection") or {}
        values: Properties = {
            "encrypted": self.standing["Encrypted"],
            "kms_key_id": self.standing.get("KmsKeyId"),
            "performance_mode": self.standing["PerformanceMode"],
            "throughput_mode": self.standing.get("ThroughputMode", "bursting"),
            "lifecycle": lifecycle,
            "backup_policy": backup is not None and backup["BackupPolicy"]["Status"] in ("ENABLED", "ENABLING"),
            "policy": json.loads(policy["Policy"]) if policy else {},
            "access_point": _point_properties(self.point),
            "foreign_access_points": self.foreign,
            "protection": protection.get("ReplicationOverwriteProtection", "ENABLED") == "ENABLED",
            "replication": bool((replication or {}).get("Replications")),
            "mount_targets": groups,
            "tags": tag_dict(self.standing.get("Tags")),
        }
        if self.params["access_point"]:
            values["access_point_tags"] = tag_dict((self.point or {}).get("Tags"))
        return values

    def create(self, after: Properties) -> None:
        """Create the file system itself and wait the seconds until it takes further calls."""
        request = {
            "CreationToken": self.params["name"],
            "Encrypted": after["encrypted"],
            "PerformanceMode": after["performance_mode"],
            "ThroughputMode": after["throughput_mode"],
            "Backup": after["backup_policy"],
            "Tags": tag_list(self.params["tags"] or {}),
        }
        if self.params["kms_key_id"]:
            request["KmsKeyId"] = self.params["kms_key_id"]
        with doing(self.module, f"create the {self.label}"):
            create(
                self.module,
                "efs",
                "create_file_system",
                self._system,
                already=["FileSystemAlreadyExists"],
                **request,
            )
            self.standing = self._system()
        self.until(lambda: self.standing is not None and self.standing["LifeCycleState"] == "available", "is available")

    def apply(self, before: Properties, after: Properties) -> None:
        """Bring every property that differs from `before` to `after`."""
        steps: dict[str, Callable[[], Any]] = {
            "throughput_mode": lambda: self.efs.update_file_system(
                FileSystemId=self.id, ThroughputMode=after["throughput_mode"]
            ),
            "lifecycle": lambda: self.efs.put_lifecycle_configuration(
                FileSystemId=self.id, LifecyclePolicies=after["lifecycle"]
            ),
            "backup_policy": lambda: self.efs.put_backup_policy(
                FileSystemId=self.id, BackupPolicy={"Status": "ENABLED" if after["backup_policy"] else "DISABLED"}
            ),
            "policy": lambda: self._put_policy(after["policy"]),
            "tags": lambda: self._retag(self.id, before["tags"], after["tags"]),
            "access_point": self._create_point,
            "foreign_access_points": lambda: [
                found(self.efs.delete_access_point, "AccessPointNotFound", AccessPointId=point)
                for point in before["foreign_access_points"]
            ],
            "replication": lambda: self.efs.delete_replication_configuration(SourceFileSystemId=self.id),
            "protection": lambda: self.efs.update_file_system_protection(
                FileSystemId=self.id, ReplicationOverwriteProtection="ENABLED"
            ),
            "mount_targets": lambda: self._place(before["mount_targets"], after["mount_targets"]),
            "access_point_tags": lambda: self._retag(
                (self.point or {})["AccessPointId"], before["access_point_tags"], after["access_point_tags"]
            ),
        }
        for name, step in steps.items():
            if before.get(name) != after.get(name):
                with doing(self.module, f"set {name} of the {self.label}"):
                    step()

    def delete(self) -> None:
        """Delete access points and mount targets, then, when these are gone, the file system."""
        with doing(self.module, f"delete the {self.label}"):
            points = self.efs.describe_access_points(FileSystemId=self.id)["AccessPoints"]
            for point in points:
                if point.get("LifeCycleState") not in GONE:
                    self.efs.delete_access_point(AccessPointId=point["AccessPointId"])
            for target in self.targets:
                self.efs.delete_mount_target(MountTargetId=target["MountTargetId"])
            if self.params["wait"]:
                self._until_targets_gone([])
            elif self.efs.describe_mount_targets(FileSystemId=self.id)["MountTargets"]:
                return
            if self.standing and self.standing["LifeCycleState"] not in GONE:
                self.efs.delete_file_system(FileSystemId=self.id)
        if self.params["wait"]:
            self.until(lambda: self.standing is None, "is gone")
        else:
            self.read()

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Read again until `done` holds, or fail with the sentence that the file system never `what`."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        label = self.label
        self.read()
        while not done():
            stuck = [target for target in self.targets if target["LifeCycleState"] == "error"]
            if stuck:
                self._fail(f"Mount target {stuck[0]['MountTargetId']} of the {label} failed; delete it and repeat.")
            if time.monotonic() > deadline:
                self._fail(f"After {self.params['wait_timeout']} s it is not so that the {label} {what}.")
            time.sleep(POLL_SECONDS)
            self.read()

    def ready(self) -> bool:
        """Return whether the file system and all mount targets are available."""
        return self.standing is not None and self.standing["LifeCycleState"] == "available" and self.targets_available()

    def targets_available(self) -> bool:
        """Return whether there are mount targets and all of them are available."""
        return bool(self.targets) and all(target["LifeCycleState"] == "available" for target in self.targets)

    def facts(self) -> Properties:
        """Return the module's result."""
        standing, point = self.standing or {}, self.point or {}
        return {
            "file_system_id": standing.get("FileSystemId"),
            "file_system_arn": standing.get("FileSystemArn"),
            "access_point_id": point.get("AccessPointId"),
            "access_point_arn": point.get("AccessPointArn"),
            "status": standing.get("LifeCycleState"),
            "mount_targets_available": self.targets_available(),
        }

    def _groups(self, target: Properties) -> list[str]:
        answer = self.efs.describe_mount_target_security_groups(MountTargetId=target["MountTargetId"])
        return sorted(answer["SecurityGroups"])

    def _put_policy(self, policy: Properties) -> None:
        if policy:
            self.efs.put_file_system_policy(FileSystemId=self.id, Policy=json.dumps(policy))
        else:
            self.efs.delete_file_system_policy(FileSystemId=self.id)

    def _create_point(self) -> None:
        wanted = self.params["access_point"]
        owner = {"OwnerUid": wanted["uid"], "OwnerGid": wanted["gid"], "Permissions": wanted["permissions"]}

        def look() -> Properties | None:
            self.read()
            return self.point

        # botocore gives each attempt a token of its own, so one whose answer got lost is looked for.
        self.point = create(
            self.module,
            "efs",
            "create_access_point",
            look,
            FileSystemId=self.id,
            PosixUser={"Uid": wanted["uid"], "Gid": wanted["gid"]},
            RootDirectory={"Path": wanted["path"], "CreationInfo": owner},
            Tags=tag_list(self.params["tags"] or {}),
        )

    def _place(self, before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
        by_subnet = {target["SubnetId"]: target["MountTargetId"] for target in self.targets}
        for subnet in sorted(set(before) - set(after)):
            self.efs.delete_mount_target(MountTargetId=by_subnet[subnet])
        new = sorted(set(after) - set(before))
        if new and set(before) - set(after):
            # A zone takes one mount target: the one in another subnet of it has to be gone first.
            self._until_targets_gone([subnet for subnet in before if subnet in after])
        for subnet in new:
            self._create_target(subnet, after[subnet])
        for subnet in sorted(set(before) & set(after)):
            if before[subnet] != after[subnet]:
                self.efs.modify_mount_target_security_groups(
                    MountTargetId=by_subnet[subnet], SecurityGroups=after[subnet]
                )

    def _create_target(self, subnet: str, groups: list[str]) -> None:
        def look() -> Properties | None:
            targets = self.efs.describe_mount_targets(FileSystemId=self.id)["MountTargets"]
            there = (one for one in targets if one["SubnetId"] == subnet and one["LifeCycleState"] not in GONE)
            return next(there, None)

        create(
            self.module,
            "efs",
            "create_mount_target",
            look,
            already=["MountTargetConflict"],
            FileSystemId=self.id,
            SubnetId=subnet,
            SecurityGroups=groups,
        )

    def _until_targets_gone(self, staying: list[str]) -> None:
        deadline = time.monotonic() + self.params["wait_timeout"]
        while True:
            targets = self.efs.describe_mount_targets(FileSystemId=self.id)["MountTargets"]
            going = [target["MountTargetId"] for target in targets if target["SubnetId"] not in staying]
            if not going:
                return
            if time.monotonic() > deadline:
                self._fail(f"Mount target {going[0]} of the {self.label} is not gone after its time; repeat the run.")
            time.sleep(POLL_SECONDS)

    def _retag(self, resource: str, before: dict[str, str], after: dict[str, str]) -> None:
        setting, removing = tag_changes(before, after)
        if setting:
            self.efs.tag_resource(ResourceId=resource, Tags=tag_list(setting))
        if removing:
            self.efs.untag_resource(ResourceId=resource, TagKeys=removing)

    def _fail(self, sentence: str) -> NoReturn:
        self.module.fail_json(msg=sentence)
        raise AssertionError("fail_json returned")


def _point_properties(point: Properties | None) -> Properties:
    if point is None:
        return {}
    root, user = point.get("RootDirectory") or {}, point.get("PosixUser") or {}
    return {
        "path": root.get("Path", "/"),
        "uid": user.get("Uid"),
        "gid": user.get("Gid"),
        "permissions": (root.get("CreationInfo") or {}).get("Permissions"),
    }


def wanted(params: Properties, before: Properties, arn: str = "") -> Properties:
    """Return every property as `params` ask for it; what they leave alone is as in `before`.

    A policy or a key that says the same in another form counts as what stands; `arn` is the file system's.
    """
    replicated = {name: before.get(name, NEW[name]) for name in ("protection", "replication")}
    days, key, targets = params["transition_to_ia"], params["kms_key_id"], params["mount_targets"]
    after: Properties = {**NEW, **before, **{name: params[name] for name in NEW if params.get(name) is not None}}
    if key and not same_key(before.get("kms_key_id"), key):
        after["kms_key_id"] = key
    if days is not None:
        after["lifecycle"] = [{"TransitionToIA": f"AFTER_{days}_DAY{'S' if days > 1 else ''}"}] if days else []
    if targets:
        after["mount_targets"] = {subnet: sorted(targets["security_group_ids"]) for subnet in targets["subnet_ids"]}
    if params["access_point"]:
        replicated = {name: NEW[name] for name in replicated}
        after["foreign_access_points"] = []
        point_tags = before.get("access_point_tags", {})
        after["access_point_tags"] = point_tags if params["tags"] is None else params["tags"]
    after.update(replicated)
    if before.get("policy") and after["policy"] and same_policy(before["policy"], after["policy"], arn):
        after["policy"] = before["policy"]
    return after


def same_key(standing: str | None, asked: str | None) -> bool:
    """Return whether the KMS key `asked` (ARN, id, or None for whichever stands) is the one that stands."""
    return asked is None or standing == asked or bool(standing and standing.endswith(f"/{asked}"))


def same_policy(standing: Properties, asked: Properties, arn: str) -> bool:
    """Return whether two policies of the file system `arn` mean the same.

    EFS fills in an Id, a Sid per statement and the file system as Resource where a policy has none
    (API reference of PutFileSystemPolicy), so these are left out on both sides.
    """
    return not compare_policies(_meaning(standing, arn), _meaning(asked, arn))


def _meaning(policy: Properties, arn: str) -> Properties:
    statements = policy.get("Statement", [])
    return {
        "Version": policy.get("Version", "2012-10-17"),
        "Statement": [
            {key: value for key, value in each.items() if key != "Sid" and (key, value) != ("Resource", arn)}
            for each in ([statements] if isinstance(statements, dict) else statements)
        ],
    }


def refusal(label: str, before: Properties, after: Properties) -> str | None:
    """Return the sentence on the first difference that AWS cannot change, or None."""
    for name in IMMUTABLE:
        if before.get(name) not in (None, "", {}) and before[name] != after[name]:
            return (
                f"The {label} has {name} {json.dumps(before[name])} instead of {json.dumps(after[name])}, which AWS "
                "cannot change; keep what it has, or delete it and lose or restore its files."
            )
    return None


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    days = [0, 1, 7, 14, 30, 60, 90, 180, 270, 365]
    point = {
        "path": {"type": "str", "required": True},
        "uid": {"type": "int", "required": True},
        "gid": {"type": "int", "required": True},
        "permissions": {"type": "str", "default": "0750"},
    }
    targets = {
        "subnet_ids": {"type": "list", "elements": "str", "required": True},
        "security_group_ids": {"type": "list", "elements": "str", "required": True},
    }
    return {
        "name": {"type": "str", "required": True},
        "encrypted": {"type": "bool"},
        "kms_key_id": {"type": "str", "no_log": False},
        "performance_mode": {"type": "str", "choices": ["generalPurpose", "maxIO"]},
        "throughput_mode": {"type": "str", "choices": ["elastic", "bursting"]},
        "transition_to_ia": {"type": "int", "choices": days},
        "backup_policy": {"type": "bool"},
        "policy": {"type": "dict"},
        "access_point": {"type": "dict", "options": point},
        "mount_targets": {"type": "dict", "options": targets},
        "tags": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 600},
    }


def remove(module: Any, system: FileSystem) -> None:
    """Carry out state absent and end the module."""
    before = system.facts() if system.standing else {}
    if system.standing and not module.check_mode:
        system.delete()
    module.exit_json(changed=bool(before), diff=diff(before, {}), **system.facts())


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    system = FileSystem(module)
    system.read()
    if module.params["state"] == "absent":
        remove(module, system)
    if system.standing and system.standing["LifeCycleState"] in GONE and not module.check_mode:
        system.until(lambda: system.standing is None, "is gone")
    before = system.properties()
    after = wanted(module.params, before, (system.standing or {}).get("FileSystemArn", ""))
    sentence = refusal(system.label, before, after)
    if sentence:
        module.fail_json(msg=sentence)
    changed = before != after
    if not module.check_mode:
        if not system.standing:
            system.create(after)
        if changed:
            system.apply(before or system.properties(), after)
            system.read()
        if module.params["wait"]:
            system.until(system.ready, "is available with all its mount targets")
    module.exit_json(changed=changed, diff=diff(before, after), **system.facts())


if __name__ == "__main__":
    main()
