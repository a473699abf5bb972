#!/usr/bin/python
"""Manage one private S3 bucket; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_private_bucket
short_description: Manage one private S3 bucket with all its settings
description:
  - A bucket without public access and access lists, encrypted with S3's own keys, and with exactly the policy,
    lifecycle, logging and tags that are given.
  - What nobody asked for goes, which C(amazon.aws.s3_bucket) leaves, such as CORS, a website, replication,
    notifications, transfer acceleration, requester pays, lifecycle rules of others, and configurations for inventory,
    analytics, metrics and intelligent tiering.
  - All settings are read side by side, and a check predicts.
  - Versioning that was on once can only be suspended, which counts as off.
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  account_id:
    description: The account that has to own the bucket. Without it the owner is not checked.
    type: str
  versioning:
    description: Whether versions are kept.
    type: bool
    default: false
  policy:
    description: The exact policy, compared by meaning. An empty one is removed.
    type: dict
    default: {}
  expiration_days:
    description: Days after which objects expire; V(0) for never.
    type: int
    default: 0
  noncurrent_days:
    description: Days that old versions are kept; V(0) for ever.
    type: int
    default: 0
  abort_upload_days:
    description: Days after which an upload in parts that was not ended is given up; V(0) for never.
    type: int
    default: 7
  log_bucket:
    description: Bucket that takes the access logs; none when empty.
    type: str
    default: ""
  log_prefix:
    description: What the names of the access logs begin with.
    type: str
    default: ""
  tags:
    description: The exact tags. Without them tags are left alone.
    type: dict
  force:
    description: With O(state=absent), whether a bucket that is not empty is emptied first.
    type: bool
    default: false
  state:
    description: V(absent) removes the bucket.
    type: str
    choices: [present, absent]
    default: present
  wait_timeout:
    description: Seconds that a bucket into which AWS still writes logs is emptied again, and that what S3 does not know
      everywhere yet is repeated.
    type: int
    default: 300
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
- name: Keep artifacts, and old versions of them for a month
  s3_private_bucket:
    name: mlflow-team-a-123456789012-eu-west-1
    versioning: true
    noncurrent_days: 30
    policy: "{{ lookup('ansible.builtin.template', 'artifacts_policy.json.j2') }}"
    tags: "{{ s3_artifacts_tags }}"

- name: Remove the bucket with everything in it
  s3_private_bucket:
    name: mlflow-team-a-123456789012-eu-west-1
    force: true
    state: absent
"""

RETURN = r"""
bucket_arn:
  description: ARN of the bucket; null when it is absent or would be created by a check.
  returned: always
  type: str
  sample: arn:aws:s3:::mlflow-team-a-123456789012-eu-west-1
"""

import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

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
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies  # noqa: E402

Properties = dict[str, Any]
PAUSE_SECONDS = 5.0
THREADS = 8
MISSING = ("404", "NoSuchBucket")
# What S3 answers about a bucket or a policy that it does not know everywhere yet.
NOT_YET = ("NoSuchBucket", "OperationAborted", "InvalidTargetBucketForLogging")
BLOCK = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)


class Reading(NamedTuple):
    """How one property is read: the client's method, S3's codes for "there is none", and what of the answer counts."""

    method: str
    none: tuple[str, ...]
    value: Callable[[Properties], Any]


def _ids(key: str) -> Callable[[Properties], Any]:
    return lambda answer: sorted(each["Id"] for each in answer.get(key) or [])


def _encryption(answer: Properties) -> list[Properties]:
    rules = (answer.get("ServerSideEncryptionConfiguration") or {}).get("Rules", [])
    defaults = [rule.get("ApplyServerSideEncryptionByDefault") or {} for rule in rules]
    return [{key: value for key, value in default.items() if value} for default in defaults]


def _rule(rule: Properties) -> Properties:
    """Return a lifecycle rule with the prefix, whose forms S3 mixes, in one form."""
    which = rule.get("Filter") or {}
    prefix = rule.get("Prefix") or which.get("Prefix") or ""
    others = {key: value for key, value in which.items() if key != "Prefix" and value}
    rest = {key: value for key, value in rule.items() if key not in ("Filter", "Prefix")}
    return {**rest, "Filter": {"Prefix": prefix, **others}}


def _lifecycle(answer: Properties) -> list[Properties]:
    return sorted((_rule(rule) for rule in answer.get("Rules") or []), key=lambda rule: str(rule.get("ID", "")))


def _logging(answer: Properties) -> Properties:
    enabled = answer.get("LoggingEnabled") or {}
    return {key: value for key, value in enabled.items() if value or key == "TargetPrefix"}


def _rest(answer: Properties) -> Properties:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata" and value}


READINGS = {
    "ownership": Reading(
        "get_bucket_ownership_controls",
        ("OwnershipControlsNotFoundError",),
        lambda answer: [rule["ObjectOwnership"] for rule in (answer.get("OwnershipControls") or {}).get("Rules", [])],
    ),
    "public_access_block": Reading(
        "get_public_access_block",
        ("NoSuchPublicAccessBlockConfiguration",),
        lambda answer: answer.get("PublicAccessBlockConfiguration") or {},
    ),
    "encryption": Reading("get_bucket_encryption", ("ServerSideEncryptionConfigurationNotFoundError",), _encryption),
    "versioning": Reading("get_bucket_versioning", (), lambda answer: answer.get("Status") == "Enabled"),
    "policy": Reading(
        "get_bucket_policy", ("NoSuchBucketPolicy",), lambda answer: json.loads(answer.get("Policy") or "{}")
    ),
    "lifecycle": Reading("get_bucket_lifecycle_configuration", ("NoSuchLifecycleConfiguration",), _lifecycle),
    "tags": Reading("get_bucket_tagging", ("NoSuchTagSet",), lambda answer: tag_dict(answer.get("TagSet"))),
    "logging": Reading("get_bucket_logging", (), _logging),
    "cors": Reading("get_bucket_cors", ("NoSuchCORSConfiguration",), lambda answer: answer.get("CORSRules") or []),
    "website": Reading("get_bucket_website", ("NoSuchWebsiteConfiguration",), _rest),
    "replication": Reading(
        "get_bucket_replication",
        ("ReplicationConfigurationNotFoundError",),
        lambda answer: answer.get("ReplicationConfiguration") or {},
    ),
    "notifications": Reading("get_bucket_notification_configuration", (), _rest),
    "acceleration": Reading(
        "get_bucket_accelerate_configuration", (), lambda answer: answer.get("Status") == "Enabled"
    ),
    "requester_pays": Reading("get_bucket_request_payment", (), lambda answer: answer.get("Payer") == "Requester"),
    "inventory": Reading("list_bucket_inventory_configurations", (), _ids("InventoryConfigurationList")),
    "analytics": Reading("list_bucket_analytics_configurations", (), _ids("AnalyticsConfigurationList")),
    "metrics": Reading("list_bucket_metrics_configurations", (), _ids("MetricsConfigurationList")),
    "tiering": Reading(
        "list_bucket_intelligent_tiering_configurations", (), _ids("IntelligentTieringConfigurationList")
    ),
}


def lifecycle(params: Properties) -> list[Properties]:
    """Return the one lifecycle rule that `params` ask for, or none."""
    rule: Properties = {}
    if params["abort_upload_days"]:
        rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": params["abort_upload_days"]}
    if params["expiration_days"]:
        rule["Expiration"] = {"Days": params["expiration_days"]}
    if params["noncurrent_days"]:
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": params["noncurrent_days"]}
    return [{"ID": "expire", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule}] if rule else []


def wanted(params: Properties, before: Properties) -> Properties:
    """Return every property as `params` ask for it; a policy that means the same counts as the one that stands."""
    logging = {"TargetBucket": params["log_bucket"], "TargetPrefix": params["log_prefix"]}
    policy = params["policy"]
    if before.get("policy") and policy and not compare_policies(before["policy"], policy):
        policy = before["policy"]
    return {
        "ownership": ["BucketOwnerEnforced"],
        "public_access_block": BLOCK,
        "encryption": [{"SSEAlgorithm": "AES256"}],
        "versioning": params["versioning"],
        "policy": policy,
        "lifecycle": lifecycle(params),
        "tags": before.get("tags", {}) if params["tags"] is None else params["tags"],
        "logging": logging if params["log_bucket"] else {},
        "cors": [],
        "website": {},
        "replication": {},
        "notifications": {},
        "acceleration": False,
        "requester_pays": False,
        "inventory": [],
        "analytics": [],
        "metrics": [],
        "tiering": [],
    }


class Bucket:
    """One bucket; `exists` holds after `find`."""

    def __init__(self, module: Any) -> None:
        """Take the parameters and make the client; nothing is read yet."""
        self.module = module
        self.params: Properties = module.params
        self.name: str = module.params["name"]
        self.s3 = module.client("s3")
        self.exists = False

    def find(self) -> bool | None:
        """Return whether the bucket is there, or None."""
        owner = {"ExpectedBucketOwner": self.params["account_id"]} if self.params["account_id"] else {}
        try:
            self.exists = found(self.s3.head_bucket, *MISSING, Bucket=self.name, **owner) is not None
        except ClientError as error:
            if error_code(error) != "403":
                raise
            self.module.fail_json(
                msg=f"The bucket {self.name} belongs to another account, or this login may not see it (s3:ListBucket); "
                "give the stack another mlflow_stack_name, or the login that right."
            )
        return self.exists or None

    def properties(self) -> Properties:
        """Return every setting of the bucket in the form of `wanted`, or {}; all are read side by side."""
        if not self.exists:
            return {}

        def read(reading: Reading) -> Any:
            return reading.value(found(getattr(self.s3, reading.method), *reading.none, Bucket=self.name) or {})

        with ThreadPoolExecutor(THREADS) as pool:
            return dict(zip(READINGS, pool.map(read, READINGS.values()), strict=True))

    def create(self) -> None:
        """Create the bucket, or take the one that an earlier attempt has made."""
        region = self.s3.meta.region_name
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}

        def attempt() -> None:
            create(
                self.module,
                "s3",
                "create_bucket",
                self.find,
                already=["BucketAlreadyOwnedByYou"],
                Bucket=self.name,
                **where,
            )

        try:
            # S3 remembers for a while the name of a bucket that was deleted.
            self._patiently(attempt, ("OperationAborted",), "S3 gave its name free")
        except ClientError as error:
            if error_code(error) != "BucketAlreadyExists":
                raise
            self.module.fail_json(
                msg=f"The bucket name {self.name} belongs to another account; give the stack another mlflow_stack_name."
            )
        self.exists = True

    def apply(self, before: Properties, after: Properties) -> None:
        """Bring every property that differs from `before` to `after`. What closes the bucket comes first."""
        steps = {**self._settings(after), **self._removals(before)}
        for name, step in steps.items():
            if before.get(name) != after[name]:
                with doing(self.module, f"set {name} of the bucket {self.name}"):
                    self._patiently(step, NOT_YET, "S3 knew it everywhere")

    def delete(self) -> None:
        """Delete the bucket, emptied first and again with `force`. Nobody may write into it from here on."""
        if self.params["force"]:
            found(self.s3.delete_bucket_policy, *MISSING, "NoSuchBucketPolicy", Bucket=self.name)
        codes = ("BucketNotEmpty",) if self.params["force"] else ()
        self._patiently(self._empty_and_delete, codes, "AWS no longer wrote logs into it")
        self.exists = False

    def _empty_and_delete(self) -> None:
        if self.params["force"]:
            self._empty()
        found(self.s3.delete_bucket, *MISSING, Bucket=self.name)

    def _empty(self) -> None:
        try:
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.name):
                versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                names = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in versions]
                if names:
                    self._delete_objects(names)
        except ClientError as error:
            if error_code(error) not in MISSING:
                raise

    def _delete_objects(self, names: list[dict[str, str]]) -> None:
        answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": names, "Quiet": True})
        for failure in answer.get("Errors", []):
            self.module.fail_json(
                msg=f"Could not delete {failure['Key']} from the bucket {self.name}: {failure.get('Message', '')}"
                f" ({failure.get('Code', '')})."
            )

    def _patiently(self, call: Callable[[], Any], codes: tuple[str, ...], until: str) -> None:
        began = time.monotonic()
        while True:
            try:
                call()
            except ClientError as error:
                waited = time.monotonic() - began
                if error_code(error) not in codes or waited > self.params["wait_timeout"]:
                    raise
                time.sleep(PAUSE_SECONDS)
                continue
            waited = time.monotonic() - began
            if waited >= PAUSE_SECONDS > 0:
                self.module.warn(f"Bucket {self.name}: waited {round(waited)} s until {until}.")
            return

    def _settings(self, after: Properties) -> dict[str, Callable[[], Any]]:
        s3, name = self.s3, self.name
        status = "Enabled" if after["versioning"] else "Suspended"
        return {
            "ownership": lambda: s3.put_bucket_ownership_controls(
                Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": rule} for rule in after["ownership"]]}
            ),
            "public_access_block": lambda: s3.put_public_access_block(
                Bucket=name, PublicAccessBlockConfiguration=after["public_access_block"]
            ),
            "encryption": lambda: s3.put_bucket_encryption(
                Bucket=name,
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": default} for default in after["encryption"]]
                },
            ),
            "versioning": lambda: s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status}),
            "policy": lambda: (
                s3.put_bucket_policy(Bucket=name, Policy=json.dumps(after["policy"]))
                if after["policy"]
                else s3.delete_bucket_policy(Bucket=name)
            ),
            "lifecycle": lambda: (
                s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": after["lifecycle"]})
                if after["lifecycle"]
                else s3.delete_bucket_lifecycle(Bucket=name)
            ),
            "tags": lambda: (
                s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_list(after["tags"])})
                if after["tags"]
                else s3.delete_bucket_tagging(Bucket=name)
            ),
            "logging": lambda: s3.put_bucket_logging(
                Bucket=name,
                BucketLoggingStatus={"LoggingEnabled": after["logging"]} if after["logging"] else {},
            ),
        }

    def _removals(self, before: Properties) -> dict[str, Callable[[], Any]]:
        s3, name = self.s3, self.name

        def each(kind: str, method: str) -> Callable[[], Any]:
            return lambda: [getattr(s3, method)(Bucket=name, Id=one) for one in before[kind]]

        return {
            "cors": lambda: s3.delete_bucket_cors(Bucket=name),
            "website": lambda: s3.delete_bucket_website(Bucket=name),
            "replication": lambda: s3.delete_bucket_replication(Bucket=name),
            "notifications": lambda: s3.put_bucket_notification_configuration(
                Bucket=name, NotificationConfiguration={}
            ),
            "acceleration": lambda: s3.put_bucket_accelerate_configuration(
                Bucket=name, AccelerateConfiguration={"Status": "Suspended"}
            ),
            "requester_pays": lambda: s3.put_bucket_request_payment(
                Bucket=name, RequestPaymentConfiguration={"Payer": "BucketOwner"}
            ),
            "inventory": each("inventory", "delete_bucket_inventory_configuration"),
            "analytics": each("analytics", "delete_bucket_analytics_configuration"),
            "metrics": each("metrics", "delete_bucket_metrics_configuration"),
            "tiering": each("tiering", "delete_bucket_intelligent_tiering_configuration"),
        }


def argument_spec() -> Properties:
    """Return the module's own options, as documented."""
    return {
        "name": {"type": "str", "required": True},
        "account_id": {"type": "str"},
        "versioning": {"type": "bool", "default": False},
        "policy": {"type": "dict", "default": {}},
        "expiration_days": {"type": "int", "default": 0},
        "noncurrent_days": {"type": "int", "default": 0},
        "abort_upload_days": {"type": "int", "default": 7},
        "log_bucket": {"type": "str", "default": ""},
        "log_prefix": {"type": "str", "default": ""},
        "tags": {"type": "dict"},
        "force": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait_timeout": {"type": "int", "default": 300},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    bucket, present = Bucket(module), module.params["state"] == "present"
    with doing(module, f"read the bucket {bucket.name}"):
        bucket.find()
        before = bucket.properties() if present else {"name": bucket.name} if bucket.exists else {}
    after = wanted(module.params, before) if present else {}
    changed = before != after
    if changed and not module.check_mode:
        with doing(module, f"{'create' if present else 'delete'} the bucket {bucket.name}"):
            if not present:
                bucket.delete()
            elif not bucket.exists:
                bucket.create()
        if present:
            bucket.apply(before or bucket.properties(), after)
    arn = f"arn:{bucket.s3.meta.partition}:s3:::{bucket.name}" if bucket.exists else None
    module.exit_json(changed=changed, diff=diff(before, after), bucket_arn=arn)


if __name__ == "__main__":
    main()
