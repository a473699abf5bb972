"""Asks a tracking server until its answer is good, at the load balancer where its name does not resolve to that yet.

Python's own client, for Ansible's `uri` cannot ask one address for the certificate of another name.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

# An action plugin runs outside of any package.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from plugins.action.stack_wait import Watch

USER = "admin"
QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
ANSWER_SECONDS = 15.0
PAUSE_SECONDS = 5.0
LARGEST_ANSWER = 1_000_000
REMEDIES = {
    301: "it redirects to HTTPS; write mlflow_verify_url with https",
    401: "the login of the secret {secret} is refused; whoever has changed the password has to put it there, too",
    403: "the host name is not among the allowed ones; run site.yml, which allows it",
    502: "no task answers; read the log group /mlflow/{name}",
    503: "no task is healthy, or its database is out of reach; read the log group /mlflow/{name}",
}
OTHERWISE = "read the log group /mlflow/{name}"
UNREACHABLE = "set mlflow_verify_url to where it can be reached from here, or mlflow_verify to false"


class Target(NamedTuple):
    """Where to ask: the address to connect to, and the name for which the certificate and the request are."""

    address: str
    port: int
    tls: bool
    name: str

    @property
    def url(self) -> str:
        """The address as people write it."""
        usual = self.port == (443 if self.tls else 80)
        return f"http{'s' if self.tls else ''}://{self.address}{'' if usual else f':{self.port}'}"


class Answer(NamedTuple):
    """What came back: the status, 0 for none at all, and where it is not good, how it is and what to do."""

    status: int
    text: str = ""
    remedy: str = ""


class Connection(http.client.HTTPSConnection):
    """A connection to one address, maybe through a proxy, whose certificate is that of another name."""

    def __init__(self, *arguments: Any, certified: str, **named: Any) -> None:
        """Take what HTTPSConnection takes, and the name that the certificate has to have."""
        super().__init__(*arguments, **named)
        self._certified = certified
        self._tls = ssl.create_default_context()

    def connect(self) -> None:
        """Connect, and verify the certificate."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._certified)


def resolve(name: str) -> set[str]:
    """The addresses of `name`; none when it does not resolve."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def target(url: str, host: str, load_balancer: str) -> tuple[Target, bool]:
    """(where to ask, whether clients reach the load balancer by `host`, as far as this machine can tell)."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    address = str(parts.hostname)
    port = parts.port or (443 if tls else 80)
    reached = host.lower() == load_balancer.lower() or bool(resolve(host) & resolve(load_balancer))
    if address == host.lower() and not reached:
        address = load_balancer
    return Target(address, port, tls, host), reached


def proxy_for(where: Target) -> str:
    """Host and port of the proxy for `where`, or an empty string."""
    proxy = getproxies().get("https" if where.tls else "http", "")
    if not proxy or proxy_bypass(where.address):
        return ""
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]


def connect(where: Target) -> tuple[http.client.HTTPConnection, str]:
    """(connection, what goes before the path of a request)."""
    proxy = proxy_for(where)
    if where.tls:
        if not proxy:
            return Connection(where.address, where.port, timeout=ANSWER_SECONDS, certified=where.name), ""
        connection = Connection(proxy, timeout=ANSWER_SECONDS, certified=where.name)
        connection.set_tunnel(where.address, where.port)
        return connection, ""
    if proxy:
        return http.client.HTTPConnection(proxy, timeout=ANSWER_SECONDS), where.url
    return http.client.HTTPConnection(where.address, where.port, timeout=ANSWER_SECONDS), ""


def ask(where: Target, password: str | None, stack: str, secret: str) -> Answer:
    """Ask once. `stack` and `secret`, both names, are for the remedy."""
    headers = {"Host": where.name, "Accept": "application/json"}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
    connection, before = connect(where)
    try:
        connection.request("GET", before + QUESTION, headers=headers)
        response = connection.getresponse()
        status, body = response.status, response.read(LARGEST_ANSWER)
    except ssl.SSLCertVerificationError as error:
        remedy = f"give mlflow_certificate_arn a certificate for {where.name}, by an authority that this machine trusts"
        return Answer(0, f"has a certificate that is not good for {where.name}: {error.verify_message}", remedy)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, f"cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}", UNREACHABLE)
    finally:
        connection.close()
    if status != 200:
        remedy = REMEDIES.get(status, OTHERWISE).format(name=stack, secret=secret)
        return Answer(status, f"answers {status}", remedy)
    return Answer(200) if is_answer(body) else Answer(200, "answers, but not like MLflow", UNREACHABLE)


def is_answer(body: bytes) -> bool:
    """Whether a body is that of an MLflow server."""
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask until the answer is good or time is out."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns {msg, record, waited_seconds}, with {failed} where the answer never was good."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "name": {"type": "str", "required": True},
                "url": {"type": "str", "required": True},
                "host": {"type": "str", "required": True},
                "load_balancer": {"type": "str", "required": True},
                "secret": {"type": "str", "default": ""},
                "region": {"type": "str"},
                "timeout": {"type": "int", "default": 600},
            }
        )
        stack, secret, host = arguments["name"], arguments["secret"], arguments["host"]
        password = self._password(secret, arguments["region"], task_vars) if secret else None
        watch = Watch(stack, "an answer", arguments["timeout"])
        while True:
            where, reached = target(arguments["url"], host, arguments["load_balancer"])
            answer = ask(where, password, stack, secret)
            done = {**result, "changed": False, "waited_seconds": round(watch.passed)}
            if not answer.text:
                return {**done, **good(stack, where, reached, arguments["load_balancer"])}
            if watch.passed >= watch.timeout:
                sentence = f"{stack} {answer.text}, at {where.url} for host {host}: {answer.remedy}."
                return {**done, "failed": True, "msg": sentence}
            watch.say(f"{where.url} {answer.text}")
            watch.pause(PAUSE_SECONDS)

    def _password(self, secret: str, region: str | None, variables: Any) -> str:
        lookup = lookup_loader.get("amazon.aws.secretsmanager_secret", loader=self._loader, templar=self._templar)
        where = {"region": region} if region else {}
        [password] = lookup.run([f"{secret}.password"], variables=variables, nested=True, **where)
        return str(password)


def good(stack: str, where: Target, reached: bool, load_balancer: str) -> dict[str, Any]:
    """{msg, record} of a good answer."""
    sentence = f"{stack} answers at {where.url} for host {where.name}."
    if reached:
        return {"msg": sentence, "record": None}
    return {
        "msg": f"{sentence} From here {where.name} does not resolve to the load balancer. Make the DNS record: CNAME, "
        f"or in Route 53 alias, {where.name} -> {load_balancer}.",
        "record": {"name": where.name, "value": load_balancer},
    }
