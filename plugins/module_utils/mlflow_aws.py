"""What the repository's own AWS modules share: one-sentence failures, tag lists, diffs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
except ImportError:  # AnsibleAWSModule reports the missing library before anything here is used

    class BotoCoreError(Exception):  # type: ignore[no-redef]
        """Stands in for botocore's class where botocore is missing."""

    class ClientError(Exception):  # type: ignore[no-redef]
        """Stands in for botocore's class where botocore is missing."""

    class NoCredentialsError(Exception):  # type: ignore[no-redef]
        """Stands in for botocore's class where botocore is missing."""


CREATE_ATTEMPTS = 6
CREATE_PAUSE_SECONDS = 0.5
# How AWS's services say that they were asked too often.
THROTTLING = (
    "EC2ThrottledException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
)


def error_code(error: BaseException) -> str:
    """Return the AWS error code of `error`, or an empty string when AWS did not answer."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def reason(error: BaseException) -> str:
    """Return the cause of `error` as the end of a sentence, without its closing stop."""
    if isinstance(error, NoCredentialsError):
        return "there are no AWS credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    code = error_code(error)
    if not code:
        return str(error).rstrip(".")
    message = error.response.get("Error", {}).get("Message", "")  # type: ignore[attr-defined]
    return f"{message.strip().rstrip('.')} ({code})" if message else code


@contextmanager
def doing(module: Any, what: str) -> Iterator[None]:
    """Fail `module` with "Could not <what>: <cause>." when AWS refuses or cannot be reached."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        module.fail_json(msg=f"Could not {what}: {reason(error)}.", error={"code": error_code(error)})


def found(call: Any, *missing_codes: str, **arguments: Any) -> dict[str, Any] | None:
    """Return `call(**arguments)`, or None when AWS answers one of `missing_codes`."""
    try:
        return dict(call(**arguments))
    except ClientError as error:
        if error_code(error) in missing_codes:
            return None
        raise


def patiently(call: Any, *codes: str) -> Any:
    """Return `call`, repeated for a while when AWS throttles it or answers one of `codes`, as for what is new to it."""
    # Not every module that uses this file has to load it.
    from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

    return AWSRetry.jittered_backoff(retries=8, delay=1, catch_extra_error_codes=[*codes])(call)


def throttled(error: BaseException) -> bool:
    """Return whether AWS has refused a call only for its rate, so that nothing was done."""
    return error_code(error) in THROTTLING


def lost(error: BaseException) -> bool:
    """Return whether AWS may have done what it was asked although the answer is missing."""
    if not isinstance(error, ClientError):
        return isinstance(error, BotoCoreError)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 and not throttled(error)


def create(
    module: Any, service: str, operation: str, look: Callable[[], Any], already: Iterable[str] = (), **request: Any
) -> Any:
    """Create a resource once, also where AWS's answer gets lost on the way.

    botocore repeats a call without an answer by itself, and where AWS has no client token that makes a second resource.
    So the call goes through a client that never repeats, and before it is repeated here `look` says whether the
    resource is there.

    Args:
        module: the AnsibleAWSModule.
        service: boto3's name of the service, such as "ec2".
        operation: the client's method, such as "create_vpc".
        look: returns the resource that an earlier attempt has made, or None.
        already: error codes with which AWS says that the resource is there.
        request: arguments of the call.

    Returns:
        What `look` found, or AWS's answer as a dictionary.

    Raises:
        ClientError or BotoCoreError of the last attempt.
    """
    client = module.client(service, config={"retries": {"total_max_attempts": 1}})
    for attempt in range(CREATE_ATTEMPTS):
        try:
            return dict(getattr(client, operation)(**request))
        except (ClientError, BotoCoreError) as error:
            there = error_code(error) in already
            if not (there or lost(error) or throttled(error)):
                raise
            time.sleep(CREATE_PAUSE_SECONDS * 2**attempt)
            found = None if throttled(error) else look()
            if found is not None:
                return found
            if there or attempt + 1 == CREATE_ATTEMPTS:
                raise
    return None


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return {"name": "value"} as AWS's [{"Key": "name", "Value": "value"}]."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def tag_dict(tags: list[dict[str, str]] | None) -> dict[str, str]:
    """Return AWS's tag list as {"name": "value"}, without the `aws:` tags that only AWS may write."""
    return {tag["Key"]: tag["Value"] for tag in tags or [] if not tag["Key"].startswith("aws:")}


def tag_changes(current: Mapping[str, str], wanted: Mapping[str, str] | None) -> tuple[dict[str, str], list[str]]:
    """Return (tags to set, tag keys to remove); `wanted` None leaves the tags alone."""
    if wanted is None:
        return {}, []
    setting = {key: value for key, value in wanted.items() if current.get(key) != value}
    return setting, sorted(set(current) - set(wanted))


def retag_ec2(ec2: Any, resource: str, before: Mapping[str, str], after: Mapping[str, str] | None) -> None:
    """Bring the tags of one EC2 resource from `before` to `after`; `after` None leaves them alone."""
    setting, removing = tag_changes(before, after)
    if setting:
        ec2.create_tags(Resources=[resource], Tags=tag_list(setting))
    if removing:
        ec2.delete_tags(Resources=[resource], Tags=[{"Key": key} for key in removing])


def filters(**values: str | list[str]) -> list[dict[str, Any]]:
    """Return EC2's filters by name, such as `filters(**{"vpc-id": "vpc-1"})`."""
    return [{"Name": name, "Values": [value] if isinstance(value, str) else value} for name, value in values.items()]


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return what `--diff` prints: both states as sorted JSON, one property a line."""
    return {
        "before": json.dumps(before, indent=2, sort_keys=True) + "\n",
        "after": json.dumps(after, indent=2, sort_keys=True) + "\n",
    }
