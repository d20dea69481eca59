"""`rlpeft export`."""

from jobs.export import export

__all__ = ["export"]
