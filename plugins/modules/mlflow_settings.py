"""Documentation of the action plugin of this name, where ansible-doc and ansible-lint look for it."""

from __future__ import annotations

DOCUMENTATION = """
module: mlflow_settings
short_description: Check and type the settings of a stack
description:
  - Reads every C(mlflow_*) variable of the host, checks it against role preflight's argument spec and the rules between
    variables, checks this machine and the AWS login, and returns the typed settings.
  - Runs on the controller. Its only call to AWS is one sts:GetCallerIdentity. Where no C(mlflow_account_id) is set, one
    ssm:GetParameters follows, to say whether the stack was deployed in that account before.
options: {}
author: The MLflow on Fargate team
"""

EXAMPLES = """
- name: Check the settings
  mlflow_settings:
  register: __preflight_settings
"""

RETURN = """
mlflow:
  description: The settings without their prefix, and what follows from them.
  returned: success
  type: dict
"""


def main() -> None:
    """Never runs: the action plugin answers alone."""


if __name__ == "__main__":
    main()
