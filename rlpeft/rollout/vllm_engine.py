"""The `vllm` engine: real vLLM, with the adapter run by our plugin inside it.

Only the adapter's values travel (a few hundred KB); the base weights are never written. Token ids
go in and come out. Every sampling parameter is sent, so no default of vLLM or of the model's
generation config decides anything.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from vllm import LLM, SamplingParams, TokensPrompt
from vllm.exceptions import VLLMClientError
from vllm.lora.request import LoRARequest
from vllm.v1.engine.exceptions import EngineDeadError

from rlpeft.adapter_state import AdapterState, tensors_digest
from rlpeft.errors import EngineDiedError, EngineError
from rlpeft.models import eos_ids, load_tokenizer
from rlpeft.rollout.base import Delivery, check_experts
from rlpeft.rollout.vllm_plugin import register
from rlpeft.rollout.vllm_plugin.experts import EmptyLoras, payload, stacked_payload
from rlpeft.rollout.vllm_plugin.internals import (
    check_version,
    core_processes,
    wake_callers_at_death,
)
from rlpeft.rollout.vllm_plugin.plan import choose_form, read_config
from rlpeft.rollout.vllm_plugin.start import (
    check_experts_form,
    check_options,
    child_variables,
    environment,
    expert_arguments,
    llm_arguments,
    model_context,
    plugin_arguments,
)
from rlpeft.rollout.vllm_plugin.watch import is_alive
from rlpeft.types import Completion, FinishReason, Request, Sampling

SMALLEST_TEMPERATURE = 0.01
"""vLLM quietly raises smaller temperatures to this one."""

SHUTDOWN_S = 10.0


class VllmEngine:
    """A rollout engine that runs vLLM in child processes.

    Args:
        model_path: folder of the base model, unquantised.
        adapter_config: the PEFT config as a plain dict, as in `AdapterState.config`; `None` for
            the base model alone, without our plugin.
        dtype: dtype of the base weights in the engine.
        max_model_len: context limit, prompt included; at most, and if absent, the model's own.
        seed: vLLM's own seed. Completions depend on their requests' seeds alone.
        num_threads: OpenMP threads on a CPU; if absent, OMP_NUM_THREADS or else vLLM's choice.
        form: `factored`: a sync is nearly free, and each token pays for the adapter. `spectral`:
            the same at half the price, for SVF in float32. `dense`: a sync builds one matrix for
            each layer, and a token costs what it costs in the base. `auto`: the cheapest for each
            token whose sync is nearly free.
        max_experts: experts that may share a batch; 0: requests name none. Any number may be
            loaded.
        batch_size: sequences generated at once; vLLM's own choice if absent.
        options: further arguments of `vllm.LLM`.

    Raises:
        EngineError: adapter, base model, options and vLLM's version do not go together, or vLLM
            did not start.
    """

    def __init__(
        self,
        model_path: Path | str,
        adapter_config: Mapping[str, Any] | None,
        *,
        dtype: str = "float32",
        max_model_len: int | None = None,
        seed: int = 0,
        num_threads: int | None = None,
        form: str = "auto",
        max_experts: int = 0,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        check_version()
        check_options(options, form)
        check_experts_form(max_experts, form)
        arguments = llm_arguments(batch_size) | options
        if adapter_config is not None:
            form = choose_form(read_config(adapter_config), form, dtype)
            register()
            arguments |= plugin_arguments(adapter_config, form=form)
        if max_experts:
            arguments |= expert_arguments(max_experts)
        limit = model_context(Path(model_path))
        self.context = min(max_model_len or limit, limit)
        self.tokenizer = load_tokenizer(model_path)
        self.eos_ids = sorted(eos_ids(Path(model_path), self.tokenizer))
        self._sent_factors: dict[str, str] = {}
        base = Delivery(0, tensors_digest({}), 0.0)
        self._current: Delivery | None = base if adapter_config is None else None
        self._experts: dict[str, tuple[LoRARequest, Delivery]] = {}
        self._loras: EmptyLoras | None = None
        self._llm: Any = None
        self._processes: list[psutil.Process] = []
        # One token more than the context: vLLM cannot score a sequence without room to go on.
        arguments |= {"max_model_len": min(self.context + 1, limit), "dtype": dtype, "seed": seed}
        with environment(child_variables(num_threads)):
            self._start(str(model_path), arguments)

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Write the state into vLLM's layers and drop every cached prefix of older policies."""
        started = time.perf_counter()
        news = {k: v for k, v in state.factors.items() if self._sent_factors.get(k) != v}
        sent = payload(state)
        with self._alive() as llm:
            replies = llm.collective_rpc("rlpeft_load", args=(sent, json.dumps(news)))
            answer = json.loads(replies[0])
            if "error" in answer:
                raise EngineError(answer["error"])
            self._current = None  # neither policy, until nothing of the old one is cached
            if not llm.reset_prefix_cache():
                raise EngineError("vLLM must drop its prefix cache at a sync, it refused to.")
        self._sent_factors = dict(state.factors)
        self._current = Delivery(state.version, answer["digest"], time.perf_counter() - started)
        return self._current

    def load_experts(self, experts: Mapping[str, AdapterState]) -> dict[str, Delivery]:
        """Send the experts to vLLM's workers; each becomes a LoRA request with a name of its own.

        The name holds the digest: another version is another name, so that no cached prefix of
        one serves the other.
        """
        if not experts:
            self._experts = {}
            return {}
        started = time.perf_counter()
        loras = self._loras = self._loras or EmptyLoras(next(iter(_first(experts).tensors)))
        ids = loras.new_ids(len(experts))
        factors = {k: v for state in experts.values() for k, v in state.factors.items()}
        with self._alive() as llm:
            arguments = (stacked_payload(experts), json.dumps(ids), json.dumps(factors))
            answer = json.loads(llm.collective_rpc("rlpeft_experts", args=arguments)[0])
        if "error" in answer:
            raise EngineError(answer["error"])
        seconds, digests = time.perf_counter() - started, answer["digests"]
        self._experts = {
            name: (
                loras.request(name, number, digest),
                Delivery(state.version, digest, seconds),
            )
            for (name, state), number, digest in zip(experts.items(), ids, digests, strict=True)
        }
        return {name: delivery for name, (_, delivery) in self._experts.items()}

    def rollout(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Complete each request once per seed, in request order then seed order."""
        if not all(request.expert for request in requests):
            self._policy()  # the others need none
        check_experts(requests, self._experts)
        for request in requests:
            self._check(request)
        with self._alive() as llm:
            rows = [
                (r.prompt_ids, self._parameters(r, seed, sampling))
                for r in requests
                for seed in r.seeds
            ]
            named = [self._experts.get(r.expert or "") for r in requests for _ in r.seeds]
            outputs = _generate(
                llm,
                [ids for ids, _ in rows],
                [given for _, given in rows],
                [None if found is None else found[0] for found in named],
            )
        policies = [self._policy() if found is None else found[1] for found in named]
        completions = iter(self._completions(outputs, policies))
        return [[next(completions) for _ in request.seeds] for request in requests]

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1, fp32) of each token after the first.

        Raises:
            EngineError: a sequence is as long as the model's context, where vLLM scores none.
        """
        self._policy()
        for sequence in sequences:
            if len(sequence) > self.context or len(sequence) >= self._room:
                raise EngineError(
                    f"a sequence to score must have at most {min(self.context, self._room - 1)} "
                    f"tokens, got {len(sequence)}. Raise max_model_len or shorten it."
                )
        # vLLM reads no prefix cache where prompt log-probs are asked for, so each one is computed.
        scored = [sequence for sequence in sequences if len(sequence) > 1]
        scoring = [
            _every_parameter(max_tokens=1, temperature=0.0, prompt_logprobs=0) for _ in scored
        ]
        with self._alive() as llm:
            outputs = iter(_generate(llm, scored, scoring, [None] * len(scored)))
        return [_flat(next(outputs).prompt_logprobs) if len(s) > 1 else [] for s in sequences]

    def base_digest(self) -> str:
        """SHA-256 (hex) of the frozen weights under the adapter, as the workers hold them."""
        with self._alive() as llm:
            return llm.collective_rpc("rlpeft_base_digest")[0]

    def close(self) -> None:
        """End vLLM and every process it started."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
        _end(self._processes)
        if self._loras is not None:
            self._loras.close()

    def _start(self, model_path: str, arguments: dict[str, Any]) -> None:
        try:
            self._llm = LLM(model=model_path, **arguments)
        except (RuntimeError, ValueError, TypeError) as error:
            cause = str(error).strip().splitlines()[0]
            raise EngineError(f"vLLM did not start: {cause} vLLM's log says more.") from error
        cores = [psutil.Process(process.pid) for process in core_processes(self._llm)]
        self._processes = cores + [p for core in cores for p in core.children(recursive=True)]
        self._room = int(self._llm.model_config.max_model_len)
        if cores:
            threading.Thread(target=wake_callers_at_death, args=(self._llm,), daemon=True).start()
        self._llm.collective_rpc("rlpeft_watch", args=(os.getpid(),))

    @contextmanager
    def _alive(self) -> Iterator[Any]:
        if self._llm is None:
            raise EngineError("the vllm engine is closed: start another one.")
        try:
            yield self._llm
        except VLLMClientError as error:
            raise EngineError(f"vLLM refuses a request: {error}") from error
        except Exception as error:
            # Sockets of a dead core fail in several ways; what matters is that it is gone.
            if isinstance(error, EngineDeadError) or not all(map(is_alive, self._processes)):
                raise EngineDiedError("vLLM's process died: start another engine.") from error
            raise

    def _policy(self) -> Delivery:
        if self._current is None:
            raise EngineError("the vllm engine must be given an adapter first (load_adapter).")
        return self._current

    def _check(self, request: Request) -> None:
        if not 0 < len(request.prompt_ids) < self.context:
            raise EngineError(
                f"prompt {request.id!r} must have 1 to {self.context - 1} tokens to fit the "
                f"engine's context, it has {len(request.prompt_ids)}. Raise max_model_len or "
                "shorten it."
            )
        if any(seed < 0 for seed in request.seeds):
            raise EngineError(
                f"seeds must be >= 0 (vLLM takes -1 for none), got {request.seeds!r}."
            )

    def _parameters(self, request: Request, seed: int, sampling: Sampling) -> SamplingParams:
        if 0 < sampling.temperature < SMALLEST_TEMPERATURE:
            raise EngineError(
                f"temperature must be 0 or at least {SMALLEST_TEMPERATURE} in vLLM, got "
                f"{sampling.temperature!r}."
            )
        return _every_parameter(
            max_tokens=min(sampling.max_tokens, self.context - len(request.prompt_ids)),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=seed,
            stop=list(sampling.stop),
            stop_token_ids=self.eos_ids,
            detokenize=bool(sampling.stop),
            logprobs=0,
        )

    def _completions(
        self, outputs: Sequence[Any], policies: Sequence[Delivery]
    ) -> list[Completion]:
        kept = [output.outputs[0] for output in outputs]
        texts = self.tokenizer.batch_decode(
            [list(output.token_ids) for output in kept], skip_special_tokens=True
        )
        return [
            Completion(
                token_ids=tuple(output.token_ids),
                logprobs=tuple(_flat(output.logprobs)),
                text=text,
                finish_reason=_finish_reason(output.finish_reason),
                version=policy.version,
                digest=policy.digest,
            )
            for output, text, policy in zip(kept, texts, policies, strict=True)
        ]


def _every_parameter(
    *,
    max_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    **others: Any,
) -> SamplingParams:
    """Sampling parameters with nothing left to vLLM's defaults that changes a distribution."""
    others = {"seed": 0, "stop": [], "stop_token_ids": [], "detokenize": False} | others
    return SamplingParams(
        n=1,
        max_tokens=max_tokens,
        min_tokens=0,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        logit_bias=None,
        bad_words=[],
        allowed_token_ids=None,
        ignore_eos=False,
        skip_special_tokens=True,
        flat_logprobs=True,
        skip_clone=True,  # made for one request each
        **others,
    )


def _first(experts: Mapping[str, AdapterState]) -> AdapterState:
    return next(iter(experts.values()))


def _generate(
    llm: LLM,
    prompts: Sequence[Sequence[int]],
    parameters: Sequence[SamplingParams],
    experts: Sequence[LoRARequest | None],
) -> list[Any]:
    if not prompts:
        return []
    inputs = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
    given = list(experts) if any(experts) else None
    # Queued whole before any is scheduled: what shares a batch, and so how its numbers are rounded,
    # must not depend on how fast requests arrive. It also fills the first batch.
    llm.sleep(level=0, mode="keep")
    try:
        llm.enqueue(inputs, list(parameters), use_tqdm=False, lora_request=given)
    finally:
        llm.wake_up(tags=["scheduling"])
    outputs = llm.wait_for_completion(use_tqdm=False)
    for ids, output in zip(prompts, outputs, strict=True):
        if list(ids) != list(output.prompt_token_ids):
            raise EngineError(
                f"vLLM must run the token ids it was given, {list(ids)[:8]!r} became "
                f"{list(output.prompt_token_ids)[:8]!r}."
            )
    return outputs


def _flat(logprobs: Any) -> list[float]:
    """One log-prob for each position that has one: of the token itself, since none was ranked."""
    return [float(value) for value in logprobs.logprobs] if logprobs else []


def _finish_reason(reason: str | None) -> FinishReason:
    if reason not in ("stop", "length"):
        raise EngineError(f"a completion must end by 'stop' or 'length', vLLM says {reason!r}.")
    return FinishReason(reason)


def _end(processes: Sequence[psutil.Process]) -> None:
    """Wait for processes to end by themselves, then kill what is left."""
    _, alive = psutil.wait_procs(processes, timeout=SHUTDOWN_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=SHUTDOWN_S)
