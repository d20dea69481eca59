"""Everything a user can get wrong, as one small tree.

RlpeftError
├── ConfigError      a recipe, a command line or a combination of options
├── ModelError       a base model folder, its tokenizer, its modules or its numbers
├── ExpertError      an expert file, its base, or a mixture of experts
├── DataError        a dataset, a column, a row or a prompt
├── CheckpointError  a run folder that cannot be continued
├── FileError        a file or folder that cannot be read or written
├── HubError         what a model hub does not give, or does not take
├── EngineError      a rollout engine, and a policy update it did not take
│   └── EngineDiedError   its process is gone: another engine may do the same work
└── ClusterError     Ray: resources, placement, jobs; ranks of a learner

Mistakes in the use of a reward are `rewards.errors.RewardError`: `rewards` stands alone.
The command line prints the message alone and exits 1; the library raises. A message says what
must hold, what was got, and how to mend it.
"""


class RlpeftError(ValueError):
    """Base of all errors a user can mend."""


class ConfigError(RlpeftError):
    """A recipe, a command line, or a combination of options."""


class ModelError(RlpeftError):
    """A base model folder, its tokenizer, its modules or its numbers."""


class ExpertError(RlpeftError):
    """An expert file, its base model, or a mixture of experts."""


class DataError(RlpeftError):
    """A dataset, a column, a row or a prompt."""


class CheckpointError(RlpeftError):
    """A run folder that cannot be continued."""


class FileError(RlpeftError):
    """A file or folder that the file system does not let us read or write."""


class HubError(RlpeftError):
    """What a model hub does not give, or does not take."""


class EngineError(RlpeftError):
    """A rollout engine, or a policy update it did not take."""


class EngineDiedError(EngineError):
    """An engine's process is gone, through no fault of what it was asked; another may do it."""


class ClusterError(RlpeftError):
    """Ray: resources, placement, jobs; ranks of a learner."""
