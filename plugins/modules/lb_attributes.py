#!/usr/bin/python
"""Keep attributes of one load balancer; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_attributes
short_description: Keep attributes of one load balancer
description:
  - Sets the named attributes and leaves all others alone. One that AWS does not list counts as different.
options:
  load_balancer_arn:
    description: ARN of the load balancer.
    type: str
    required: true
  attributes:
    description: Attribute to value, both as the ELB API names them; values are strings.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: A missing load balancer counts as one without attributes, so that a check of a first run goes on.
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Log the requests to the load balancer
  lb_attributes:
    load_balancer_arn: "{{ alb_load_balancer_arn }}"
    attributes:
      access_logs.s3.enabled: "true"
      access_logs.s3.bucket: "{{ alb_log_bucket }}"
      access_logs.s3.prefix: alb
"""

RETURN = r"""
changed_attributes:
  description: Names of the attributes that were, or in a check would be, set.
  returned: always
  type: list
  elements: str
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, found, tag_dict, tag_list  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402


def current(elb: Any, arn: str, may_be_missing: bool) -> dict[str, str]:
    """Return all attributes of the load balancer `arn`; a missing one has none where it `may_be_missing`."""
    missing_codes = ("LoadBalancerNotFound",) if may_be_missing else ()
    answer = found(elb.describe_load_balancer_attributes, *missing_codes, LoadBalancerArn=arn)
    attributes: dict[str, str] = tag_dict((answer or {}).get("Attributes"))
    return attributes


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_arn": {"type": "str", "required": True},
            "attributes": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    arn, attributes = module.params["load_balancer_arn"], module.params["attributes"]
    for name, value in attributes.items():
        if not isinstance(value, str):
            module.fail_json(msg=f"attributes.{name} is {value!r}; the load balancer takes only strings.")
    elb = module.client("elbv2")
    with doing(module, f"read the attributes of {arn}"):
        standing = current(elb, arn, may_be_missing=module.check_mode)
    before = {name: standing[name] for name in attributes if name in standing}
    changing = sorted(name for name in attributes if before.get(name) != attributes[name])
    if changing and not module.check_mode:
        with doing(module, f"set the attributes of {arn}"):
            elb.modify_load_balancer_attributes(
                LoadBalancerArn=arn, Attributes=tag_list({name: attributes[name] for name in changing})
            )
    module.exit_json(changed=bool(changing), changed_attributes=changing, diff=diff(before, attributes))


if __name__ == "__main__":
    main()
