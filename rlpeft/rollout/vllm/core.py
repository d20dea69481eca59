"""A vLLM and the processes it consists of: started, called, told when dead, ended."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from pydantic import ValidationError
from vllm import LLM, EngineArgs
from vllm.exceptions import VLLMClientError
from vllm.logger import configure_logging_if_needed
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError

from rlpeft.errors import EngineDiedError, EngineError
from rlpeft.rollout.vllm.calls import REST, answer, watch_call
from rlpeft.rollout.vllm.internals import core_processes, wake_callers_at_death
from rlpeft.rollout.vllm.log import VllmLog
from rlpeft.rollout.vllm.start import environment
from rlpeft.rollout.vllm.watch import await_exit_codes, is_alive

SHUTDOWN_S = 20.0
"""vLLM gives its core 5 s, then kills it with all that it shares, and warns of both."""

DEATH_S = 3.0
"""How long processes may take from the first sign of a death to their own last word."""


class Core:
    """A running vLLM.

    Args:
        model_path: folder of the base model.
        arguments: further ones of `vllm.LLM`.
        variables: environment of its processes.

    Attributes:
        room: tokens of a sequence, at most.
        vocabulary: how many token ids have an embedding.

    Raises:
        EngineError: vLLM did not start; says why, and where its log is.
    """

    def __init__(
        self, model_path: str, arguments: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        check_main()
        self.log = VllmLog()
        try:
            with environment({**variables, **self.log.variables}):
                # It would do so itself, and put its own handler in the place of ours.
                configure_logging_if_needed(EngineArgs(model_path).create_logging_config())
                with self.log.collecting():
                    self._llm: Any = LLM(model=model_path, **arguments)
        except Exception as error:  # of vLLM's, torch's, pydantic's classes; all end here
            cause = self.log.first_error() or reason(error)
            raise EngineError(
                f"vLLM did not start: {cause.rstrip('.')}.{_hint(cause)} Its log: {self.log.path}"
            ) from error
        self._cores, self._died = core_processes(self._llm), False
        self._can_sleep = bool(arguments.get("enable_sleep_mode"))
        self._is_asleep = False
        cores = [psutil.Process(process.pid) for process in self._cores]
        self.processes = cores + [p for core in cores for p in core.children(recursive=True)]
        self.room = int(self._llm.model_config.max_model_len)
        self.vocabulary = int(self._llm.model_config.get_vocab_size())
        if cores:
            threading.Thread(target=wake_callers_at_death, args=(self._llm,), daemon=True).start()
        watch = watch_call()
        self._llm.collective_rpc(watch.method, args=watch.args)
        self.log.mark()

    @contextmanager
    def alive(self) -> Iterator[Any]:
        """The `vllm.LLM`, for calls whose failures shall be told in our words.

        Raises:
            EngineDiedError: a process of it is gone.
            EngineError: it refuses a request, or has been closed.
        """
        if self._llm is None:
            raise EngineError("the vllm engine is closed: start another one.")
        try:
            if self._is_asleep:
                self._wake()
            yield self._llm
        except VLLMClientError as error:
            raise EngineError(f"vLLM refuses a request: {error}") from error
        except Exception as error:
            # Sockets of a dead core fail in several ways; what matters is that it is gone.
            if isinstance(error, EngineDeadError) or not all(map(is_alive, self.processes)):
                raise EngineDiedError(self._obituary()) from error
            raise
        self.log.mark()

    def rest(self) -> None:
        """Give the memory of the KV cache back until the next call; nothing of it is kept.

        vLLM itself has that for GPUs alone, by an allocator that has to be asked for at the start
        (`enable_sleep_mode`); without it the cache of a GPU stays.
        """
        if self._is_asleep or not (current_platform.is_cpu() or self._can_sleep):
            return
        with self.alive() as llm:
            forget_prefixes(llm)
            if current_platform.is_cpu():
                answer(llm.collective_rpc(REST.method))
                return
            # Level 0 pauses. Not 1, which would copy the weights away; nor 2, which would drop
            # factors and z, while we believe them there.
            llm.sleep(level=0, mode="keep")
            llm.release_kv_cache_memory()
            self._is_asleep = True

    def _wake(self) -> None:
        torch.cuda.empty_cache()  # what the learner has kept for its own next step
        self._llm.wake_up(tags=["kv_cache"])
        self._is_asleep = False

    def close(self) -> None:
        """End every process. May be called twice."""
        if self._llm is None:
            return
        died = self._died or not all(map(is_alive, self.processes))
        with self.log.collecting():
            self._llm.llm_engine.engine_core.shutdown(timeout=SHUTDOWN_S)
        self._llm = None
        _end(self.processes)
        if not died:
            self.log.remove()

    def _obituary(self) -> str:
        self._died = True
        await_exit_codes(self._cores, DEATH_S)  # before psutil, which would take them away
        psutil.wait_procs(self.processes, timeout=DEATH_S)
        cause = self.log.first_error() or self._exit() or "it said nothing"
        return (
            f"vLLM's process died ({cause}): start another engine. Its log: {self.log.path} on "
            f"{os.uname().nodename}."
        )

    def _exit(self) -> str | None:
        """How a core ended that could not say so itself."""
        for process in self._cores:
            if (code := process.exitcode) is not None:
                hint = ", as the kernel does where memory runs out" if code == -9 else ""
                return f"signal {-code}{hint}" if code < 0 else f"exit code {code}"
        return None


def forget_prefixes(llm: Any) -> None:
    """Have vLLM drop what it has computed of prompts that may come again.

    Raises:
        EngineError: it refuses, as while requests run.
    """
    if not llm.reset_prefix_cache():
        raise EngineError("vLLM must drop its prefix cache between requests, it refused to.")


GUARD = (
    "a program must start an engine below `if __name__ == '__main__':`, for every process of "
    "vLLM imports that program anew"
)


def check_main() -> None:
    """Refuse to start vLLM in one of its own processes, which imports the program that did so.

    Raises:
        EngineError: says how to write the program.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise EngineError(f"{GUARD}. This is such a process.")


def _hint(cause: str) -> str:
    if "See root cause above" in cause:  # which is in no log of ours
        return f" If it starts while it is imported: {GUARD}."
    # What vLLM advises has no effect on a CPU, where we set the size of the cache.
    if current_platform.is_cpu() and "cache" in cause:
        return " Here rollout.options.kv_cache_memory_bytes decides the size of the cache."
    return ""


def reason(error: Exception) -> str:
    """What an exception of vLLM, torch or pydantic says, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        return f"{where}: {said}" if where else said
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _end(processes: Sequence[psutil.Process]) -> None:
    """Wait for processes to end by themselves, then kill what is left."""
    _, alive = psutil.wait_procs(processes, timeout=SHUTDOWN_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=SHUTDOWN_S)
