"""The MLflow image: what it is made from, its content tag, and how a container engine makes, pushes and copies it.

Needs no Ansible and no AWS. Everything that fails raises `ImageError`, whose text is one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

VARIANTS = ("slim", "full")
# Architecture as ECS names it: platform as container engines name it.
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
# Platform: machine as wheels name it.
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
# AWS's CA bundles of RDS, by partition.
CA_BUNDLES = {
    "aws": "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
    "aws-us-gov": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem",
    "aws-cn": "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem",
}
SBOM = "/opt/mlflow/sbom.cdx.json"
PYTHON_LEAST = (3, 11)

LONG_SECONDS = 1800
SHORT_SECONDS = 120
TAIL_LINES = 20

# What markers of the lock and tags of wheels depend on, asked of the base's own Python.
ASK_PYTHON = """
import json, os, platform, sys
v = sys.implementation.version
print(json.dumps({
    "implementation_name": sys.implementation.name,
    "implementation_version": ".".join(map(str, v[:3])),
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": "",
    "platform_system": platform.system(),
    "platform_version": "",
    "python_full_version": platform.python_version(),
    "python_version": "%d.%d" % sys.version_info[:2],
    "sys_platform": sys.platform,
    "glibc": platform.libc_ver()[1],
}))
"""


class ImageError(Exception):
    """The text is one sentence; `output` holds the last lines of the command that failed."""

    def __init__(self, sentence: str, output: str = "") -> None:
        """Keep both."""
        super().__init__(sentence)
        self.output = output


# --- what the image is made from ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """All that decides what is in the image.

    `folder` holds the Dockerfile; `base` is "" for the Dockerfile's own; `variant` is one of VARIANTS; `platform` is
    one of PLATFORMS' values; `ca_bundle` is the path of a PEM file or an https URL.
    """

    folder: Path
    base: str = ""
    variant: str = "slim"
    platform: str = PLATFORMS["x86_64"]
    ca_bundle: str = CA_BUNDLES["aws"]

    @cached_property
    def files(self) -> dict[str, bytes]:
        """What goes into the build beside CA bundle and wheels: content by name."""
        folder = Path(self.folder)
        locks = [f"requirements-{self.variant}.txt", "requirements-sbom.txt"]
        names = ["Dockerfile", *sorted(file.name for file in folder.glob("*.py")), *locks]
        try:
            return {name: (folder / name).read_bytes() for name in names}
        except OSError as error:
            raise ImageError(f"Cannot read {error.filename}: {error.strerror}.") from error

    @property
    def base_image(self) -> str:
        """The base by name."""
        if self.base:
            return self.base
        found = re.search(rb"^ARG BASE_IMAGE=(\S+)", self.files["Dockerfile"], re.MULTILINE)
        if not found:
            raise ImageError(f"{self.folder}/Dockerfile names no base: give it a line ARG BASE_IMAGE=<image>.")
        return found[1].decode()

    def tag(self) -> str:
        """The tag by content, such as slim-amd64-0f4c...; the same content has the same tag on every machine.

        A CA bundle given as a URL counts by the URL: nothing is fetched here.
        """
        bundle = self.ca_bundle if is_url(self.ca_bundle) else hashlib.sha256(self._bundle_file()).hexdigest()
        told = [
            self.base_image,
            self.variant,
            self.platform,
            bundle,
            {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()},
        ]
        total = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return f"{self.variant}-{self.platform.partition('/')[2]}-{total[:20]}"

    def bundle(self) -> bytes:
        """The CA bundle, fetched where it is a URL."""
        if not is_url(self.ca_bundle):
            return self._bundle_file()
        try:
            with urllib.request.urlopen(self.ca_bundle, timeout=30) as answer:
                content = bytes(answer.read(8 << 20))
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", error)
            raise ImageError(
                f"Cannot fetch the CA bundle of RDS from {self.ca_bundle} ({cause}): let this machine reach it, or "
                "fetch it elsewhere and give its path."
            ) from error
        return self._checked(content)

    @property
    def locks(self) -> list[list[Requirement]]:
        """What each lock asks for, for every platform."""
        return [parse_lock(text.decode()) for name, text in self.files.items() if name.startswith("requirements-")]

    def _bundle_file(self) -> bytes:
        try:
            return self._checked(Path(self.ca_bundle).expanduser().read_bytes())
        except OSError as error:
            raise ImageError(f"Cannot read the CA bundle {self.ca_bundle}: {error.strerror}.") from error

    def _checked(self, content: bytes) -> bytes:
        if b"-----BEGIN CERTIFICATE-----" not in content:
            raise ImageError(f"The CA bundle {self.ca_bundle} holds no certificate: give a file in PEM form.")
        return content


def is_url(place: str) -> bool:
    """Whether it is an address and no path."""
    return place.startswith("https://")


def copy_tag(source: str, platform: str) -> str:
    """The tag of a copy of `source`, <name>@sha256:<digest>, for one platform."""
    return f"copy-{platform.partition('/')[2]}-{source.rpartition(':')[2][:20]}"


# --- wheels ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requirement:
    """One line of a lock: <name>==<version>, its marker or "", and its hashes (SHA-256, hexadecimal)."""

    pinned: str
    marker: str
    hashes: frozenset[str]

    def line(self) -> str:
        """The line for pip, without the marker."""
        return " ".join([self.pinned, *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


def parse_lock(text: str) -> list[Requirement]:
    """The requirements of a lock with hashes."""
    found = []
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)(^|\s)#.*$", "", text)).splitlines():
        words = line.split(" --hash=")
        pinned, _, marker = words[0].partition(";")
        if pinned.strip():
            hashes = frozenset(word.strip().removeprefix("sha256:") for word in words[1:])
            found.append(Requirement(pinned.strip(), marker.strip(), hashes))
    return found


def applying(requirements: Iterable[Requirement], python: Mapping[str, str]) -> list[Requirement]:
    """Those whose marker holds for `python`, without repeats."""
    # pip would ask the markers of this machine.
    from packaging.markers import Marker

    fitting = (each for each in requirements if not each.marker or Marker(each.marker).evaluate(dict(python)))
    return list(dict.fromkeys(fitting))


def wheel_options(python: Mapping[str, str], machine: str) -> list[str]:
    """pip's options for the wheels that such a Python takes."""
    glibc = int(python["glibc"].split(".")[1])
    legacy = ["manylinux2014", "manylinux2010", "manylinux1"] if machine == "x86_64" else ["manylinux2014"]
    platforms = [f"manylinux_2_{minor}" for minor in range(glibc, 4, -1)] + legacy
    version = python["python_version"]
    options = ["--python-version", version, "--implementation", "cp", "--abi", "cp" + version.replace(".", "")]
    return options + [word for each in platforms for word in ("--platform", f"{each}_{machine}")]


def cache_folder() -> Path | None:
    """Where wheels are kept for the next build, or None where nothing can be kept."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "mlflow-fargate" / "wheels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def home() -> Path:
    """The user's folder; one that is missing where there is none."""
    return Path(os.environ.get("HOME") or "/nonexistent")


def fetch_wheels(locks: Iterable[Iterable[Requirement]], python: Mapping[str, str], machine: str, to: Path) -> None:
    """Put the wheels of `locks` into the folder `to`, which is made. What is cached is not fetched again.

    Args:
        locks: as `Recipe.locks` has them.
        python: the Python they are for, as `Engine.python` returns it.
        machine: one of MACHINES' values.
        to: a folder that is empty or missing.
    """
    to.mkdir(parents=True, exist_ok=True)
    root = cache_folder()
    cache = root / f"cp{python['python_version']}-glibc{python['glibc']}-{machine}" if root else to
    cache.mkdir(exist_ok=True)
    # Each lock by itself: two of them may hold one package in two versions.
    for lock in locks:
        wanted = applying(lock, python)
        known = hashed(cache)
        missing = [each for each in wanted if not each.hashes & known.keys()]
        if missing:
            download(missing, wheel_options(python, machine), cache)
            known = hashed(cache)
        for digest in {digest for each in wanted for digest in each.hashes & known.keys()}:
            link_or_copy(known[digest], to / known[digest].name)


def hashed(folder: Path) -> dict[str, Path]:
    """The wheels of `folder` by SHA-256."""
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in sorted(folder.glob("*.whl"))}


def download(requirements: Iterable[Requirement], options: list[str], to: Path) -> None:
    """Fetch with this interpreter's pip, which knows this user's index, proxy and CA."""
    # Another run may use the same cache at the same time, so nothing unfinished is ever seen there.
    with tempfile.TemporaryDirectory(dir=to, prefix=".fetching-") as folder:
        lock = Path(folder) / "lock.txt"
        lock.write_text("".join(f"{each.line()}\n" for each in requirements))
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        fixed = [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--dest",
            folder,
            "--requirement",
            str(lock),
        ]
        done = call([*pip, *fixed, *options], LONG_SECONDS, "pip could not fetch the image's Python packages")
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            reason = tail(errors[0]).removeprefix("ERROR: ").rstrip(".") if errors else last_line(done.stderr)
            if "No module named pip" in reason:
                remedy = "install pip for that Python"
            else:
                remedy = "let this machine reach a package index, as pip's configuration names it"
            raise ImageError(
                f"Cannot fetch the image's Python packages with {sys.executable} -m pip ({reason}): {remedy}, then run "
                "again.",
                tail(done.stderr),
            )
        for wheel in Path(folder).glob("*.whl"):
            wheel.replace(to / wheel.name)


def link_or_copy(source: Path, target: Path) -> None:
    """The file once more, without its bytes where the file system allows it."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# --- the engine -----------------------------------------------------------------------------------------------------


class Engine:
    """A container engine's command line, docker or podman, by name or path."""

    def __init__(self, command: str) -> None:
        """Raises ImageError where there is none or it does not answer."""
        path = shutil.which(os.path.expanduser(command))
        if not path:
            raise ImageError(f"There is no command {command} on this machine: install it, or choose another engine.")
        self.command = path
        self.name = Path(command).name
        said = self._call(["--version"], SHORT_SECONDS, "say what it is").stdout.lower()
        # Where podman stands in for docker, the command is named docker.
        self.is_podman = "podman" in said
        if not self.is_podman and "docker" not in said:
            raise ImageError(f"{command} is neither docker nor podman: choose one of these.")
        ask = ["info", "--format", "{{.Host.Arch}}"] if self.is_podman else ["version", "--format", "{{.Server.Arch}}"]
        done = self._call(ask, SHORT_SECONDS, "answer")
        if done.returncode:
            reason = last_line(done.stderr)
            raise ImageError(f"{self.name} does not answer ({reason}): start it, or allow this user to use it.")
        # As platforms name it, such as amd64.
        self.machine = done.stdout.strip()

    def run(self, *words: str, doing: str, input: str = "", seconds: int = SHORT_SECONDS) -> str:
        """Run the engine's command and return what it prints.

        Raises ImageError, "<name> could not <doing>: <last line>.", when it fails or takes longer than `seconds`.
        """
        done = self._call(list(words), seconds, doing, input)
        if done.returncode:
            both = f"{done.stdout}\n{done.stderr}"
            reason = last_line(done.stderr) or last_line(done.stdout) or f"exit status {done.returncode}"
            raise ImageError(f"{self.name} could not {doing}: {reason.rstrip('.')}.", tail(both))
        return done.stdout

    def _call(self, words: list[str], seconds: int, doing: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return call([self.command, *words], seconds, f"{self.name} could not {doing}", input)

    def id(self, image: str) -> str:
        """The id of a local image. Raises ImageError when there is none."""
        return self.run("image", "inspect", "--format", "{{.Id}}", image, doing=f"find {image}").strip()

    def python(self, base: str, platform: str) -> dict[str, str]:
        """What the base's Python says of itself: the variables of markers, and `glibc`, its version."""
        words = ["run", "--rm", "--network", "none", "--platform", platform, "--entrypoint", "python3", base]
        what = f"run the base image {base} for {platform}"
        answer = self.run(*words, "-c", ASK_PYTHON, doing=what, seconds=LONG_SECONDS)
        try:
            python: dict[str, str] = json.loads(answer.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise ImageError(f"The base image {base} has no usable python3.", tail(answer)) from error
        if tuple(map(int, python["python_version"].split("."))) < PYTHON_LEAST:
            least = ".".join(map(str, PYTHON_LEAST))
            raise ImageError(f"The base image {base} has Python {python['python_version']}: take one with {least}.")
        if not python["glibc"]:
            raise ImageError(
                f"The base image {base} has no glibc: take one made from Debian, such as python:3.13-slim."
            )
        return python

    def sbom(self, image: str) -> bytes:
        """The image's list of packages, CycloneDX in JSON."""
        container = self.run("create", image, doing=f"open {image}").strip().splitlines()[-1]
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "sbom.json"
                self.run("cp", f"{container}:{SBOM}", str(file), doing=f"copy {SBOM} out of {image}")
                return file.read_bytes()
        finally:
            self.run("rm", container, doing=f"remove the container of {image}")

    @contextmanager
    def login(self, registry: str, user: str, password: str) -> Iterator[Registry]:
        """Log in to a registry, http://host or https://host, for as long as the context lasts.

        The login is kept in a folder of its own, which is removed: nothing of it reaches the user's own configuration.
        """
        with tempfile.TemporaryDirectory(prefix="mlflow-image-") as folder:
            session = Registry(self, registry, Path(folder))
            session.login(user, password)
            try:
                yield session
            finally:
                session.logout()


class Registry:
    """A registry that the engine is logged in to."""

    def __init__(self, engine: Engine, address: str, folder: Path) -> None:
        """Prepare the folder of the login."""
        self.engine = engine
        scheme, _, self.host = address.rstrip("/").rpartition("://")
        self._before: list[str] = []
        self._after: list[str] = []
        if engine.is_podman:
            self._after = ["--authfile", str(folder / "auth.json")]
            if scheme == "http":
                self._after.append("--tls-verify=false")
        else:
            # docker finds its engine, its proxy and its plugins by the same folder.
            borrow_docker_config(folder)
            self._before = ["--config", str(folder)]

    def login(self, user: str, password: str) -> None:
        """Log in; the password goes through standard input."""
        words = ["--username", user, "--password-stdin", self.host]
        self._run("login", *words, doing=f"log in to {self.host}", input=password)

    def logout(self) -> None:
        """Forget the login."""
        words = ["--authfile", self._after[1]] if self.engine.is_podman else []
        self.engine.run(*self._before, "logout", *words, self.host, doing=f"log out of {self.host}")

    def push(self, image: str) -> None:
        """Push a local image, whose name starts with the registry's host."""
        self._run("push", image, doing=f"push {image}", seconds=LONG_SECONDS)

    def pull(self, image: str, platform: str) -> None:
        """Pull an image of this registry."""
        self._run("pull", "--platform", platform, image, doing=f"pull {image}", seconds=LONG_SECONDS)

    def _run(self, verb: str, *words: str, **options: Any) -> None:
        self.engine.run(*self._before, verb, *self._after, *words, **options)


def borrow_docker_config(folder: Path) -> None:
    """Make `folder` docker's configuration of this user without any login."""
    own = Path(os.environ.get("DOCKER_CONFIG") or home() / ".docker")
    config: dict[str, Any] = {}
    if own.is_dir():
        for entry in own.iterdir():
            if entry.name != "config.json":
                (folder / entry.name).symlink_to(entry)
        try:
            config = json.loads((own / "config.json").read_text())
        except (OSError, ValueError):
            config = {}
    kept = {key: value for key, value in config.items() if key not in ("auths", "credsStore", "credHelpers")}
    (folder / "config.json").write_text(json.dumps(kept))


# --- building and copying -------------------------------------------------------------------------------------------


def build(engine: Engine | str, recipe: Recipe, name: str) -> str:
    """Build the recipe's image, name it `name`, and return its id.

    The wheels are fetched first, by this machine; the build itself has no network.
    """
    engine = Engine(engine) if isinstance(engine, str) else engine
    base = recipe.base_image
    bundle = recipe.bundle()
    python = engine.python(base, recipe.platform)
    with tempfile.TemporaryDirectory(prefix="mlflow-image-") as folder:
        context = Path(folder)
        fetch_wheels(recipe.locks, python, MACHINES[recipe.platform], context / "wheels")
        for file, content in {**recipe.files, "rds-ca.pem": bundle}.items():
            (context / file).write_bytes(content)
        options = ["--platform", recipe.platform, "--network", "none", "--tag", name]
        arguments = ["--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"VARIANT={recipe.variant}"]
        engine.run("build", *options, *arguments, folder, doing=f"build {name}", seconds=LONG_SECONDS)
    return engine.id(name)


def pull(engine: Engine, source: str, platform: str, registry: Registry) -> None:
    """Pull `source`, with the login of `registry` where it is from there, else with the user's own."""
    if source.startswith(f"{registry.host}/"):
        registry.pull(source, platform)
    else:
        engine.run("pull", "--platform", platform, source, doing=f"pull {source}", seconds=LONG_SECONDS)


# --- commands -------------------------------------------------------------------------------------------------------


def call(words: list[str], seconds: int, failure: str, input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command; what it prints is kept, and it has no terminal.

    Raises ImageError, "<failure> within <seconds> seconds.", when it does not end in time.
    """
    try:
        return subprocess.run(
            words,
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            # A list of attestations beside the image would make the tag name a list of manifests.
            env=os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{failure} within {seconds} seconds.") from error


def tail(text: str) -> str:
    """The last lines, without the password of a URL."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return re.sub(r"//[^/@\s]+@", "//...@", "\n".join(lines[-TAIL_LINES:]))


def last_line(text: str) -> str:
    """The last line that says something, short and without its closing stop."""
    # docker ends with where its help is.
    said = [line for line in tail(text).splitlines() if not re.match(r"\s*(Run|See) '.*--help'", line)]
    line = said[-1].strip().rstrip(".") if said else ""
    return line if len(line) <= 300 else f"{line[:297]}..."
