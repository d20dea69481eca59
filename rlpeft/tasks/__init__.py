"""Where prompts come from: generators, local files and Hub datasets, as indexable problems."""

from rlpeft.tasks.base import SPLITS, ProblemSet, Split, Task
from rlpeft.tasks.catalogue import load_task

__all__ = ["SPLITS", "ProblemSet", "Split", "Task", "load_task"]
