"""Start and stop the two emulators."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

from local import config, processes, tls

AWS = "ministack"
SCALING = "moto"


def _answers(url: str, method: str = "GET") -> bool:
    # Loopback only: a proxy of the person's has no part in it.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls.client_context())
    )
    try:
        opener.open(urllib.request.Request(url, method=method), timeout=20).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def require_free(purpose: str, port: int) -> None:
    """Raise Trouble where somebody else listens on a port of ours."""
    if not config.is_free(port):
        raise config.Trouble(
            f"Port {port} of {config.HOST}, remembered for {purpose}, is taken by another program: stop that program, "
            f"or give up what stands here with `make clean`."
        )


def _ministack_environment(port: int) -> dict[str, str]:
    key, secret = config.root_keys()
    data = config.STATE / "aws"
    scratch = config.STATE / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        **config.own_environment(os.environ),
        "BIND_HOST": config.HOST,
        "GATEWAY_PORT": str(port),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(config.TLS / "localhost.pem"),
        "MINISTACK_SSL_KEY": str(config.TLS / "localhost.key"),
        "MINISTACK_REGION": config.REGION,
        "MINISTACK_ACCOUNT_ID": config.ACCOUNT,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(data / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(data / "s3"),
        # It must find no engine even where there is one: tasks and databases are ours to run.
        "DOCKER_HOST": "unix:///nonexistent",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(scratch),
        **config.no_proxy(os.environ),
    }


def start() -> list[str]:
    """Start what does not run yet; returns the names of what was started."""
    started = []
    ports = config.Ports()
    if processes.running(AWS) is None:
        port = ports.get("aws")
        require_free("the local AWS", port)
        processes.start(AWS, [str(config.TOOL_PYTHON), "-m", "local.ministack_server"], _ministack_environment(port))
        started.append(AWS)
    if processes.running(SCALING) is None:
        port = ports.get("scaling")
        require_free("Application Auto Scaling", port)
        journal = config.STATE / "aws" / "scaling.jsonl"
        journal.parent.mkdir(parents=True, exist_ok=True)
        env = {
            **config.own_environment(os.environ),
            "MOTO_ACCOUNT_ID": config.ACCOUNT,
            # moto's own clients sign nothing here; without keys botocore would look for the person's.
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [str(config.TOOL_PYTHON), "-m", "local.moto_server", str(port), str(journal)]
        processes.start(SCALING, command, env)
        started.append(SCALING)
    processes.wait_ready(AWS, lambda: _answers(config.aws_url() + "/_ministack/health"), 60)
    processes.wait_ready(SCALING, lambda: _answers(f"https://{config.HOST}:{ports.get('scaling')}/"), 60)
    return started


def save() -> None:
    """Have MiniStack write its state, so that a crash after this point loses nothing before it."""
    _answers(config.aws_url() + "/_local/save", "POST")


def stop() -> bool:
    """Stop both, in order, MiniStack writing its state as it ends; whether one ran."""
    ran = False
    for name, patience in ((SCALING, 3.0), (AWS, 30.0)):
        ran |= processes.stop(config.read_json(processes.record_path(name)), patience)
        processes.record_path(name).unlink(missing_ok=True)
    return ran
