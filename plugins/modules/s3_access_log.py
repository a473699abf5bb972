#!/usr/bin/python
"""Keep the server access logging of one bucket; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_access_log
short_description: Keep the server access logging of one bucket
description:
  - Sets only the bucket's logging. The right to deliver belongs in the target bucket's policy (principal
    C(logging.s3.amazonaws.com)), so this works where ACLs are off, which C(community.aws.s3_logging) does not.
options:
  bucket:
    description: Bucket whose requests are logged.
    type: str
    required: true
  target_bucket:
    description: Bucket that receives the logs. Required with O(state=present).
    type: str
  target_prefix:
    description: Key prefix of the logs.
    type: str
    default: ""
  state:
    description: Whether requests are logged.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: A bucket that is missing counts as one without logging, so that a check of a first run can go on.
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Log the requests to the artifact bucket
  s3_access_log:
    bucket: "{{ s3_artifacts_bucket }}"
    target_bucket: "{{ s3_artifacts_log_bucket }}"
    target_prefix: s3/
"""

RETURN = r"""
logging:
  description: The logging that stands afterwards; empty when there is none.
  returned: always
  type: dict
  sample: {target_bucket: team-a-logs-123456789012-eu-west-1, target_prefix: s3/}
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, found  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402


def current(s3: Any, bucket: str, may_be_missing: bool) -> dict[str, str]:
    """Return the logging of `bucket` in the form of `logging`; a missing bucket has none where it `may_be_missing`."""
    missing_codes = ("NoSuchBucket",) if may_be_missing else ()
    answer = found(s3.get_bucket_logging, *missing_codes, Bucket=bucket) or {}
    enabled = answer.get("LoggingEnabled") or {}
    if not enabled.get("TargetBucket"):
        return {}
    return {"target_bucket": enabled["TargetBucket"], "target_prefix": enabled.get("TargetPrefix", "")}


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "target_bucket": {"type": "str"},
            "target_prefix": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["target_bucket"])],
        supports_check_mode=True,
    )
    params = module.params
    absent = params["state"] == "absent"
    s3 = module.client("s3")
    with doing(module, f"read the logging of bucket {params['bucket']}"):
        before = current(s3, params["bucket"], may_be_missing=absent or module.check_mode)
    after = {} if absent else {name: params[name] for name in ("target_bucket", "target_prefix")}
    if before != after and not module.check_mode:
        enabled = {"TargetBucket": params["target_bucket"], "TargetPrefix": params["target_prefix"]}
        with doing(module, f"set the logging of bucket {params['bucket']}"):
            s3.put_bucket_logging(
                Bucket=params["bucket"], BucketLoggingStatus={} if absent else {"LoggingEnabled": enabled}
            )
    module.exit_json(changed=before != after, logging=after, diff=diff(before, after))


if __name__ == "__main__":
    main()
