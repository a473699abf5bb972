"""One JSON object per line for everything that a Python process writes to stdout and stderr.

In the server's processes the module sitecustomize installs it, so that it is there before MLflow and uvicorn set up
their own logging, in the workers, too.
"""

from __future__ import annotations

import atexit
import datetime
import io
import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

# How every object begins.
_START = '{"time": "'


def line(level: str, logger: str, message: str, when: float | None = None) -> str:
    """Return the JSON text, without a line break; `when` is a Unix time in seconds, now when missing."""
    clock = datetime.datetime.now(datetime.UTC) if when is None else datetime.datetime.fromtimestamp(when, datetime.UTC)
    time = clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "level": level, "logger": logger, "message": message})


def record_line(handler: logging.Handler, record: logging.LogRecord) -> str:
    """A log record with its traceback."""
    # The formatter that the application chose would colour or cut the message.
    return line(record.levelname, record.name, logging.Formatter("%(message)s").format(record), record.created)


def _done(text: str) -> bool:
    """Whether a line is an object of ours already."""
    if not text.startswith(_START):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Lines(io.TextIOWrapper):
    """A text stream that wraps each line which is no such object yet."""

    def __init__(self, stream: TextIO, level: str, logger: str) -> None:
        super().__init__(stream.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._level, self._logger, self._rest = level, logger, ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            whole = [one if _done(one) else line(self._level, self._logger, one) for one in lines if one]
            if whole:
                super().write("\n".join(whole) + "\n")
        return len(text)

    def finish(self) -> None:
        """Write what had no line break at its end."""
        if self._rest:
            self.write("\n")


def install() -> None:
    """Change this process; of a stream that is closed nothing is changed."""
    logging.StreamHandler.format = record_line  # type: ignore[method-assign, assignment]
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(
        given.exc_type, given.exc_value or given.exc_type(), given.exc_traceback
    )
    for name, level in (("stdout", "INFO"), ("stderr", "WARNING")):
        stream: Any = getattr(sys, name)
        if stream is not None and hasattr(stream, "buffer"):
            wrapped = Lines(stream, level, name)
            setattr(sys, name, wrapped)
            atexit.register(wrapped.finish)
    # Without a handler of its own it gets one that drops what comes.
    warnings = logging.getLogger("py.warnings")
    warnings.handlers, warnings.propagate = [logging.StreamHandler()], False


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("python").critical("%s", error or kind.__name__, exc_info=(kind, error, trace))
