"""`rlpeft doctor`."""

from jobs.doctor import doctor

__all__ = ["doctor"]
