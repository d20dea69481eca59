"""`rlpeft report`."""

from jobs.report import report

__all__ = ["report"]
