#!/usr/bin/python
"""Manage the listeners of one load balancer; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lb_listeners
short_description: Manage the listeners of one application load balancer
description:
  - Compares by meaning, so that what AWS adds by itself, C(Order) or the long form of an action, is no difference.
  - What nobody asks for goes; listeners on other ports, rules beside the default one, more certificates, mutual
    authentication. Attributes of a listener go back to AWS's defaults.
  - New listeners are made before others change, and those that go are deleted last.
options:
  load_balancer_arn:
    description: ARN of the load balancer.
    type: str
    required: true
  listeners:
    description:
      - The listeners as the ELB API takes them, C(Port), C(Protocol), C(DefaultActions), and with HTTPS C(SslPolicy)
        and one of C(Certificates).
    type: list
    elements: dict
    required: true
  tags:
    description: The exact tags of each listener. Without them tags are left alone.
    type: dict
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
    tags: "{{ alb_tags }}"
"""

RETURN = r"""
changed_ports:
  description: Ports whose listener was, or in a check would be, created, changed or removed.
  returned: always
  type: list
  elements: int
"""

from typing import Any  # noqa: E402

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

Listener = dict[str, Any]
KEYS = ("Port", "Protocol", "DefaultActions", "SslPolicy", "Certificates")
TAGGED_AT_ONCE = 20  # ARNs that a DescribeTags call takes, by the ELB API reference
# What a redirect keeps where it is not told.
REDIRECT = {"Protocol": "#{protocol}", "Port": "#{port}", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}"}
REQUEST, RESPONSE = "routing.http.request.", "routing.http.response."


def plain(action: Listener) -> Listener:
    """Return an action in one form, whichever of its forms AWS or the caller has used."""
    if action["Type"] == "forward":
        config = action.get("ForwardConfig") or {}
        groups = config.get("TargetGroups") or [{"TargetGroupArn": action.get("TargetGroupArn")}]
        weights = {group["TargetGroupArn"]: group.get("Weight", 1) for group in groups}
        if len(weights) == 1:
            # A weight of one group alone says only whether it gets anything.
            weights = {arn: min(1, int(weight)) for arn, weight in weights.items()}
        sticky = (config.get("TargetGroupStickinessConfig") or {}).get("Enabled", False)
        return {"Type": "forward", "TargetGroups": weights, "Sticky": sticky in (True, "true")}
    if action["Type"] == "redirect":
        return {"Type": "redirect", **REDIRECT, **(action.get("RedirectConfig") or {})}
    return {key: value for key, value in action.items() if key != "Order"}


def default_attribute(name: str, value: str) -> str:
    """Return AWS's default of a listener's attribute that has `value`; `value` itself where none is known."""
    if name == f"{RESPONSE}server.enabled":
        return "true"
    if name.startswith(RESPONSE) and name.endswith(".header_value"):
        return ""
    if name.startswith(REQUEST) and name.endswith(".header_name"):
        header = name.removeprefix(REQUEST).removesuffix(".header_name").replace("_", "-").title()
        return value if value == "" else header
    return value


class Listeners:
    """The listeners of one load balancer."""

    def __init__(self, module: Any) -> None:
        """Keep the client; nothing is read yet."""
        self.module = module
        self.elb = module.client("elbv2")
        self.arn: str = module.params["load_balancer_arn"]
        self.tags: dict[str, str] | None = module.params["tags"]

    def described(self) -> list[Listener]:
        """The listeners as AWS describes them; in a check, none of a load balancer that is missing."""
        missing_codes = ("LoadBalancerNotFound",) if self.module.check_mode else ()
        answer = found(self.elb.describe_listeners, *missing_codes, LoadBalancerArn=self.arn) or {"Listeners": []}
        listeners: list[Listener] = answer["Listeners"]
        return listeners

    def current(self) -> dict[int, Listener]:
        """Port to what is compared of its listener, with its `arn` and the ARNs of its `rules`."""
        listeners = self.described()
        tags: dict[str, dict[str, str]] = {}
        arns = [listener["ListenerArn"] for listener in listeners]
        for start in range(0, len(arns), TAGGED_AT_ONCE):
            answer = self.elb.describe_tags(ResourceArns=arns[start : start + TAGGED_AT_ONCE])
            tags |= {each["ResourceArn"]: tag_dict(each["Tags"]) for each in answer["TagDescriptions"]}
        return {listener["Port"]: self._read(listener, tags) for listener in listeners}

    def _read(self, listener: Listener, tags: dict[str, dict[str, str]]) -> Listener:
        arn = listener["ListenerArn"]
        pages = self.elb.get_paginator("describe_rules").paginate(ListenerArn=arn)
        attributes = self.elb.describe_listener_attributes(ListenerArn=arn)["Attributes"]
        properties = {
            "arn": arn,
            "protocol": listener["Protocol"],
            "actions": [plain(action) for action in listener["DefaultActions"]],
            "rules": [rule["RuleArn"] for page in pages for rule in page["Rules"] if not rule["IsDefault"]],
            "attributes": tag_dict(attributes),
            "tags": tags.get(arn, {}),
        }
        if listener["Protocol"] == "HTTPS":
            default = [certificate["CertificateArn"] for certificate in listener.get("Certificates", [])][:1]
            properties |= {
                "ssl_policy": listener.get("SslPolicy"),
                "certificates": default + self._more_certificates(arn, default),
                "mutual_authentication": (listener.get("MutualAuthentication") or {}).get("Mode", "off"),
            }
        return properties

    def _more_certificates(self, arn: str, default: list[str]) -> list[str]:
        pages = self.elb.get_paginator("describe_listener_certificates").paginate(ListenerArn=arn)
        every = [each["CertificateArn"] for page in pages for each in page["Certificates"]]
        return sorted(set(every) - set(default))

    def wanted(self, listener: Listener, before: Listener) -> Listener:
        """What is asked for of a listener, in the form of `current`."""
        attributes = before.get("attributes", {})
        properties = {
            "protocol": listener["Protocol"],
            "actions": [plain(action) for action in listener["DefaultActions"]],
            "rules": [],
            "attributes": {name: default_attribute(name, value) for name, value in attributes.items()},
            "tags": before.get("tags", {}) if self.tags is None else self.tags,
        }
        if listener["Protocol"] == "HTTPS":
            properties |= {
                "ssl_policy": listener["SslPolicy"],
                "certificates": [certificate["CertificateArn"] for certificate in listener["Certificates"]],
                "mutual_authentication": "off",
            }
        return properties

    def create(self, listener: Listener) -> None:
        """Create one listener; what is there already by then is repaired."""
        request = dict(listener)
        if self.tags:
            request["Tags"] = tag_list(self.tags)

        def look() -> Any:
            return next(({"found": each} for each in self.described() if each["Port"] == listener["Port"]), None)

        answer = create(
            self.module,
            "elbv2",
            "create_listener",
            look,
            already=("DuplicateListener",),
            LoadBalancerArn=self.arn,
            **request,
        )
        if "found" in answer:
            before = self.current()[listener["Port"]]
            self.repair(listener, before, self.wanted(listener, before))

    def repair(self, listener: Listener, before: Listener, after: Listener) -> None:
        """Bring what differs from `before` to `after`."""
        arn = before["arn"]
        surplus = [each for each in before.get("certificates", [])[1:] if after["protocol"] == "HTTPS"]
        if surplus:
            self.elb.remove_listener_certificates(
                ListenerArn=arn, Certificates=[{"CertificateArn": certificate} for certificate in surplus]
            )
        if self._of_itself(before) != self._of_itself(after):
            request = dict(listener)
            if after["protocol"] == "HTTPS" and before.get("mutual_authentication", "off") != "off":
                request["MutualAuthentication"] = {"Mode": "off"}
            self.elb.modify_listener(ListenerArn=arn, **request)
        for rule in before["rules"]:
            self.elb.delete_rule(RuleArn=rule)
        setting, _ = tag_changes(before["attributes"], after["attributes"])
        if setting:
            self.elb.modify_listener_attributes(ListenerArn=arn, Attributes=tag_list(setting))
        setting, removing = tag_changes(before["tags"], after["tags"])
        if setting:
            self.elb.add_tags(ResourceArns=[arn], Tags=tag_list(setting))
        if removing:
            self.elb.remove_tags(ResourceArns=[arn], TagKeys=removing)

    @staticmethod
    def _of_itself(properties: Listener) -> list[Any]:
        keys = ("protocol", "actions", "ssl_policy", "mutual_authentication")
        return [*(properties.get(key) for key in keys), properties.get("certificates", [])[:1]]


def comparable(properties: Listener) -> Listener:
    """What is compared and shown: all but the listener's own ARN."""
    return {key: value for key, value in properties.items() if key != "arn"}


def problem(listeners: list[Listener]) -> str | None:
    """The sentence that refuses `listeners`, or None."""
    ports = [listener.get("Port") for listener in listeners]
    if len(set(ports)) < len(ports) or not all(isinstance(port, int) for port in ports):
        return "listeners needs a Port, a number, in each entry, and each number only once."
    for listener in listeners:
        needed = KEYS if listener.get("Protocol") == "HTTPS" else KEYS[:3]
        if set(listener) != set(needed) or len(listener.get("Certificates", [None])) != 1:
            return (
                f"The listener on port {listener['Port']} needs {', '.join(needed)}, nothing else, and one certificate."
            )
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_arn": {"type": "str", "required": True},
            "listeners": {"type": "list", "elements": "dict", "required": True},
            "tags": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    sentence = problem(module.params["listeners"])
    if sentence:
        module.fail_json(msg=sentence)
    listeners = Listeners(module)
    given = {listener["Port"]: listener for listener in module.params["listeners"]}
    with doing(module, f"read the listeners of {listeners.arn}"):
        before = listeners.current()
    after = {port: listeners.wanted(listener, before.get(port, {})) for port, listener in given.items()}
    steps: dict[str, list[int]] = {
        "create": sorted(set(given) - set(before)),
        "set": sorted(port for port in set(given) & set(before) if comparable(before[port]) != after[port]),
        "delete": sorted(set(before) - set(given)),
    }
    in_order = [(step, port) for step, ports in steps.items() for port in ports]
    for step, port in [] if module.check_mode else in_order:
        with doing(module, f"{step} the listener on port {port} of {listeners.arn}"):
            if step == "create":
                listeners.create(given[port])
            elif step == "set":
                listeners.repair(given[port], before[port], after[port])
            else:
                listeners.elb.delete_listener(ListenerArn=before[port]["arn"])
    changing = sorted(port for ports in steps.values() for port in ports)
    module.exit_json(
        changed=bool(changing),
        changed_ports=changing,
        diff=diff(
            {str(port): comparable(properties) for port, properties in before.items()},
            {str(port): properties for port, properties in after.items()},
        ),
    )


if __name__ == "__main__":
    main()
