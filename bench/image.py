"""How large the image is, how fast it starts and what it holds in memory: `python -m bench.image`.

Three images on one base (BASE_IMAGE, else the Dockerfile's own): slim, full, and one made as the systems are that this
repository is compared with: one stage, `pip install` of MLflow and drivers, root, MLflow's defaults. All are started
on one PostgreSQL whose schema exists. The figures go between the markers of docs/image.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import quote

from bench import machine
from local import config
from plugins.module_utils import mlflow_image
from scripts import generate_docs
from tests.image import engine as containers

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "image.md"
MARKERS = ("<!-- figures: start -->", "<!-- figures: end -->")
WORKERS = (1, 2, 4)
RUNS = 3
# So long a server has answered when its memory is read.
SETTLE_SECONDS = 10
SEED = "as the others"
# Proportional set size: a page that processes share counts once, in parts. This very process does not count.
MEMORY = r"""
import os, pathlib, re
total = 0
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if int(folder.name) != os.getpid():
        try:
            total += int(re.search(r"^Pss: +(\d+)", (folder / "smaps_rollup").read_text(), re.M)[1])
        except (OSError, TypeError):
            pass
print(total)
"""


class Size(NamedTuple):
    """Bytes above the base: in the engine, and as pushed."""

    plain: int
    packed: int


class Figure(NamedTuple):
    """One image with so many workers: seconds from `run` to the answer of /health, and MB (10^6 bytes) when idle."""

    image: str
    workers: str
    seconds: list[float]
    megabytes: list[float]


def sizes(engine: containers.Engine, image: str, base: str) -> Size:
    """Look into the layers that `image` has and `base` has not."""
    below = len(json.loads(engine.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", base)))
    plain = packed = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "image.tar")
        engine.run("save", "--output", str(file), image)
        with tarfile.open(file) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            for name in json.loads(manifest.read())[0]["Layers"][below:]:
                layer = archive.extractfile(name)
                assert layer is not None
                squeezer = zlib.compressobj(6)
                while block := layer.read(1 << 20):
                    plain += len(block)
                    packed += len(squeezer.compress(block))
                packed += len(squeezer.flush())
    return Size(plain, packed)


def make_seed(engine: containers.Engine, recipe: mlflow_image.Recipe, name: str) -> None:
    """Install MLflow and drivers with pip into the base and keep that as one layer, without the wheels."""
    python = mlflow_image.Engine(engine.command).python(recipe.base_image, recipe.platform)
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder, "wheels")
        mlflow_image.fetch_wheels(recipe.locks, python, mlflow_image.MACHINES[recipe.platform], wheels)
        # The versions of the lock, so that it is the way of making that differs.
        install = (
            "python3 -m venv /app && /app/bin/pip install --no-cache-dir --no-index --find-links /wheels"
            f" {' '.join(each.pinned for each in mlflow_image.applying(recipe.locks[0], python))}"
        )
        options = ("--network", "none", "--volume", f"{wheels}:/wheels:ro", "--entrypoint", "sh")
        with containers.container(engine, recipe.base_image, *options, command=("-c", install)) as container:
            if container.wait():
                raise containers.Failed(container.logs()[-2000:])
            engine.run("commit", "--change", 'ENTRYPOINT ["/app/bin/mlflow"]', container.name, name)


def measure(
    engine: containers.Engine, image: str, options: tuple[str, ...], env: Mapping[str, str], words: tuple[str, ...],
    port: int, user: str, python: str,
) -> tuple[float, float]:  # fmt: skip
    """Start a container once: (seconds until /health answers, MB when idle)."""
    begin = time.monotonic()
    with containers.container(engine, image, *options, command=words, env=env) as container:
        containers.wait_healthy(container, port, 600)
        seconds = time.monotonic() - begin
        time.sleep(SETTLE_SECONDS)
        done = container.exec(python, "-c", MEMORY, user=user)
        if done.returncode:
            raise containers.Failed(done.stderr)
        return seconds, int(done.stdout) * 1024 / 1e6


def figures(engine: containers.Engine, images: Mapping[str, str], runs: int) -> Iterable[Figure]:
    """Start every image with every number of workers; the seed's once, at MLflow's defaults."""
    port = config.free_port()
    with containers.certificates() as tls, containers.s3() as s3, containers.postgres(engine, tls) as database:
        env = containers.server_env(port, s3) | database.env
        options = (*containers.FARGATE, *containers.NETWORK, *containers.authority(tls))
        slim = images["slim"]
        # The first start makes the schema.
        measure(engine, slim, options, env, (), port, "10001:10001", "python")
        for name in ("slim", "full"):
            for workers in WORKERS:
                own = env | {"MLFLOW_WORKERS": str(workers)}
                done = [
                    measure(engine, images[name], options, own, (), port, "10001:10001", "python") for _ in range(runs)
                ]
                yield Figure(name, str(workers), *map(list, zip(*done, strict=True)))
        login = f"{database.user}:{quote(database.password, safe='')}"
        uri = f"postgresql+psycopg://{login}@localhost:{database.port}/{database.name}?sslmode=require"
        words: tuple[str, ...] = ("server", "--host", containers.HOST, "--port", str(port), "--backend-store-uri", uri)
        words += ("--default-artifact-root", s3.destination)
        seed_options = ("--init", *containers.NETWORK)
        done = [
            measure(engine, images[SEED], seed_options, s3.env, words, port, "0:0", "/app/bin/python")
            for _ in range(runs)
        ]
        yield Figure(SEED, "4, and jobs", *map(list, zip(*done, strict=True)))


def table(sized: Mapping[str, Size], found: Iterable[Figure], about: Mapping[str, str], base: str) -> str:
    """The figures as Markdown."""
    lines = ["| image | MB above the base | MB as pushed |", "|---|--:|--:|"]
    lines += [f"| {name} | {size.plain / 1e6:.0f} | {size.packed / 1e6:.0f} |" for name, size in sized.items()]
    lines += ["", "| image | workers | start, seconds | idle memory, MB |", "|---|---|--:|--:|"]
    rows = list(found)
    for row in rows:
        spread = f"{median(row.seconds):.1f} ({min(row.seconds):.1f} to {max(row.seconds):.1f})"
        lines.append(f"| {row.image} | {row.workers} | {spread} | {median(row.megabytes):.0f} |")
    first, seed = rows[0], rows[-1]
    slim, other = sized["slim"], sized[SEED]
    lines += [
        "",
        f"Slim with one worker against the image made as the others: {other.plain / slim.plain:.1f} times smaller, "
        f"{other.packed / slim.packed:.1f} times as pushed; {median(seed.seconds) / median(first.seconds):.1f} times "
        f"faster to start; {median(seed.megabytes) / median(first.megabytes):.1f} times less memory.",
        "",
        f"Medians of {len(first.seconds)} starts. Base: `{base}`. {about['processor']}, {about['memory']}, "
        f"{about['system']}; up to {about['busy']} of the machine was taken by others while it was measured.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Build, measure, write."""
    parser = argparse.ArgumentParser(description="Measure the image; writes docs/image.md.")
    parser.add_argument("--runs", type=int, default=RUNS, help="starts of each image")
    chosen = parser.parse_args()
    engine = containers.find_engine()
    images = {}
    for variant in mlflow_image.VARIANTS:
        # Not by containers.build, which keeps only the newest image of the tests.
        wanted = containers.recipe(engine, variant)
        images[variant] = f"mlflow-bench:{wanted.tag()}"
        mlflow_image.build(engine.command, wanted, images[variant])
    recipe = containers.recipe(engine, "full")
    images[SEED] = f"mlflow-bench:seed-{recipe.tag()}"
    if not engine.has(images[SEED]):
        make_seed(engine, recipe, images[SEED])
    sized = {name: sizes(engine, image, recipe.base_image) for name, image in images.items()}
    busy = machine.wait_until_quiet()
    found = []
    for figure in figures(engine, images, chosen.runs):
        print(figure, flush=True)
        found.append(figure)
    about = {**machine.description(), "busy": f"{max(busy, machine.share(1)):.0%}"}
    text = table(sized, found, about, re.sub(r"@.*", "", recipe.base_image))
    PAGE.write_text(generate_docs.replaced(PAGE.read_text(), MARKERS, f"{text}\n", PAGE))
    print(PAGE, flush=True)


if __name__ == "__main__":
    main()
