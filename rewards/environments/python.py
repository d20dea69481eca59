"""A Python interpreter: it runs the program of a turn in the code sandbox and says what it prints.

Each call is a program of its own, with the standard library alone, no network and no files; what a
call defines is gone in the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rewards.code.sandbox import Job, shared_sandbox
from rewards.environments.base import BLANKS, Step
from rewards.environments.calculator import asked
from rewards.errors import RewardError


class Python:
    """Answers the last program of a turn; a turn without one is the policy's last.

    Args:
        open, close: what a program stands between.
        reply: what the policy is told, with what was printed in the place of `{}`.
        time_limit_s: processor seconds of a program; three times as many pass at most.
        memory_mb: address space of a program.
        most_characters: of what was printed that the policy reads; the rest is cut off.
    """

    def __init__(
        self,
        open: str = "```python\n",
        close: str = "```",
        reply: str = "```output\n{}\n```",
        time_limit_s: int = 2,
        memory_mb: int = 512,
        most_characters: int = 1000,
    ) -> None:
        if not open or not close or "{}" not in reply:
            raise RewardError(
                "open and close of the python environment must not be empty, and its reply must "
                f"hold {{}}, got {open!r}, {close!r} and {reply!r}."
            )
        self.open, self.close, self.reply = open, close, reply
        self.limits = Job("", cpu_s=time_limit_s, wall_s=3.0 * time_limit_s, memory_mb=memory_mb)
        self.most_characters = most_characters

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """Nothing to say."""

    async def step(self, text: str) -> Step:
        """What the program printed, or how it failed; programs of several turns run at once."""
        program = asked(text, self.open, self.close)
        if program is None:
            return Step(done=True)
        job = replace(self.limits, source=program)
        outcome = await asyncio.to_thread(shared_sandbox().run_script, job)
        if outcome.outcome in ("broken", "starved"):  # no fault of the program
            raise RewardError(f"the sandbox could not run a program: {outcome.detail}")
        return Step(self.reply.replace("{}", self._shown(outcome.detail)))

    def _shown(self, printed: str) -> str:
        plain = printed.rstrip()
        shown = "".join(
            letter if letter.isprintable() or letter in BLANKS else "\N{REPLACEMENT CHARACTER}"
            for letter in plain[: self.most_characters]
        )
        cut = len(plain) > self.most_characters
        return f"{shown}… ({len(plain)} characters in all)" if cut else shown
