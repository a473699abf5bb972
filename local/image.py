"""The local registry: docker/ copied to a folder named by its digest."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from local import config

SKIPPED = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}


def contents(source: Path) -> list[Path]:
    """The files of an image, as paths relative to `source`, in order."""
    found = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted((path for path in found if not SKIPPED & set(path.parts)), key=lambda path: path.as_posix())


def digest(source: Path) -> str:
    """SHA-256 (hex) over the sorted relative paths and the contents of `source`."""
    total = hashlib.sha256()
    for path in contents(source):
        body = (source / path).read_bytes()
        total.update(f"{path.as_posix()}\0{len(body)}\0".encode() + body)
    return total.hexdigest()


def publish(source: Path = config.ROOT / "docker", registry: Path = config.IMAGES, ca: Path | None = None) -> str:
    """Copy `source` and the database's authority into `registry`; returns the reference name@sha256:digest."""
    if not (source / "entrypoint.py").is_file():
        raise config.Trouble("docker/entrypoint.py is missing: this checkout is not complete.")
    value = digest(source)
    target = registry / value
    if not target.is_dir():
        registry.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=registry, prefix=".staging-"))
        for path in contents(source):
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, staging / path)
        shutil.copyfile(ca or config.TLS / "ca.pem", staging / "rds-ca.pem")
        staging.chmod(0o755)
        staging.rename(target)
    return f"{config.IMAGE_NAME}@sha256:{value}"


def pull(reference: str, registry: Path = config.IMAGES) -> Path:
    """The folder of the image `reference`. Raises Trouble where the registry does not have it."""
    folder = registry / reference.rpartition("@sha256:")[2]
    if "@sha256:" not in reference or not (folder / "entrypoint.py").is_file():
        raise config.Trouble(f"CannotPullContainerError: {reference} is not in the local registry.")
    return folder
