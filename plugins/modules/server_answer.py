"""Documentation of the action plugin of this name, where ansible-doc and ansible-lint look for it."""

from __future__ import annotations

DOCUMENTATION = """
module: server_answer
short_description: Ask a tracking server a question that only a working one can answer
description:
  - Searches the experiments, as the administrator where there is a login, until the answer is good or time is out.
    Every 15 seconds a line says how it is. It runs on the controller, honours its proxies, and changes nothing.
  - Where clients use a domain that does not resolve to the load balancer yet, the load balancer itself is asked with
    the domain's name, in TLS and in the request, and RV(record) is the DNS record to make. The certificate is verified
    for the domain in any case.
  - The password is read here and shown at no verbosity.
options:
  name:
    description: Name of the stack.
    type: str
    required: true
  url:
    description: Where to ask, scheme, host and maybe a port.
    type: str
    required: true
  host:
    description: Host name that clients use.
    type: str
    required: true
  load_balancer:
    description: DNS name of the load balancer.
    type: str
    required: true
  secret:
    description: Secret in Secrets Manager with the administrator's C(password). Without it nobody logs in.
    type: str
    default: ""
  region:
    description: AWS region of the secret.
    type: str
  timeout:
    description: Seconds after which asking again ends.
    type: int
    default: 600
author: The MLflow on Fargate team
"""

EXAMPLES = """
- name: Ask the server
  server_answer:
    name: team-a
    url: https://mlflow.example.com
    host: mlflow.example.com
    load_balancer: "{{ alb_load_balancer_dns_name }}"
    secret: mlflow/team-a/admin
    region: eu-west-1
  register: __verify_answer
"""

RETURN = """
msg:
  description: One sentence on the answer; with RV(record) another one.
  returned: always
  type: str
record:
  description: DNS record to make, from and to; null where the name resolves to the load balancer or is its own.
  returned: success
  type: dict
  sample: {name: mlflow.example.com, value: team-a-1.eu-west-1.elb.amazonaws.com}
waited_seconds:
  description: How long it took.
  returned: always
  type: int
"""


def main() -> None:
    """Never runs: the action plugin answers alone."""


if __name__ == "__main__":
    main()
