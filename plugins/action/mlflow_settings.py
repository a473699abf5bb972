"""Action plugin of role preflight: the settings of a host, this machine and the AWS login, checked in one task.

The rules about settings are in plugins/module_utils/mlflow_settings.py. Here is what needs Ansible, the machine or AWS.
The only call to AWS is one sts:GetCallerIdentity, and only when everything else is right. Where the settings name no
account, the stack's output in SSM is read as well, to say whether it was deployed there before.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from ansible.errors import AnsibleError
from ansible.parsing import vault
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parents[2]
# Ansible finds module_utils for modules only, and an action plugin runs outside of any package.
sys.path.append(str(ROOT))
from plugins.module_utils import mlflow_settings as rules  # noqa: E402
from plugins.module_utils.mlflow_settings import Problem  # noqa: E402
from plugins.plugin_utils import outside  # noqa: E402

SPEC = ROOT / "roles" / "preflight" / "meta" / "argument_specs.yml"
ANSIBLE_FROM, ANSIBLE_BELOW = (2, 19), (2, 22)
PYTHON_FROM = (3, 11)
# More than any bundle has.
BUNDLE_BYTES = 16 * 1024 * 1024
FREE_BYTES = 50 * 1024 * 1024
CONNECT_SECONDS = 5
WORD = re.compile(r"[A-Za-z_]\w*")
# Variables in which all others are.
MAGIC = ("hostvars", "vars")
HOW_TO_LOG_IN = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a machine with a role"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
REFUSED = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "InvalidAccessKeyId",
)


def load_spec(path: Path = SPEC) -> dict[str, Any]:
    """The options of the operator's interface, by variable name."""
    options: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["argument_specs"]["main"]["options"]
    return options


# --- this machine ---------------------------------------------------------------------------------------------------


def ansible_problems(version: str = ansible_version) -> Iterator[Problem]:
    found = tuple(int(part) for part in version.split(".")[:2])
    if not ANSIBLE_FROM <= found < ANSIBLE_BELOW:
        low, high = (".".join(map(str, bound)) for bound in (ANSIBLE_FROM, ANSIBLE_BELOW))
        reason = f"this repository is tested from {low} up to, and without, {high}"
        yield Problem("ansible-core", version, reason, "run `make venv` and use .venv/bin/ansible-playbook")


def interpreter_problems(interpreter: str | None, own: str = sys.executable) -> Iterator[Problem]:
    """Whether the Python that modules run under is new enough and has boto3."""
    name = "ansible_python_interpreter"
    if not interpreter or interpreter.startswith("auto"):
        reason = "modules would run under the first Python found, which has no boto3"
        yield Problem(name, interpreter, reason, 'set it to "{{ ansible_playbook_python }}" in the inventory')
        return
    if interpreter == own:
        return
    code = "import sys; print(sys.version_info[0], sys.version_info[1]); import botocore, boto3"
    try:
        # The command is the interpreter that Ansible is about to run anyway.
        done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        yield Problem(name, interpreter, "it cannot be run", f"set it to {own}")
        return
    version = tuple(int(part) for part in done.stdout.split()[:2])
    if version < PYTHON_FROM:
        found = ".".join(map(str, version)) or "unknown"
        needed = ".".join(map(str, PYTHON_FROM))
        yield Problem(
            name,
            interpreter,
            f"it is Python {found}, and {needed} is needed",
            "run `make venv` and use .venv/bin/ansible-playbook",
        )
    elif done.returncode:
        yield Problem(
            name,
            interpreter,
            "it cannot import boto3 and botocore",
            "run `make venv`, or install requirements.txt there",
        )


def disk_problems(outputs: Path = ROOT / "outputs") -> Iterator[Problem]:
    """Whether the outputs can be written and Ansible has room for its temporary files.

    A checkout of which nothing can be written is a job's in AWX, which goes without the file.
    """
    folder = outputs
    while not folder.exists():
        folder = folder.parent
    a_jobs = folder.is_dir() and not os.access(outputs.parent, os.W_OK)
    if not a_jobs and (not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir()):
        yield Problem("outputs/", str(folder), "it cannot be written", "run from a checkout that this user owns")
    for place in sorted({Path(tempfile.gettempdir())} | (set() if a_jobs else {folder})):
        free = shutil.disk_usage(place).free
        if free < FREE_BYTES:
            reason = f"only {free // 1024**2} MB are free there"
            yield Problem("disk space", str(place), reason, f"free at least {FREE_BYTES // 1024**2} MB")


def connection_problems(connection: str | None) -> Iterator[Problem]:
    """Whether modules run on this machine, where the AWS login is."""
    if connection not in (None, "", "local"):
        reason = "modules have to run on this machine, with its AWS login"
        yield Problem("ansible_connection", connection, reason, "remove it, the repository sets it to local")


def ca_bundle_problems(place: str) -> Iterator[Problem]:
    """Whether the CA bundle can be read, where it is a file. A form that is wrong is reported by the rules."""
    if not place.startswith(("/", "~")):
        return
    try:
        file = Path(place).expanduser()
        # A device has no end.
        if file.exists() and not file.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        with file.open("rb") as opened:
            certified = b"-----BEGIN CERTIFICATE-----" in opened.read(BUNDLE_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"it cannot be read ({getattr(error, 'strerror', error)})"
        yield Problem("mlflow_image_ca_bundle", place, reason, "give the full path of a PEM file or an https URL")
        return
    if not certified:
        yield Problem("mlflow_image_ca_bundle", place, "it holds no certificate", "give a file in PEM form")


# --- AWS, without talking to it -------------------------------------------------------------------------------------


@contextmanager
def environment(extra: Mapping[str, str]) -> Iterator[None]:
    """botocore reads the process's environment, and the play's `environment` is not in it yet."""
    before = dict(os.environ)
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def region_from_environment() -> str:
    """The region of the AWS login, or "". The order is that of the amazon.aws collection."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        return ""
    try:
        return str(botocore.session.Session().get_config_variable("region") or "")
    except botocore.exceptions.BotoCoreError:
        return ""


def region_problems(region: str, shell: Mapping[str, str]) -> Iterator[Problem]:
    """Whether the shell that started the play means another region."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        value = shell.get(name)
        if value and region and value != region:
            yield Problem(name, value, f"mlflow_region is {region}", f"unset {name}, or set both to the same region")


def login_problems() -> Iterator[Problem]:
    """Whether credentials can be found. Asks the instance metadata service at most once."""
    import botocore.exceptions
    import botocore.session

    try:
        session = botocore.session.Session()
        session.set_config_variable("metadata_service_timeout", 1)
        session.set_config_variable("metadata_service_num_attempts", 1)
        if session.get_credentials() is None:
            yield Problem("the AWS login", None, "no credentials were found", HOW_TO_LOG_IN)
    except botocore.exceptions.ProfileNotFound:
        yield Problem(
            "AWS_PROFILE",
            os.environ.get("AWS_PROFILE"),
            "the AWS configuration has no such profile",
            "name one that is there, or unset it",
        )
    except botocore.exceptions.PartialCredentialsError as error:
        yield Problem("the AWS login", "incomplete", f"{error.kwargs.get('cred_var')} is missing", HOW_TO_LOG_IN)
    except botocore.exceptions.BotoCoreError as error:
        yield Problem("the AWS login", "unreadable", type(error).__name__, HOW_TO_LOG_IN)


def ca_bundle() -> tuple[str, str | None]:
    """The file whose certificates botocore trusts, after the variable that named it; None for its own."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        if os.environ.get(name):
            return name, os.environ[name]
    return "AWS_CA_BUNDLE", None


def endpoint_problems() -> Iterator[Problem]:
    """Whether every endpoint named in the environment is reachable, with TLS where it says so."""
    bundle_name, bundle = ca_bundle()
    if bundle and not Path(bundle).is_file():
        yield Problem(bundle_name, bundle, "there is no such file", "correct the path or unset it")
        return
    try:
        context = trust(bundle)
    except ssl.SSLError:
        yield Problem(bundle_name, bundle, "there is no certificate in it", "correct the path or unset it")
        return
    wanted = {name: value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT_URL") and value}
    done: set[str] = set()
    for name, value in sorted(wanted.items()):
        if value not in done:
            done.add(value)
            yield from reach(name, value, context)


def reach(name: str, value: str, context: ssl.SSLContext) -> Iterator[Problem]:
    """Connect once to the endpoint and hang up. `name` is the variable that holds the URL."""
    try:
        url = urlsplit(value)
        host, port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
    except (ValueError, KeyError):
        host = None
    if not host:
        yield Problem(name, value, "it is not a URL", "write scheme and host, such as https://127.0.0.1:4566")
        return
    if getproxies().get(url.scheme) and not proxy_bypass(host):
        return
    start = "start what should answer there (`make up` for the AWS on this machine) or correct the URL"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as connection:
            if url.scheme == "https":
                context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        remedy = "set AWS_CA_BUNDLE to a file with the CA of that endpoint (`make -s env` prints it)"
        yield Problem(name, value, f"its certificate is not trusted ({error.verify_message})", remedy)
    except ssl.SSLError as error:
        yield Problem(name, value, f"it does not speak TLS ({error.reason})", "write http:// or correct the port")
    except TimeoutError:
        yield Problem(name, value, f"it did not answer within {CONNECT_SECONDS} seconds", start)
    except socket.gaierror:
        yield Problem(name, value, "its name does not resolve", "correct the URL")
    except OSError as error:
        yield Problem(name, value, f"it cannot be reached ({error.strerror or type(error).__name__})", start)


def trust(bundle: str | None) -> ssl.SSLContext:
    from botocore.httpsession import get_cert_path

    return ssl.create_default_context(cafile=bundle or get_cert_path(True))


# --- the one call to AWS --------------------------------------------------------------------------------------------


def identify(region: str) -> tuple[dict[str, str], list[Problem]]:
    """Ask AWS who we are.

    Returns:
        {account_id, partition} and no problem, or {} and the one sentence.
    """
    import botocore.config
    import botocore.session

    config = botocore.config.Config(connect_timeout=CONNECT_SECONDS, read_timeout=20, retries={"total_max_attempts": 2})
    try:
        client: Any = botocore.session.Session().create_client("sts", region_name=region, config=config)
        answer = client.get_caller_identity()
        return {"account_id": str(answer["Account"]), "partition": str(answer["Arn"]).split(":")[1]}, []
    # Whatever a credential source, a proxy or an emulator throws, the operator gets a sentence.
    except Exception as error:
        return {}, [explain(error, region)]


def deployed_before(stack: str, region: str) -> bool | None:
    """Whether the stack has published its outputs in the account of the login; None when that cannot be read."""
    import botocore.config
    import botocore.session

    config = botocore.config.Config(connect_timeout=CONNECT_SECONDS, read_timeout=20, retries={"total_max_attempts": 2})
    try:
        client: Any = botocore.session.Session().create_client("ssm", region_name=region, config=config)
        return bool(client.get_parameters(Names=[f"/mlflow/{stack}/tracking_url"])["Parameters"])
    # The answer is only said, so the run goes on without it.
    except Exception:
        return None


def explain(error: Exception, region: str) -> Problem:
    """What stopped GetCallerIdentity. AWS's own text is not repeated where it quotes the signed request."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    variable = next((name for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL") if os.environ.get(name)), None)
    endpoint = (variable, os.environ[variable]) if variable else ("the AWS endpoint", f"sts.{region}")
    remedy = "correct the URL" if variable else "check mlflow_region, the network and the proxy of this machine"
    kind = type(error).__name__
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return Problem(*endpoint, f"it cannot be used ({kind})", remedy)
    if isinstance(error, BotoCoreError):
        return Problem("the AWS login", "unusable", kind, "log in again (`aws sso login` for SSO)")
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    # botocore falls back to the HTTP status when the body is not the one of AWS.
    if not code or code.isdigit():
        return Problem(*endpoint, f"its answer is no answer of AWS ({code or kind})", remedy)
    answer = f"sts:GetCallerIdentity answered {code}"
    if code in EXPIRED:
        return Problem("the AWS login", "expired", answer, "log in again, and check the clock of this machine")
    if code in REFUSED:
        return Problem("the AWS login", "invalid", answer, f"{HOW_TO_LOG_IN}, and check the clock of this machine")
    return Problem("the AWS login", "refused", answer, "use a login that AWS lets in")


# --- Ansible --------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """The value without Ansible's tags and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value if value is None else str(value)


def is_vaulted(value: Any) -> bool:
    """Whether a value came out of a vault, or anything within it."""
    if isinstance(value, Mapping):
        return any(is_vaulted(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return any(is_vaulted(item) for item in value)
    helper = getattr(vault, "VaultHelper", None)
    return bool(helper and helper.get_ciphertext(value, with_tags=False))


def mentions_vaulted(value: Any, variables: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a value is vaulted, or a template of one, by way of whichever other variables.

    A text that a template puts together has lost the mark of its parts.
    """
    if is_vaulted(value):
        return True
    words = {
        word for text in rules.leaves(value) if "{{" in text or "{%" in text or seen for word in WORD.findall(text)
    }
    new = frozenset(word for word in words - seen if word in variables and word not in MAGIC)
    return any(mentions_vaulted(variables[word], variables, seen | new) for word in new)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Check everything, then return the settings under `mlflow`."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns {changed, mlflow} or {failed, msg}, with every problem as a line of msg."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        extra: dict[str, str] = {}
        self._compute_environment_string(extra)
        shell = dict(os.environ)
        # An empty value says nothing, here as in the settings.
        with environment({name: str(value) for name, value in extra.items() if value}):
            fact, problems, warnings = self._inspect(variables, shell)
        if problems:
            stack = variables.get("inventory_hostname", "this host")
            count = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
            lines = [f"{stack} cannot be deployed, {count} to change:", *(f"- {problem}" for problem in problems)]
            return result | {"failed": True, "changed": False, "msg": "\n".join(lines)}
        for text in warnings:
            Display().warning(text)
        return result | {"changed": False, "mlflow": fact}

    def _inspect(
        self, variables: Mapping[str, Any], shell: Mapping[str, str]
    ) -> tuple[dict[str, Any], list[Problem], list[str]]:
        given, problems = self._given(variables)
        unread = {problem.variable for problem in problems}
        if rules.is_unset(given.get("mlflow_region")):
            given["mlflow_region"] = region_from_environment()
        settings, wrong = rules.settle(load_spec(), given)
        problems += [problem for problem in wrong if problem.variable not in unread]
        region = str(settings.get("mlflow_region", ""))
        problems += [
            *self._from_outside(variables, shell),
            *ansible_problems(),
            *interpreter_problems(self._text(variables, "ansible_python_interpreter")),
            *connection_problems(self._text(variables, "ansible_connection")),
            *disk_problems(),
            *ca_bundle_problems(str(settings.get("mlflow_image_ca_bundle", ""))),
            *region_problems(region, shell),
        ]
        try:
            import boto3  # noqa: F401
        except ImportError:
            problems.append(
                Problem(
                    "boto3",
                    "missing",
                    f"{sys.executable} cannot import it",
                    "run `make venv` and use .venv/bin/ansible-playbook",
                )
            )
            return {}, problems, []
        problems += [*login_problems(), *endpoint_problems()]
        if problems:
            return {}, problems, []
        identity, problems = identify(region)
        problems = problems or rules.identity_problems(settings, identity)
        if problems:
            return {}, problems, []
        if not settings["mlflow_account_id"]:
            stack = str(settings["mlflow_stack_name"])
            before = deployed_before(stack, region)
            Display().display(rules.account_line(stack, region, identity["account_id"], before))
        return rules.derive(settings) | identity, [], rules.warnings(settings)

    def _given(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Every `mlflow_*` variable of the host, templated, and those that cannot be."""
        given: dict[str, Any] = {}
        problems: list[Problem] = []
        for name in variables:
            if not name.startswith(rules.PREFIX):
                continue
            try:
                raw = self._templar.template(variables[name])
                value = plain(raw)
                secret = is_vaulted(raw) or mentions_vaulted(variables[name], variables)
                given[str(name)] = rules.Hidden(value) if secret else value
            except AnsibleError as error:
                reason = " ".join(str(error).split())
                given[str(name)] = None
                problems.append(Problem(str(name), "unreadable", reason, "correct the template or the vault password"))
        return given, problems

    def _from_outside(self, variables: Mapping[str, Any], shell: Mapping[str, str]) -> list[Problem]:
        """What an inventory or -e sets although only the wiring and the roles may."""
        playbook_dir = str(variables["playbook_dir"])
        given = outside.given_to(variables["hostvars"], str(variables["inventory_hostname"]), playbook_dir)
        spec = load_spec()
        allowed = outside.allowed(given, spec, ROOT, shell.get(outside.SWITCH))
        if allowed:
            Display().warning(outside.loud(allowed))
        return list(outside.problems(given, spec, ROOT, allowed))

    def _text(self, variables: Mapping[str, Any], name: str) -> str | None:
        try:
            return str(self._templar.template(variables.get(name)) or "")
        except AnsibleError:
            return None
