"""What S3 of moto has not: it takes no logging into a bucket whose policy has a statement for everybody."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from moto.s3.models import FakeBucket


def fill() -> None:
    """Fill the gap."""
    bucket: Any = FakeBucket
    permitted = bucket._log_permissions_enabled_policy

    def by_service(target_bucket: Any, target_prefix: str | None) -> bool:
        policy = json.loads(target_bucket.policy) if target_bucket.policy else {"Statement": []}
        named = [each for each in policy["Statement"] if isinstance(each.get("Principal"), dict)]
        seen = SimpleNamespace(
            policy=json.dumps({"Statement": named}).encode(),
            partition=target_bucket.partition,
            name=target_bucket.name,
        )
        answer: bool = permitted(target_bucket=seen, target_prefix=target_prefix)
        return answer

    bucket._log_permissions_enabled_policy = staticmethod(by_service)
