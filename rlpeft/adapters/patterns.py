"""A regular expression that names modules is matched by a stranger's rules: under a limit of time.

`re` goes back over all ways to match, and of `(.*.*)*!` there are more than anyone can wait for.
PEFT matches in this process, where nothing ends it. So it is tried first on the same names by the
same `re` in a process of its own, which the system ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from rlpeft.errors import ConfigError

LIMIT_S = 2
"""Processor time for all names of a model: of what people write, each takes microseconds."""

PROGRAM = """
import json, re, resource, sys
limit, pattern, names = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
for name in names:
    re.fullmatch(pattern, name)
"""


def check_pattern(pattern: str, names: Sequence[str], *, option: str = "adapter.targets") -> None:
    """Refuse an expression that cannot be matched with these names in a short time.

    Args:
        names: full names of all modules of a model.
        option: what gives the expression.

    Raises:
        ConfigError: it takes too long.
    """
    # Processor time, since a busy machine makes no expression a bad one.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM],
        input=json.dumps([LIMIT_S, pattern, list(names)]),
        capture_output=True,
        text=True,
    )
    if done.returncode < 0:
        raise ConfigError(
            f"{option} must be an expression that matches the {len(names)} module names within "
            f"{LIMIT_S} s, {pattern!r:.80} does not. Repeat nothing that itself repeats, or list "
            "the names."
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"{option} must be a regular expression, got {pattern!r:.80}: {said}.")
