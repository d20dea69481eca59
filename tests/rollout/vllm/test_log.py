"""The line of vLLM's log that says why a process died."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rlpeft.rollout.vllm.log import VllmLog, first_error

CHAIN = """\
(Worker pid=7) ERROR 11-29 09:36:55 [multiproc_executor.py:980] WorkerProc hit an exception.
(Worker pid=7) ERROR 11-29 09:36:55 [multiproc_executor.py:980] Traceback (most recent call last):
(Worker pid=7) ERROR 11-29 09:36:55 [multiproc_executor.py:980]     raise ValueError("no")
(Worker pid=7) ERROR 11-29 09:36:55 [multiproc_executor.py:980] torch.OutOfMemoryError: 3 GiB
(EngineCore pid=6) ERROR 11-29 09:36:56 [core.py:1100] EngineCore encountered a fatal error.
(EngineCore pid=6) ERROR 11-29 09:36:56 [core.py:1100] RuntimeError: Worker failed with error '3'
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CHAIN, "torch.OutOfMemoryError: 3 GiB"),
        ("(EngineCore pid=6) ERROR 11-29 09:36:56 [core.py:11] Worker died.\n", "Worker died."),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", "terminate called"),
        ("(EngineCore pid=6) WARNING 11-29 09:36:56 [core.py:11] An Error: soon\n", None),
        ("all is well\n", None),
    ],
)
def test_the_first_cause_is_told_not_what_followed_from_it(text: str, expected: str | None) -> None:
    found = first_error(text.splitlines(keepends=True))
    assert found == expected or (expected and found and found.startswith(expected))


def test_what_went_well_before_is_no_cause() -> None:
    log = VllmLog()
    log.path.write_text("KeyError: 'long ago'\n")
    log.mark()
    assert log.first_error() is None
    with log.path.open("a") as more:
        more.write("KeyError: 'now'\n")
    assert log.first_error() == "KeyError: 'now'"
    log.remove()


def test_a_process_that_vllm_starts_writes_into_the_log_and_its_owner_does_not() -> None:
    log = VllmLog()
    code = "from rlpeft.rollout.vllm.log import redirect; redirect(); print('here')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | log.variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, log.path.read_text()) == ("", "here\n")
    log.remove()
