#!/usr/bin/python
"""Ends in one of the ways in which a module should not."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time

from ansible.module_utils.basic import AnsibleModule


def late(module: AnsibleModule) -> None:
    """Answer from a thread, after the main one has ended."""
    time.sleep(0.3)
    print('{"changed": true, "from": "a thread"}', flush=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"way": {"type": "str", "required": True}})
    way = module.params["way"]
    if way == "raise":
        raise ValueError("no such thing")
    if way == "fail":
        module.fail_json(msg="It did not work.", rc=3, extra={"a": [1, None]})
    if way == "sentence":
        sys.exit("it ends with a sentence")
    if way == "silent":
        sys.exit(0)
    if way == "fall off":
        return
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "hard":
        os._exit(7)
    if way == "noise":
        print("before\n{", flush=True)
        print("on the error channel", file=sys.stderr)
        subprocess.run(["echo", "from a child"], check=True)
    if way == "large":
        module.exit_json(text="x" * 3_000_000)
    if way == "bytes":
        os.write(1, b"\xff\xfe\n")
    if way == "atexit":
        atexit.register(lambda: sys.stderr.write("at the end\n"))
    if way == "thread":
        threading.Thread(target=late, args=(module,)).start()
        sys.exit(0)
    if way.startswith("sleep "):
        time.sleep(float(way.split()[1]))
    module.exit_json(changed=False, way=way)


if __name__ == "__main__":
    main()
