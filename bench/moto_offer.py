"""What moto leaves out of what an account has to offer: versions and classes of databases, certificates, quotas.

`fill()` patches moto's classes in place and may be called again; bench/moto_server.py does, and so do tests that run
modules in-process.
"""

from __future__ import annotations

from typing import Any

from moto.acm.models import CertBundle
from moto.core.responses import ActionResult
from moto.rds.responses import RDSResponse
from moto.servicequotas.models import ServiceQuotasBackend

VERSIONS = [f"{major}.{minor}" for major in range(13, 18) for minor in range(1, 11)]
CLASSES = [
    *(f"db.t{kind}.{size}" for kind in ("3", "4g") for size in ("micro", "small", "medium", "large")),
    *(f"db.{kind}.{size}" for kind in ("m5", "m7g", "r5", "r7g") for size in ("large", "xlarge", "2xlarge")),
]
# An account in which many stacks stand has had its quotas raised: the value by code; moto knows the defaults.
RAISED = {"L-F678F1CE": 100.0, "L-A4707A72": 100.0, "L-FE5A380F": 100.0, "L-0263D0A3": 100.0}


def fill() -> None:
    """Fill every gap, once in a process."""
    rds: Any = RDSResponse
    if getattr(rds, "_offer_filled", False):
        return
    rds._offer_filled = True
    rds.describe_db_engine_versions = _versions
    rds.describe_orderable_db_instance_options = _classes
    # AWS takes minutes to issue one, moto its first minute.
    bundle: Any = CertBundle
    make = bundle.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self.status = "ISSUED"

    bundle.__init__ = init


def raise_quotas() -> None:
    """Have RAISED in the place of the defaults."""
    backend: Any = ServiceQuotasBackend
    ask = backend.get_service_quota

    def get_service_quota(self: Any, service_code: str, quota_code: str) -> Any:
        if quota_code in RAISED:
            return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": RAISED[quota_code]}
        return ask(self, service_code, quota_code)

    backend.get_service_quota = get_service_quota


def _versions(self: Any) -> ActionResult:
    engine, version = self.params.get("Engine"), self.params.get("EngineVersion")
    known = [one for one in VERSIONS if engine == "postgres" and version in (None, one, one.split(".")[0])]
    return ActionResult({"DBEngineVersions": [{"Engine": engine, "EngineVersion": one} for one in known]})


def _classes(self: Any) -> ActionResult:
    engine, name = self.params.get("Engine"), self.params.get("DBInstanceClass")
    known = VERSIONS if engine == "postgres" and name in CLASSES else []
    options = [{"Engine": engine, "EngineVersion": one, "DBInstanceClass": name} for one in known]
    return ActionResult({"OrderableDBInstanceOptions": options})
