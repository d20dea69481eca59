"""How a command's process ends: in one line and with a code, whoever ends it."""

from __future__ import annotations

import signal
import sys
import threading
from typing import NoReturn

from jobs.cluster.driver_exit import MISTAKE, TRY_AGAIN
from jobs.cluster.driver_note import keep
from rewards.errors import RewardError
from rlpeft.errors import ClusterError, RlpeftError
from rlpeft.files import describe
from rlpeft.terminal import printable
from rlpeft.typed import typeable

ENDING = threading.Event()
"""Set once this process was told to end: what goes with it is no error any more."""


def end_in_one_line() -> None:
    """Have SIGTERM, which clusters and shells end jobs with, end this process in order."""

    def stop(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ENDING.set()
        keep(None, last=True)  # this is told
        print(
            "error: stopped by SIGTERM. The same command continues from the newest checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def in_one_line(error: Exception) -> str | None:
    """What to tell of a user's mistake, or of the machine's state; `None` for a defect of ours."""
    if isinstance(error, RlpeftError | RewardError):
        return printable(typeable(f"error: {' '.join(str(error).split())}"))
    line = describe(error) if isinstance(error, OSError) else None
    return None if line is None else f"error: {line}"


def exit_code(error: Exception) -> int:
    """Whether the same command may succeed when it is run again."""
    return TRY_AGAIN if isinstance(error, ClusterError) else MISTAKE
