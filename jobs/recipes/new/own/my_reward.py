"""The reward of this task: change `score` to say what a good answer is.

    rlpeft reward check my_reward:score --data rows/train.jsonl

tries it on real rows with right, wrong, empty and hostile answers, before any model is loaded.
"""

from collections.abc import Sequence
from typing import Any


def score(completions: Sequence[str], answer: Sequence[str], **columns: Any) -> list[bool]:
    """Judge a batch of completions: True where the answer is right.

    It is called by the names of its parameters, so take those you need:

    completions: what the model wrote, one text for each prompt.
    answer: the right answers, one for each completion; the row's other columns come the same way,
        by their names. What you do not name is in `columns`.

    Return one verdict for each completion:

    True or False: right or wrong. Accuracy is counted from these.
    a number: a score, the higher the better: part of an answer may be worth something.
    None: this one cannot be judged. It is counted apart and trains nothing.

    An exception stops the run and names the line; a call may take `timeout_s` of the recipe's
    `[[reward]]`. Completions are a stranger's text: never run or evaluate them.
    """
    return [text.strip() == gold for text, gold in zip(completions, answer, strict=True)]
