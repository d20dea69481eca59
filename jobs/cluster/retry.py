"""Run a command, and again when it is killed: what a submitted job executes.

    python -m jobs.cluster.retry --retries N COMMAND [its words, as of `rlpeft`]

Ray runs a job once. A driver that was killed, or that the cluster let down, is started again and
continues where it was. A mistake that has to be mended ends the job at once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from jobs.cluster.driver_exit import TRY_AGAIN, attend

WAIT_S = 5.0
"""Between two tries: what killed the last one may still be there."""

ASKED_TO_STOP = (-signal.SIGTERM, -signal.SIGINT)


def supervise(command: Sequence[str], *, retries: int, wait_s: float = WAIT_S) -> int:
    """Run `command` until it ends by itself, at most `retries` times more than once.

    Returns:
        The exit code of the last try.
    """
    for tries_left in range(retries, -1, -1):
        code = attend(command)
        if not (may_try_again(code) and tries_left):
            return code
        print(f"the driver ended with code {code}; {tries_left} tries left.", file=sys.stderr)
        time.sleep(wait_s)
    raise AssertionError("retries must be at least 0")


def may_try_again(code: int) -> bool:
    """Whether a driver with this exit code was let down: killed by a signal, or by its cluster."""
    return code == TRY_AGAIN or (code < 0 and code not in ASKED_TO_STOP)


def main() -> None:
    """Read the command line and supervise the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--retries", type=int, default=0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    sys.exit(supervise([sys.executable, "-m", "jobs.cli", *given.words], retries=given.retries))


if __name__ == "__main__":
    main()
