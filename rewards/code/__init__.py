"""Programs verified by the tests of a benchmark, in a sandbox.

    verifier    from a completion and its tests to a verdict
    extract     the program in a completion      pairs, imports: tests and what they import
    sandbox     jobs for `zygote`, which forks a confined pair of processes for each:
    program     the one that holds the program   (script: one that reads its input)
    judge       the one that holds the tests     bridge: between the two

`confine` says what a confined process may do.

>>> from rewards.code import verify_code
>>> verify_code("def double(x):\\n    return 2 * x", "assert double(3) == 6").score
1.0
"""

from rewards.code.verifier import (
    code_reward,
    humaneval_reward,
    mbpp_reward,
    verify_code,
    verify_code_batch,
)

__all__ = ["code_reward", "humaneval_reward", "mbpp_reward", "verify_code", "verify_code_batch"]
