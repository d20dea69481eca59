"""The environment of this task: change `SecondTry` to answer what the model writes.

One is made for each conversation, in a process of its own. `reset` begins it, `step` answers each
turn of the model, and either may be `async`.
"""

from collections.abc import Mapping
from typing import Any


class SecondTry:
    """Tells the model that it is wrong, and asks once more.

    Its parameters are the keys of `environment.options` in recipe.toml.

    worth: the reward of an answer that is right the second time; the first time it is 1.
    """

    def __init__(self, worth: float = 0.5) -> None:
        self.worth = worth

    def reset(self, row: Mapping[str, Any], seed: int) -> str | None:
        """Begin a conversation.

        row: the columns of the row, and its right answer as `answer`, whatever its column.
        seed: the same for all answers to a problem in a step: draw by it what must be alike.

        Return text that follows the prompt, or None.
        """
        self.question, self.gold = row["question"], row["answer"]
        self.tries = 0
        return None

    def step(self, text: str) -> str | tuple[str, float, bool, bool]:
        """Answer a turn of the model.

        Return what is said to it, and the conversation goes on; or, with a reward for this turn,
        (what is said, reward, whether it is over, whether it went well). Rewards of a conversation
        are added up.

        An exception fails this conversation alone, and names the line. `text` is a stranger's:
        never run or evaluate it.
        """
        self.tries += 1
        if text.strip() == self.gold:
            return "", 1.0 if self.tries == 1 else self.worth, True, True
        if self.tries == 2:
            return "", 0.0, True, False
        return f"{self.question}="
