"""What the repository's own AWS modules share: one-sentence failures, tag lists, diffs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

try:
    from botocore import handlers
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
except ImportError:  # AnsibleAWSModule reports the missing library before anything here is used
    handlers = None

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
# The quota behind an error code: its name and its code, by which the Service Quotas console finds it.
QUOTAS = {
    "AddressLimitExceeded": "EC2-VPC Elastic IPs (L-0263D0A3)",
    "DBClusterQuotaExceededFault": "DB clusters (L-952B80B8)",
    "DBParameterGroupQuotaExceeded": "Parameter groups (L-DE55804A)",
    "DBSubnetGroupQuotaExceeded": "DB subnet groups (L-48C6BF61)",
    "FileSystemLimitExceeded": "File systems per account (L-848C634D)",
    "InstanceQuotaExceeded": "DB instances (L-7B6409FD)",
    "InternetGatewayLimitExceeded": "Internet gateways per Region (L-A4707A72)",
    "NatGatewayLimitExceeded": "NAT gateways per Availability Zone (L-FE5A380F)",
    "NetworkInterfaceLimitExceeded": "Network interfaces per Region (L-DF5E4CA3)",
    "RouteLimitExceeded": "Routes per route table (L-93826ACB)",
    "RouteTableLimitExceeded": "Route tables per VPC (L-589F43AA)",
    "RulesPerSecurityGroupLimitExceeded": "Inbound or outbound rules per security group (L-0EA8095F)",
    "SecurityGroupLimitExceeded": "VPC security groups per Region (L-E79EC296)",
    "SecurityGroupsPerInterfaceLimitExceeded": "Security groups per network interface (L-2AFB9258)",
    "SnapshotQuotaExceeded": "Manual DB instance snapshots (L-272F1212)",
    "StorageQuotaExceeded": "Total storage for all DB instances (L-7ADDB58A)",
    "SubnetLimitExceeded": "Subnets per VPC (L-407747CB)",
    "TooManyBuckets": "General purpose buckets (L-DC2B2D3D)",
    "TooManyListeners": "Listeners per Application Load Balancer (L-B6DF7632)",
    "TooManyLoadBalancers": "Application Load Balancers per Region (L-53DA6B97)",
    "TooManyTargetGroups": "Target Groups per Region (L-B22855CB)",
    "VpcEndpointLimitExceeded": (
        "Interface VPC endpoints per VPC (L-29B6F2EB), or Gateway VPC endpoints per Region (L-1B52E74A) for that of S3"
    ),
    "VpcLimitExceeded": "VPCs per Region (L-F678F1CE)",
}
# Services have more quotas than are named here.
ANY_QUOTA = re.compile(r"(LimitExceeded|QuotaExceeded)(Fault|Exception)?$|^TooMany(?!Requests)")
IAM_QUOTA = re.compile(r"Cannot exceed quota for (\w+)")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedException", "UnauthorizedOperation")
DENIED_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
# What denies an action although the login's own policies may allow it.
DENIED_BY = re.compile(
    r"(?:explicit deny in an? |because no )(permissions boundary|resource-based policy|resource control policy|"
    r"service control policy|session policy|VPC endpoint policy)"
)
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
REFUSAL = re.compile(r"An error occurred \((\w+)\) when calling the (\w+) operation[^:]*: (.*)", re.DOTALL)
# What AWS answers to a call that was carried out before: operations, and the codes that mean it.
REMOVALS = re.compile(r"^(Delete|Deregister|Detach|Disassociate|Release|Remove|Revoke|Untag)")
REMOVED = re.compile(r"NotFound|NotExist|NoSuch|NotAttached|NotActive|AlreadyDeleted")
ADDITIONS = re.compile(r"^(Attach|Authorize|CreateRoute$|PutParameter$)")
ADDED = ("InvalidPermission.Duplicate", "ParameterAlreadyExists", "Resource.AlreadyAssociated", "RouteAlreadyExists")


def done_before(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Take for carried out what AWS refuses as done already when botocore has repeated the call.

    The first attempt did it, and its answer got lost. Called by botocore after every call of whoever imports this file.
    """
    code = str(parsed.get("Error", {}).get("Code", ""))
    if not code or not parsed.get("ResponseMetadata", {}).get("RetryAttempts"):
        return
    if (REMOVALS.match(model.name) and _removed(code, parsed["Error"])) or (
        ADDITIONS.match(model.name) and code in ADDED
    ):
        del parsed["Error"]
        http_response.status_code = 200


def _removed(code: str, error: Mapping[str, Any]) -> bool:
    being_deleted = code == "InvalidDBInstanceState" and "already being deleted" in str(error.get("Message", ""))
    return bool(REMOVED.search(code)) or being_deleted


# Every session that is made from now on in this process has it; modules make theirs after they have imported this file.
if handlers is not None:
    handlers.BUILTIN_HANDLERS.append(("after-call", done_before))


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
    cause = f"{message.strip().rstrip('.')} ({code})" if message else code
    advice = remedy(code, message, getattr(error, "operation_name", ""))
    return f"{cause}; {advice}" if advice else cause


def remedy(code: str, message: str = "", operation: str = "") -> str:
    """Return what helps against AWS's refusal, as the end of a sentence without its stop; "" where nothing is known.

    Args:
        code: AWS's error code.
        message: AWS's sentence, which may name the action, the quota or the policy.
        operation: the operation that was called, such as "CreateVpc".
    """
    if code in EXPIRED:
        return "log in to AWS again and repeat the run"
    if code in DENIED:
        return _remedy_of_denial(message, operation)
    if "rate exceeded" in message.lower() or (code in THROTTLING and code != "LimitExceededException"):
        return "AWS was asked too often: repeat the run"
    if code not in QUOTAS and not ANY_QUOTA.search(code):
        return ""
    named = IAM_QUOTA.search(message)
    quota = QUOTAS.get(code) or (f"{named[1]} of IAM" if named else "that this names")
    return f"raise the quota {quota} in the Service Quotas console, or remove what uses it up, and repeat the run"


def _remedy_of_denial(message: str, operation: str) -> str:
    named, by = DENIED_ACTION.search(message), DENIED_BY.search(message)
    action = named[1] if named else operation or "what it asked for"
    if by:
        return f"a {by[1]} stands against {action}: whoever manages it has to allow that"
    return f"the login lacks {action}: attach to it the policies in policies/deployer/, which have it"


def explained(sentence: str, code: str = "") -> str:
    """Return a module's failure with what helps against it, once; `code` is AWS's error code where it is known."""
    refusal = REFUSAL.search(sentence)
    code = code or (refusal[1] if refusal else "")
    advice = remedy(code, refusal[3] if refusal else sentence, refusal[2] if refusal else "") if code else ""
    if not advice or advice in sentence:
        return sentence
    return f"{sentence.rstrip().rstrip('.')}; {advice}."


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
    """Return AWS's tag list as {"name": "value"}, without the `aws:` tags that only AWS may write.

    An empty value is left out on the way from some services.
    """
    return {tag["Key"]: tag.get("Value", "") for tag in tags or [] if not tag["Key"].startswith("aws:")}


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
