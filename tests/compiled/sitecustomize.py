"""Keep the compiled form of what Python imports from a zip archive.

Ansible hands every module to a new interpreter inside a zip, from which Python compiles some eighty files each time,
about a third of a task's CPU. With this folder on PYTHONPATH and ZIP_CODE_CACHE naming a folder, code is compiled once
for each text of a file. Only the scenario uses it; what is deployed with runs without.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import zipimport
from pathlib import Path
from types import CodeType

_compile = zipimport._compile_source  # type: ignore[attr-defined]


def _cached(pathname: str, source: bytes) -> CodeType:
    """The code of `source`, compiled now or earlier; tracebacks name the file where it was compiled first."""
    key = hashlib.sha256(source + pathname.rpartition(".zip/")[2].encode()).hexdigest()
    kept = Path(os.environ["ZIP_CODE_CACHE"], key)
    try:
        return marshal.loads(kept.read_bytes())  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError, TypeError):
        code: CodeType = _compile(pathname, source)
    staging = kept.with_suffix(f".{os.getpid()}")
    staging.write_bytes(marshal.dumps(code))
    staging.replace(kept)
    return code


if os.environ.get("ZIP_CODE_CACHE"):
    zipimport._compile_source = _cached  # type: ignore[attr-defined]
