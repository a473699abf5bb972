"""Runs AWS modules in forks of a process that has already loaded what they all need.

Started by plugins/callback/warm.py and asked by plugins/action/normal.py; docs/fast.md says why and at what price.
It imports Ansible's module side only, never its controller, so that modules behave as in the interpreter of their own
that Ansible would otherwise start for each.

Usage: warm_server.py FD COLLECTIONS_ROOT, with FD one end of a SOCK_SEQPACKET pair; it ends when the other is closed.
A request is any message with three file descriptors: a file with the request (JSON, see `Request`), one for standard
output and error each, and one on which the server says the module's process id and later its exit status (struct "i").
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, NoReturn, TypedDict

# Parsing a service's model is what costs; one that is not listed is parsed by each module that uses it.
SERVICES = (
    "application-autoscaling",
    "ec2",
    "ecr",
    "ecs",
    "efs",
    "elbv2",
    "iam",
    "logs",
    "rds",
    "s3",
    "secretsmanager",
    "ssm",
    "sts",
)


class Request(TypedDict):
    """What a module is run with."""

    module: str  # its Python name
    path: str  # its file
    own: bool  # whether it is one of the repository's own, which are no part of a package
    parameters: str  # JSON, as Ansible encodes it for a module
    folder: str  # working directory
    environment: dict[str, str]  # all of it


def load_models() -> None:
    """Load botocore's models once, and have every session of the modules share them."""
    import boto3
    import botocore.loaders
    import botocore.session

    create = botocore.session.create_loader
    shared = create()

    def create_loader(search_path_string: str | None = None) -> Any:
        # A data path of the user's own is honoured, at the stock price.
        return create(search_path_string) if search_path_string else shared

    botocore.session.create_loader = create_loader
    for service in SERVICES:
        # Making a client loads what making a client needs; it asks nobody.
        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        boto3.session.Session(region_name="us-east-1", **keys).client(service)
        for kind in ("paginators-1", "waiters-2"):
            with contextlib.suppress(botocore.loaders.UnknownServiceError, botocore.loaders.DataNotFoundError):
                shared.load_service_model(service, kind)


def look_at_frames_without_source() -> None:
    """Make Ansible's deprecations cheap: each asks who its caller is, and gets every frame with its lines of source.

    It uses only the frames and their files, and importing an AWS module brings some. Most frames are of Python's own
    frozen import machinery, which has no file to be found in any module.
    """
    import inspect

    inspect.stack.__defaults__ = (0,)
    getmodule = inspect.getmodule

    def getmodule_or_none(object: object, _filename: str | None = None) -> types.ModuleType | None:
        return None if _filename and _filename.startswith("<frozen ") else getmodule(object, _filename)

    inspect.getmodule = getmodule_or_none


def warm() -> None:
    """Load all that the forks share.

    No module_utils of a collection: some are deprecated, or warn, and Ansible reports that of the module that imports
    them, which has to be the one that runs.
    """
    from ansible.module_utils._internal._ansiballz import _loader  # noqa: F401

    look_at_frames_without_source()
    with contextlib.suppress(ImportError):
        import packaging.version  # noqa: F401
    # Without boto3 each module says so.
    with contextlib.suppress(ImportError):
        load_models()
    gc.collect()
    gc.freeze()


def run(request: Request) -> None:
    """Run the module as Ansible's own wrapper does, in this process. Ends in SystemExit."""
    from ansible.module_utils._internal._ansiballz import _loader

    if request["own"]:
        import ansible.module_utils
        import ansible.modules

        folder = Path(request["path"]).parent
        ansible.modules.__path__.insert(0, str(folder))
        ansible.module_utils.__path__.insert(0, str(folder.parent / "module_utils"))
    _loader.run_module(
        json_params=request["parameters"].encode(),
        profile="legacy",
        module_fqn=request["module"],
        modlib_path=request["path"],
        extensions={},
    )


def exit_code(end: SystemExit) -> int:
    """The code with which an interpreter would end for `end`; what is not a number is printed, as there."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def child(descriptors: list[int]) -> NoReturn:
    """Become the module: its descriptors, environment and working directory, then its code, then its end."""
    code = 1
    try:
        with open(descriptors[0], "rb", closefd=False) as file:
            request: Request = json.load(file)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((null, descriptors[1], descriptors[2])):
            os.dup2(source, target)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        os.chdir(request["folder"])
        sys.argv = [request["path"]]
        run(request)
    except SystemExit as end:
        code = exit_code(end)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # What an interpreter does before it ends, without taking down all that was loaded.
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


class Server:
    """Forks a process for each request, and tells who asked how it ended."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.running: dict[int, tuple[int, int]] = {}  # pidfd: (process id, descriptor for the status)

    def serve(self) -> None:
        """Until nobody is left who could ask."""
        listening = True
        while listening or self.running:
            for key, _ in self.selector.select():
                if key.fileobj is self.control:
                    listening = self.accept()
                else:
                    self.reap(key.fd)

    def accept(self) -> bool:
        """Start one module; False when the other end is closed."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 16, 4)
        if not message:
            self.selector.unregister(self.control)
            return False
        pid = os.fork()
        if pid == 0:
            child(descriptors)
        status = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)
        self.tell(status, pid)
        pidfd = os.pidfd_open(pid)
        self.running[pidfd] = (pid, status)
        self.selector.register(pidfd, selectors.EVENT_READ)
        return True

    def reap(self, pidfd: int) -> None:
        """Collect an ended module."""
        pid, status = self.running.pop(pidfd)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        self.tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(status)

    @staticmethod
    def tell(descriptor: int, number: int) -> None:
        """Write one number to who asked, who may be gone."""
        try:
            os.write(descriptor, struct.pack("i", number))
        except OSError:
            return


def main() -> None:
    """Serve until the other end is closed."""
    descriptor, root = int(sys.argv[1]), sys.argv[2]
    # A module does not find the folder of this file in its path, and the collections only where the playbook has them.
    del sys.path[0]
    collections = types.ModuleType("ansible_collections")
    collections.__path__ = [str(Path(root, "ansible_collections"))]
    sys.modules["ansible_collections"] = collections
    # Without them nobody could be told how a module ended: better to end now, and all run as Ansible runs them.
    os.close(os.pidfd_open(os.getpid()))
    warm()
    Server(socket.socket(fileno=descriptor)).serve()


if __name__ == "__main__":
    main()
