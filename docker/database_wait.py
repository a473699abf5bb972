"""Wait for a database server that does not answer yet: it restarts, wakes up, fails over or is still being made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import schema
from contracts import Refusal
from database import Database

# Between two attempts, of which a silent server takes ten seconds each (database.py, and PyMySQL's own default).
PAUSE_SECONDS = 2.0

# What drivers and servers say of a database that may answer later. Anything else, a wrong password, name or
# certificate, is as wrong in a minute. The numbers are MySQL's.
_LATER = re.compile(
    r"connection refused|connection reset|timed? ?out|timeout expired|unreachable|no route to host"
    r"|could not translate host name|failed to resolve|name resolution|name or service not known"
    r"|server closed the connection|connection (to server )?was lost|eof detected|unexpected eof"
    r"|the database system is|not yet accepting connections|terminating connection"
    r"|too many (clients|connections)|remaining connection slots"
    r"|\((1040|1053|1203|2002|2003|2005|2006|2013)\b",
    re.IGNORECASE,
)


def may_answer_later(reason: str) -> bool:
    """Whether `reason`, a driver's text, is of a database that is not up."""
    return _LATER.search(reason) is not None


def wait(
    database: Database,
    seconds: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when `database` lets this program in; says once that it waits, `seconds` at most. A file never waits.

    Raises Refusal at once for what waiting does not mend, and for any reason when the time is over.
    """
    if database.sqlite is not None:
        return
    end, said = clock() + seconds, False
    while True:
        try:
            with schema.connection(database):
                return
        except Refusal as refusal:
            reason = str(getattr(refusal.__cause__, "orig", None) or refusal.__cause__)
            if not may_answer_later(reason) or clock() >= end:
                raise
        if not said:
            where = database.uri.partition("?")[0]
            say(f"the database {where} does not answer yet: waiting up to {seconds:g} seconds for it.")
            said = True
        sleep(PAUSE_SECONDS)
