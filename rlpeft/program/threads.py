"""Threads of a process, by the CPUs that Ray reserves for it."""

from __future__ import annotations

import math


def num_threads(cpus: float) -> int:
    """Threads of a process with this many CPUs."""
    return max(1, math.floor(cpus))
