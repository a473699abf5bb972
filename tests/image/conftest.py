"""One image, and one server on it that runs as on Fargate, for all tests of this folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from local import config
from tests.image import engine as machine


@dataclass(frozen=True)
class Server:
    """A running server; `env` is what a client's process needs to use it."""

    container: machine.Container
    url: str
    username: str
    password: str

    @property
    def env(self) -> dict[str, str]:
        """Address and login, by MLflow's names."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": self.username,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }


@pytest.fixture(scope="session")
def engine() -> machine.Engine:
    """The engine, with a base to build from. `tests/run image` says it when there is none, before this is asked."""
    try:
        return machine.ready()
    except machine.Unavailable as trouble:
        machine.skip(str(trouble))


@pytest.fixture(scope="session")
def image(engine: machine.Engine) -> str:
    """The image's name, built unless it is here already."""
    return machine.build(engine, machine.recipe(engine))


@pytest.fixture(scope="session")
def server(engine: machine.Engine, image: str) -> Iterator[Server]:
    """A server with PostgreSQL, S3, login and two workers, in a container that can write nothing but /tmp."""
    port, password = config.free_port(), secrets.token_urlsafe(24)
    with machine.certificates() as tls, machine.s3() as s3, machine.postgres(engine, tls) as database:
        env = machine.server_env(port, s3) | database.env
        env |= {"MLFLOW_WORKERS": "2", "MLFLOW_AUTH": "basic", "MLFLOW_AUTH_ADMIN_PASSWORD": password}
        env |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32)}
        # The sweep changes a password, and the other worker would remember the old one for a while.
        env |= {"MLFLOW_AUTH_CACHE_SECONDS": "0"}
        # For the sweep, whose listener for webhooks is on this machine and speaks HTTP.
        env |= {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
        env |= {"MLFLOW_PROMETHEUS": "true"}
        options = (*machine.FARGATE, *machine.NETWORK, *machine.authority(tls))
        with machine.container(engine, image, *options, env=env) as container:
            machine.wait_healthy(container, port)
            yield Server(container, f"http://{machine.HOST}:{port}", "admin", password)
