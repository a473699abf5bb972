"""What the repository's RDS modules share: patience in a new account, tags."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.mlflow_aws import ClientError, reason, tag_changes, tag_list

ROLE_ATTEMPTS = 18
ROLE_PAUSE_SECONDS = 10.0


def lacks_service_role(error: BaseException) -> bool:
    """Return whether RDS refused because the account has no service-linked role of RDS yet."""
    return "service linked role" in reason(error).replace("-", " ").lower()


def with_service_role(module: Any, call: Callable[[], Any]) -> Any:
    """Return `call()`, repeated for three minutes while RDS makes its service-linked role in a new account.

    The first call of an account starts that and is refused, although nobody has to do anything.
    """
    for attempt in range(ROLE_ATTEMPTS):
        try:
            answer = call()
        except ClientError as error:
            if not lacks_service_role(error) or attempt + 1 == ROLE_ATTEMPTS:
                raise
            time.sleep(ROLE_PAUSE_SECONDS)
            continue
        if attempt:
            waited = round(attempt * ROLE_PAUSE_SECONDS)
            module.warn(f"RDS had to make its service-linked role in this account first; waited {waited} s for it.")
        return answer
    return None


def retag(rds: Any, arn: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Bring the tags of the RDS resource `arn` from `before` to `after`."""
    setting, removing = tag_changes(before, after)
    if setting:
        rds.add_tags_to_resource(ResourceName=arn, Tags=tag_list(setting))
    if removing:
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=removing)
