"""`python -m local COMMAND`: the AWS on this machine, for the Makefile."""

from __future__ import annotations

import argparse
import os
import sys

from local import config, image, status, tls, up


def publish() -> None:
    """Publish docker/ to the local registry and print the reference."""
    tls.ensure()
    config.say(image.publish())


COMMANDS = {
    "up": (up.up, "start all of it, converge the stack of STORAGE and EXPOSURE, prove it"),
    "env": (status.env, "print export lines for another shell"),
    "status": (status.status, "say what runs"),
    "logs": (status.logs, "follow the server's log"),
    "down": (up.down, "stop all of it, keep the data"),
    "clean": (up.clean, "stop all of it, remove the data"),
    "image": (publish, "publish docker/ and print its reference"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    choices = parser.add_subparsers(dest="command", required=True)
    for name, (_, text) in COMMANDS.items():
        choices.add_parser(name, help=text, description=text)
    chosen = parser.parse_args(arguments)
    os.chdir(config.ROOT)
    config.forget_other_aws()
    try:
        COMMANDS[chosen.command][0]()
    except config.Trouble as trouble:
        config.complain(str(trouble))
        return 1
    except KeyboardInterrupt:
        config.complain("Stopped by the keyboard; `make up` continues, `make down` stops what runs.")
        return 130
    except BrokenPipeError:
        # The reader of our output left; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        config.complain(f"{where}{error.strerror or error}. This checkout must be yours to write, with free space.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
