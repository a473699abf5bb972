"""What MiniStack forgets and AWS reports; without it a second run of the play would see drift that is not there."""

from __future__ import annotations

import re
from typing import Any

from ministack.services import ec2


def fill() -> None:
    """Patch the service in place; once, before it serves."""
    _keep_flow_log_details()


def _keep_flow_log_details() -> None:
    create, describe = ec2._create_flow_logs, ec2._describe_flow_logs

    def create_flow_logs(params: dict[str, Any]) -> Any:
        known = set(ec2._flow_logs)
        answer = create(params)
        for flow_log_id in set(ec2._flow_logs) - known:
            ec2._flow_logs[flow_log_id]["DeliverLogsPermissionArn"] = ec2._p(params, "DeliverLogsPermissionArn")
            ec2._parse_tag_specs(params, "vpc-flow-log", flow_log_id)
        return answer

    def describe_flow_logs(params: dict[str, Any]) -> Any:
        status, headers, body = describe(params)
        text = body.decode() if isinstance(body, bytes) else body

        def with_role(match: re.Match[str]) -> str:
            record = ec2._flow_logs.get(match[1]) or {}
            role = record.get("DeliverLogsPermissionArn", "")
            return f"{match[0]}<deliverLogsPermissionArn>{role}</deliverLogsPermissionArn>"

        text = re.sub(r"<flowLogId>(fl-\w+)</flowLogId>", with_role, text)
        return status, headers, text.encode() if isinstance(body, bytes) else text

    handlers = _handlers(ec2, "CreateFlowLogs")
    handlers["CreateFlowLogs"] = create_flow_logs
    handlers["DescribeFlowLogs"] = describe_flow_logs


def _handlers(service: Any, action: str) -> dict[str, Any]:
    return next(value for value in vars(service).values() if isinstance(value, dict) and action in value)
