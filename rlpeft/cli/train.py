"""`rlpeft train`."""

from jobs.command import train

__all__ = ["train"]
