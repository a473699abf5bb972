#!/usr/bin/python
"""Keep the listeners of one load balancer; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_listeners
short_description: Keep the listeners of one load balancer
description:
  - Compares only what is asked for, so that what AWS adds by itself is no difference. The two supported versions of
    C(amazon.aws.elb_application_lb) disagree on the C(Order) that AWS adds, and one of them changes each time.
  - Listeners on other ports are removed.
options:
  load_balancer_arn:
    description: ARN of the load balancer.
    type: str
    required: true
  listeners:
    description: The listeners as the ELB API takes them; C(Port) and C(DefaultActions) are required.
    type: list
    elements: dict
    required: true
attributes:
  check_mode:
    support: full
    description: A missing load balancer counts as one without listeners, so that a check of a first run goes on.
  diff_mode:
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Forward all requests
  lb_listeners:
    load_balancer_arn: "{{ alb_load_balancer_arn }}"
    listeners:
      - Protocol: HTTP
        Port: 80
        DefaultActions:
          - Type: forward
            TargetGroupArn: "{{ alb_target_group_arn }}"
"""

RETURN = r"""
changed_ports:
  description: Ports whose listener was, or in a check would be, created, changed or removed.
  returned: always
  type: list
  elements: int
"""

from typing import Any  # noqa: E402

from ansible.module_utils.mlflow_aws import diff, doing, found  # noqa: E402
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule  # noqa: E402

Listener = dict[str, Any]


def current(elb: Any, arn: str, may_be_missing: bool) -> dict[int, Listener]:
    """Return port to listener of the load balancer `arn`; a missing one has none where it `may_be_missing`."""
    missing_codes = ("LoadBalancerNotFound",) if may_be_missing else ()
    answer = found(elb.describe_listeners, *missing_codes, LoadBalancerArn=arn) or {"Listeners": []}
    return {listener["Port"]: listener for listener in answer["Listeners"]}


def has(standing: Any, wanted: Any) -> bool:
    """Whether `standing` has all that `wanted` asks for; it may have keys that nobody asked for."""
    if isinstance(wanted, dict):
        return isinstance(standing, dict) and all(has(standing.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same_length = isinstance(standing, list) and len(standing) == len(wanted)
        return same_length and all(map(has, standing, wanted))
    return bool(standing == wanted)


def shown(standing: dict[int, Listener], wanted: dict[int, Listener]) -> dict[str, Any]:
    """Return `standing` for `--diff`: of a listener that is wanted only the keys asked for, of another its protocol."""
    keys = {port: wanted.get(port, ("Protocol",)) for port in standing}
    return {str(port): {key: listener.get(key) for key in keys[port]} for port, listener in standing.items()}


def apply(elb: Any, arn: str, port: int, standing: Listener | None, wanted: Listener | None) -> None:
    """Create, change or remove the one listener on `port`."""
    if standing is None:
        elb.create_listener(LoadBalancerArn=arn, **(wanted or {}))
    elif wanted is None:
        elb.delete_listener(ListenerArn=standing["ListenerArn"])
    else:
        elb.modify_listener(ListenerArn=standing["ListenerArn"], **wanted)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_arn": {"type": "str", "required": True},
            "listeners": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    arn = module.params["load_balancer_arn"]
    wanted = {listener.get("Port"): listener for listener in module.params["listeners"]}
    if len(wanted) < len(module.params["listeners"]) or not all(isinstance(port, int) for port in wanted):
        module.fail_json(msg="listeners needs a Port, a number, in each entry, and each number only once.")
    elb = module.client("elbv2")
    with doing(module, f"read the listeners of {arn}"):
        standing = current(elb, arn, may_be_missing=module.check_mode)
    changing = sorted(
        port
        for port in {*standing, *wanted}
        if port not in wanted or port not in standing or not has(standing[port], wanted[port])
    )
    for port in () if module.check_mode else changing:
        with doing(module, f"keep the listener on port {port} of {arn}"):
            apply(elb, arn, port, standing.get(port), wanted.get(port))
    after = {str(port): listener for port, listener in wanted.items()}
    module.exit_json(changed=bool(changing), changed_ports=changing, diff=diff(shown(standing, wanted), after))


if __name__ == "__main__":
    main()
