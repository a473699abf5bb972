"""What MiniStack leaves out and AWS does: details it forgets, a setting it does not know,
and the names of parameters when it asks for a right.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cryptography import x509
from ministack.core import iam_actions
from ministack.services import acm, alb, ec2, ecs, iam, rds

from local import ministack_rights


def fill() -> None:
    """Patch the services in place; once, before they serve."""
    _keep_flow_log_details()
    _name_parameters()
    _know_force_ssl()
    _keep_log_exports()
    _filter_endpoints()
    _keep_endpoint_details()
    _know_role_paths()
    ministack_rights.know_resources()
    ministack_rights.know_tags()
    ministack_rights.know_sources()
    _keep_service_settings()
    _know_listener_certificates()
    _offer_classes()
    _read_certificates()


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


def parameter_resource(body: bytes) -> str | None:
    """The path or the first name in a Parameter Store request, which rights are checked against; None without one."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return None
    if not isinstance(request, dict):
        return None
    name = request.get("Path") or next(iter(request.get("Names") or []), None)
    return str(name).strip("/") if name else None


def _name_parameters() -> None:
    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account: str
    ) -> str:
        found = str(extract(service, method, path, headers, body, query, region, account))
        name = parameter_resource(body) if service == "ssm" and found == "*" else None
        return f"arn:aws:ssm:{region}:{account}:parameter/{name}" if name else found

    iam_actions.extract_resource_arn = extract_resource_arn


def role_resource(arn: str, path: str) -> str:
    """The ARN of a role with its path, which rights are checked against on AWS; other ARNs as they are.

    `path` is what CreateRole names; a role that there is has its own.
    """
    head, kind, name = arn.partition(":role/")
    if not kind or "/" in name:
        return arn
    known = iam._roles.get(name) or {}
    return f"{head}:role{known.get('Path') or path or '/'}{name}"


def _know_role_paths() -> None:
    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account: str
    ) -> str:
        found = str(extract(service, method, path, headers, body, query, region, account))
        return role_resource(found, str(iam_actions._query_param(query, "Path") or "")) if service == "iam" else found

    iam_actions.extract_resource_arn = extract_resource_arn


# What MiniStack's services forget when they are made, or changed.
SERVICE_SETTINGS = ("availabilityZoneRebalancing", "enableECSManagedTags", "propagateTags", "serviceRegistries")


def service_settings(request: dict[str, Any]) -> dict[str, Any]:
    """What of a request of CreateService or UpdateService has to be kept in the service's record."""
    return {name: request[name] for name in SERVICE_SETTINGS if request.get(name) is not None}


def _keep_service_settings() -> None:
    handlers = _handlers(ecs, "UpdateService")

    def kept(call: Any, names: tuple[str, ...]) -> Any:
        def handler(data: dict[str, Any]) -> Any:
            answer = call(data)
            named = str(next((data[name] for name in names if data.get(name)), "")).rpartition("/")[2]
            cluster = str(data.get("cluster") or "default").rpartition("/")[2]
            service = ecs._services.get(f"{cluster}/{named}")
            # A refused call has changed nothing.
            if service is not None and answer[0] < 300:
                service.update(service_settings(data))
            return answer

        return handler

    handlers["CreateService"] = kept(handlers["CreateService"], ("serviceName",))
    handlers["UpdateService"] = kept(handlers["UpdateService"], ("service",))


def _know_force_ssl() -> None:
    defaults = rds._default_parameters_for_family

    def with_force_ssl(family: str) -> list[dict[str, Any]]:
        known = list(defaults(family))
        if family.startswith("postgres"):
            # Off, as up to PostgreSQL 14, so that a play that forgets it shows.
            known.append(
                {
                    "name": "rds.force_ssl",
                    "default": "0",
                    "description": "Force SSL connections",
                    "apply_type": "dynamic",
                    "data_type": "boolean",
                    "modifiable": True,
                }
            )
        return known

    rds._default_parameters_for_family = with_force_ssl


def _keep_log_exports() -> None:
    handlers = _handlers(rds, "CreateDBInstance")
    create, modify, describe = (handlers[f"{verb}DBInstance{'s' * (verb == 'Describe')}"] for verb in
                                ("Create", "Modify", "Describe"))  # fmt: skip

    def instance_of(params: dict[str, Any]) -> dict[str, Any]:
        return rds._instances.get(rds._p(params, "DBInstanceIdentifier")) or {}

    def create_db_instance(params: dict[str, Any]) -> Any:
        answer = create(params)
        instance_of(params)["EnabledCloudwatchLogsExports"] = rds._parse_member_list(
            params, "EnableCloudwatchLogsExports"
        )
        return answer

    def modify_db_instance(params: dict[str, Any]) -> Any:
        answer = modify(params)
        instance, change = instance_of(params), "CloudwatchLogsExportConfiguration"
        added = rds._parse_member_list(params, f"{change}.EnableLogTypes")
        gone = rds._parse_member_list(params, f"{change}.DisableLogTypes")
        before = [name for name in instance.get("EnabledCloudwatchLogsExports", []) if name not in gone]
        instance["EnabledCloudwatchLogsExports"] = [*dict.fromkeys([*before, *added])]
        return answer

    def describe_db_instances(params: dict[str, Any]) -> Any:
        status, headers, body = describe(params)
        text = body.decode() if isinstance(body, bytes) else body

        def with_exports(match: re.Match[str]) -> str:
            names = (rds._instances.get(match[1]) or {}).get("EnabledCloudwatchLogsExports", [])
            members = "".join(f"<member>{name}</member>" for name in names)
            empty = "<EnabledCloudwatchLogsExports/>"
            return match[0].replace(empty, f"{empty[:-2]}>{members}</{empty[1:-2]}>")

        instance = (
            r"<DBInstance>\s*<DBInstanceIdentifier>([\w-]+)</DBInstanceIdentifier>.*?<EnabledCloudwatchLogsExports/>"
        )
        text = re.sub(instance, with_exports, text, flags=re.DOTALL)
        return status, headers, text.encode() if isinstance(body, bytes) else text

    handlers["CreateDBInstance"] = create_db_instance
    handlers["ModifyDBInstance"] = modify_db_instance
    handlers["DescribeDBInstances"] = describe_db_instances


def endpoint_matches(endpoint: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    """Whether a VPC endpoint passes the filters that this project uses; a filter that is not known passes nothing."""
    known = {
        "vpc-id": endpoint["VpcId"],
        "service-name": endpoint["ServiceName"],
        "vpc-endpoint-state": endpoint["State"],
        "vpc-endpoint-type": endpoint["VpcEndpointType"],
    }
    asked = {name: values for name, values in filters.items() if not name.startswith("tag")}
    mine = all(known.get(name) in values for name, values in asked.items())
    return mine and bool(ec2._resource_matches_tag_filters(endpoint["VpcEndpointId"], filters))


def _keep_endpoint_details() -> None:
    handlers, fields = _handlers(ec2, "CreateVpcEndpoint"), ec2._vpce_fields_xml
    create, modify = handlers["CreateVpcEndpoint"], handlers["ModifyVpcEndpoint"]

    def keep(endpoint: dict[str, Any], params: dict[str, Any], added: str, gone: str = "") -> None:
        left = set(ec2._parse_member_list(params, gone)) if gone else set()
        groups = [*endpoint.get("Groups", []), *ec2._parse_member_list(params, added)]
        endpoint["Groups"] = [group for group in dict.fromkeys(groups) if group not in left]
        names = ec2._p(params, "PrivateDnsEnabled") or endpoint.get("PrivateDnsEnabled")
        endpoint["PrivateDnsEnabled"] = names or str(endpoint["VpcEndpointType"] == "Interface").lower()

    def create_vpc_endpoint(params: dict[str, Any]) -> Any:
        known = set(ec2._vpc_endpoints)
        create(params)
        for name in set(ec2._vpc_endpoints) - known:
            keep(ec2._vpc_endpoints[name], params, "SecurityGroupId")
            answer = ec2._vpce_fields_xml(ec2._vpc_endpoints[name], tag="vpcEndpoint")
        return ec2._xml(200, "CreateVpcEndpointResponse", answer)

    def modify_vpc_endpoint(params: dict[str, Any]) -> Any:
        endpoint = ec2._vpc_endpoints.get(ec2._p(params, "VpcEndpointId"))
        if endpoint:
            keep(endpoint, params, "AddSecurityGroupId", "RemoveSecurityGroupId")
        return modify(params)

    def vpce_fields_xml(endpoint: dict[str, Any], tag: str = "item") -> str:
        groups = "".join(f"<item><groupId>{name}</groupId></item>" for name in endpoint.get("Groups", []))
        more = f"<groupSet>{groups}</groupSet><privateDnsEnabled>{endpoint.get('PrivateDnsEnabled', 'false')}"
        end = f"</{tag}>"
        return str(fields(endpoint, tag)).replace(end, f"{more}</privateDnsEnabled>{end}")

    handlers["CreateVpcEndpoint"], handlers["ModifyVpcEndpoint"] = create_vpc_endpoint, modify_vpc_endpoint
    ec2._vpce_fields_xml = vpce_fields_xml


def _filter_endpoints() -> None:
    handlers = _handlers(ec2, "DescribeVpcEndpoints")
    describe = handlers["DescribeVpcEndpoints"]

    def describe_vpc_endpoints(params: dict[str, Any]) -> Any:
        filters = ec2._parse_filters(params)
        asked = set(ec2._parse_member_list(params, "VpcEndpointId")) or set(ec2._vpc_endpoints)
        left = [one for one in asked & set(ec2._vpc_endpoints) if endpoint_matches(ec2._vpc_endpoints[one], filters)]
        # An identifier that nobody has, for an empty list would ask for all.
        names = {f"VpcEndpointId.{at}": [name] for at, name in enumerate(sorted(left) or ["vpce-none"], 1)}
        others = {name: value for name, value in params.items() if not name.startswith("VpcEndpointId.")}
        return describe({**others, **names} if filters else params)

    handlers["DescribeVpcEndpoints"] = describe_vpc_endpoints


def _know_listener_certificates() -> None:
    more = "MoreCertificates"  # in MiniStack's record of a listener, so that it goes with it

    def of_listener(change: Any) -> Any:
        def handler(params: dict[str, Any]) -> Any:
            action = alb._p(params, "Action")
            listener = alb._listeners.get(alb._p(params, "ListenerArn"))
            if not listener:
                return alb._error("ListenerNotFound", "One or more listeners not found")
            listener[more] = change(listener.get(more, []), alb._parse_certificate_arns(params))
            shown = [(arn, "true") for arn in listener.get("Certificates", [])]
            shown += [(arn, "false") for arn in listener[more]]
            members = "".join(
                f"<member><CertificateArn>{arn}</CertificateArn><IsDefault>{default}</IsDefault></member>"
                for arn, default in shown
            )
            return alb._xml(200, action, f"<Certificates>{members}</Certificates>")

        return handler

    handlers = _handlers(alb, "CreateListener")
    handlers["DescribeListenerCertificates"] = of_listener(lambda known, _: known)
    handlers["AddListenerCertificates"] = of_listener(lambda known, given: [*dict.fromkeys([*known, *given])])
    handlers["RemoveListenerCertificates"] = of_listener(
        lambda known, given: [arn for arn in known if arn not in given]
    )


CLASS = re.compile(r"db\.(t[234]g?|[mrx]\d+\w*)\.(micro|small|medium|large|\d*xlarge)")


def _offer_classes() -> None:
    """Every class that AWS could have is on offer for every version that there is."""
    handlers = _handlers(rds, "DescribeOrderableDBInstanceOptions")

    def describe_orderable_db_instance_options(params: dict[str, Any]) -> Any:
        engine, name = rds._p(params, "Engine"), rds._p(params, "DBInstanceClass")
        body = handlers["DescribeDBEngineVersions"]({"Engine": [engine]})[2]
        known = re.findall(r"<EngineVersion>([\d.]+)<", body.decode() if isinstance(body, bytes) else body)
        offered = known if CLASS.fullmatch(name) else []
        options = "".join(
            f"<OrderableDBInstanceOption><Engine>{engine}</Engine><EngineVersion>{version}</EngineVersion>"
            f"<DBInstanceClass>{name}</DBInstanceClass></OrderableDBInstanceOption>"
            for version in offered
        )
        result = f"<OrderableDBInstanceOptions>{options}</OrderableDBInstanceOptions>"
        answer = "DescribeOrderableDBInstanceOptions"
        return rds._xml(200, f"{answer}Response", f"<{answer}Result>{result}</{answer}Result>")

    handlers["DescribeOrderableDBInstanceOptions"] = describe_orderable_db_instance_options


def _read_certificates() -> None:
    """A certificate that is imported is for the names in it."""
    take = acm._import_certificate

    def import_certificate(data: dict[str, Any]) -> Any:
        answer = take(data)
        body = acm._decode_pem_field(data.get("Certificate"))
        if answer[0] == 200 and "BEGIN CERTIFICATE" in body:
            extensions = x509.load_pem_x509_certificate(body.encode()).extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.DNSName
            )
            kept = acm._certificates[json.loads(answer[2])["CertificateArn"]]
            kept |= {"DomainName": names[0], "SubjectAlternativeNames": names}
        return answer

    acm._import_certificate = import_certificate


def _handlers(service: Any, action: str) -> dict[str, Any]:
    return next(value for value in vars(service).values() if isinstance(value, dict) and action in value)
