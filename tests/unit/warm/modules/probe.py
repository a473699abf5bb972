#!/usr/bin/python
"""Tells what a module sees of the process it runs in."""

from __future__ import annotations

import locale
import os
import signal
import sys
import time

from ansible.module_utils import _internal
from ansible.module_utils.basic import AnsibleModule

import __main__


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "word": {"type": "str", "default": "w"},
            "number": {"type": "int"},
            "secret": {"type": "str", "no_log": True},
            "old": {"type": "str", "removed_in_version": "9.9.9", "removed_from_collection": "a.b"},
            "leave": {"type": "bool", "default": False},
            "warn": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    seen = {
        "arguments": len(sys.argv),
        "check": module.check_mode,
        "controller": _internal.is_controller,
        "diff_wanted": module._diff,
        "environment": {
            key: os.environ.get(key) for key in ("WORD", "AWS_REGION", "HOME", "PATH", "LEFT_BEHIND", "TZ")
        },
        "folder": os.getcwd(),
        "input": sys.stdin.read(),
        "locale": locale.setlocale(locale.LC_ALL),
        "name": __main__.__name__,
        "number": module.params["number"],
        "open": sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) < 3),
        "path": os.environ.get("PYTHONPATH"),
        "session_leader": os.getsid(0) == os.getpid(),
        "signals": {name: str(signal.getsignal(getattr(signal, name))) for name in ("SIGINT", "SIGTERM", "SIGPIPE")},
        "umask": os.umask(0o22),
        "verbosity": module._verbosity,
        "word": module.params["word"],
        "zone": time.tzname,
    }
    if module.params["leave"]:
        os.environ["LEFT_BEHIND"] = "yes"
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if module.params["warn"]:
        module.warn("Something is odd.")
        module.deprecate("Something is old.", version="9.9.9", collection_name="a.b")
    module.exit_json(changed=True, seen=seen, echo=module.params["secret"], diff={"before": "a\n", "after": "b\n"})


if __name__ == "__main__":
    main()
