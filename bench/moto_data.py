"""What moto leaves out of the services that keep data: RDS, EFS, CloudWatch Logs and AWS Backup.

`fill()` patches moto's classes in place and may be called again; bench/moto_server.py does, and so do tests that run
modules in-process.
"""

from __future__ import annotations

import json
from typing import Any

from moto.backup import urls as backup_urls
from moto.backup.responses import BackupResponse
from moto.core.responses import ActionResult
from moto.efs import urls as efs_urls
from moto.efs.models import FileSystem
from moto.efs.responses import EFSResponse
from moto.logs.responses import LogsResponse
from moto.rds.models import DBInstance, DBParameterGroup, RDSBackend
from moto.rds.responses import RDSResponse

# Argument of CreateDBInstance or ModifyDBInstance: what DescribeDBInstances calls it, both in moto's spelling.
INSTANCE_NAMES = {
    "db_port_number": "port",
    "enable_performance_insights": "performance_insights_enabled",
    "performance_insights_retention_period": "performance_insights_retention_period",
    "database_insights_mode": "database_insights_mode",
    "dedicated_log_volume": "dedicated_log_volume",
    "network_type": "network_type",
}
JSON = {"Content-Type": "application/json"}


def fill() -> None:
    """Fill every gap, once in a process."""
    if getattr(DBInstance, "_gaps_filled", False):
        return
    instance: Any = DBInstance
    instance._gaps_filled = True
    _remember_instance_settings()
    _reset_parameters()
    _keep_subnet_groups()
    _change_file_systems()
    _forget_keys()
    _list_recovery_points()


def _remember_instance_settings() -> None:
    instance: Any = DBInstance
    make, update = instance.__init__, instance.update

    def learn(self: Any, given: dict[str, Any]) -> None:
        for name, described in INSTANCE_NAMES.items():
            if given.get(name) is not None:
                setattr(self, described, given[name])
        if given.get("enable_performance_insights") is False:
            self.performance_insights_retention_period = None

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        learn(self, {"enable_performance_insights": False, "database_insights_mode": "standard", **named})
        if not self.option_group_supplied:
            # AWS's groups are of a major version; moto's of the one that the instance began with.
            major = self.engine_version.split(".")[0]
            self.option_group_name = f"default:{self.engine}-{major}"

    def updated(self: Any, **named: Any) -> None:
        update(self, **named)
        learn(self, named)

    def remove_role_from_db_instance(self: Any) -> Any:
        (one,) = self.backend.describe_db_instances(self.params["DBInstanceIdentifier"])
        kept = [role for role in one._associated_roles if role.feature_name != self.params["FeatureName"]]
        one._associated_roles = kept
        return ActionResult({})

    instance.__init__, instance.update = init, updated
    response: Any = RDSResponse
    response.remove_role_from_db_instance = remove_role_from_db_instance


def _reset_parameters() -> None:
    group: Any = DBParameterGroup
    backend: Any = RDSBackend
    response: Any = RDSResponse
    change, describe = group.update_parameters, response.describe_db_parameters

    def update_parameters(self: Any, new_parameters: Any) -> None:
        change(self, [{**one, "Source": "user"} for one in new_parameters])

    def describe_db_parameters(self: Any) -> Any:
        answer, source = describe(self), self.params.get("Source")
        rows = answer.result["Parameters"]
        answer.result["Parameters"] = [row for row in rows if source in (None, row.get("Source"))]
        return answer

    def reset_db_parameter_group(self: Any) -> Any:
        name = self.params["DBParameterGroupName"]
        (found,) = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
        for one in self.params.get("Parameters") or []:
            found.parameters.pop(one["ParameterName"], None)
        return ActionResult({"DBParameterGroupName": name})

    assert not hasattr(backend, "reset_db_parameter_group")
    group.update_parameters, response.describe_db_parameters = update_parameters, describe_db_parameters
    response.reset_db_parameter_group = reset_db_parameter_group


def _keep_subnet_groups() -> None:
    backend: Any = RDSBackend
    modify = backend.modify_db_subnet_group

    def modify_db_subnet_group(self: Any, subnet_name: str, *arguments: Any, **named: Any) -> Any:
        # moto takes the group out and forgets to put it back.
        self.subnet_groups[subnet_name] = group = modify(self, subnet_name, *arguments, **named)
        return group

    backend.modify_db_subnet_group = modify_db_subnet_group


def _change_file_systems() -> None:
    response: Any = EFSResponse
    system: Any = FileSystem
    describe = system.info_json

    def of(self: Any) -> Any:
        return self.efs_backend.file_systems_by_id[self._get_param("FileSystemId")]

    def update_file_system(self: Any) -> Any:
        one = of(self)
        one.throughput_mode = self._get_param("ThroughputMode")
        one.provisioned_throughput_in_mibps = self._get_param("ProvisionedThroughputInMibps")
        return json.dumps(one.info_json()), JSON

    def update_file_system_protection(self: Any) -> Any:
        of(self).protection = self._get_param("ReplicationOverwriteProtection")
        return json.dumps({"ReplicationOverwriteProtection": of(self).protection}), JSON

    def put_backup_policy(self: Any) -> Any:
        policy = self._get_param("BackupPolicy")
        of(self)._backup = policy["Status"] == "ENABLED"
        return json.dumps({"BackupPolicy": policy}), JSON

    def delete_file_system_policy(self: Any) -> Any:
        of(self).file_system_policy = None
        return json.dumps({}), JSON

    def describe_replication_configurations(self: Any) -> Any:
        missing = {"ErrorCode": "ReplicationNotFound", "Message": "There is no replication."}
        return json.dumps(missing), {**JSON, "status": 404, "x-amzn-errortype": "ReplicationNotFound"}

    def info_json(self: Any) -> Any:
        protection = {"ReplicationOverwriteProtection": getattr(self, "protection", "ENABLED")}
        return {**describe(self), "FileSystemProtection": protection}

    for method in (
        update_file_system,
        update_file_system_protection,
        put_backup_policy,
        delete_file_system_policy,
        describe_replication_configurations,
    ):
        setattr(response, method.__name__, method)
    system.info_json = info_json
    for path in ("file-systems/replication-configurations", "file-systems/<file_system_id>/protection"):
        efs_urls.url_paths[f"/2015-02-01/{path}"] = efs_urls.response.dispatch


def _forget_keys() -> None:
    response: Any = LogsResponse

    def group(self: Any) -> Any:
        return self.logs_backend.groups[self._get_param("logGroupName")]

    def associate_kms_key(self: Any) -> str:
        group(self).kms_key_id = self._get_param("kmsKeyId")
        return "{}"

    def disassociate_kms_key(self: Any) -> str:
        group(self).kms_key_id = None
        return "{}"

    response.associate_kms_key, response.disassociate_kms_key = associate_kms_key, disassociate_kms_key


def _list_recovery_points() -> None:
    response: Any = BackupResponse
    response.list_recovery_points_by_resource = lambda self: json.dumps({"RecoveryPoints": []})
    path = "{0}/resources/(?P<resource_arn>.+)$"
    backup_urls.url_paths[path] = backup_urls.response.dispatch
