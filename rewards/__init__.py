"""Rewards that cannot lie: verifiers that are exact, bounded in time, and safe on hostile text.

>>> from rewards import verify
>>> verify("The answer is \\\\boxed{1/2}.", "0.5").score
1.0

Importing this package is light: neither torch nor ray, and sympy only where a verifier needs it.
"""

from rewards.errors import RewardError, UnknownKindError
from rewards.math.policy import LENIENT, STRICT, MathPolicy
from rewards.moved import tell_new_names
from rewards.verdict import UNSCORED_KINDS, Verdict, VerdictKind
from rewards.verify import verify, verify_batch

__all__ = [
    "LENIENT",
    "STRICT",
    "UNSCORED_KINDS",
    "MathPolicy",
    "RewardError",
    "UnknownKindError",
    "Verdict",
    "VerdictKind",
    "verify",
    "verify_batch",
]

tell_new_names()
