"""Print every route of MLflow's app as JSON, [[method, path], ...]. The server's Python runs it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any


def routes(of: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of the routes of FastAPI, those of included routers too."""
    for one in of:
        if hasattr(one, "original_router"):
            yield from routes(one.original_router.routes, prefix + one.include_context.prefix)
        elif type(one).__name__ != "Mount":
            for method in getattr(one, "methods", None) or {type(one).__name__}:
                yield method, prefix + one.path


def main() -> None:
    app = importlib.import_module("mlflow.server.auth").create_app()
    flask = importlib.import_module("mlflow.server").app
    found = set(routes(app.routes))
    for rule in flask.url_map.iter_rules():
        found |= {(method, rule.rule) for method in rule.methods - {"HEAD", "OPTIONS"}}
    spelled = {(method, re.sub(r"<(?:path:)?(\w+)>|{(\w+)(?::path)?}", r"<\1\2>", path)) for method, path in found}
    print(json.dumps(sorted(spelled)))


if __name__ == "__main__":
    main()
