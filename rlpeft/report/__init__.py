"""What a run looks like: the page, its charts and tables."""

from rlpeft.report.page import write_report

__all__ = ["write_report"]
