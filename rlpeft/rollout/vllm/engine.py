"""The `vllm` engine: real vLLM, with the adapter run by our plugin inside it.

Only the adapter's values travel (a few hundred KB); the base weights are never written. Token ids
go in and come out. Every sampling parameter is sent, so no default of vLLM or of the model's
generation config decides anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from vllm import LLM, SamplingParams, TokensPrompt
from vllm.lora.request import LoRARequest

from rlpeft.adapter_state import AdapterState, tensors_digest
from rlpeft.errors import EngineError
from rlpeft.models.load import context_length, load_config
from rlpeft.models.parallel import require_divisible
from rlpeft.models.sight import ImageProcessor
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.rollout.ends import Stops, read_stops
from rlpeft.rollout.engine import (
    Delivery,
    Together,
    check_experts,
    check_images,
    check_sampling,
    check_tokens,
    in_order,
    whole_requests,
)
from rlpeft.rollout.text import completion_texts, prompt_ends
from rlpeft.rollout.vllm import register
from rlpeft.rollout.vllm.calls import BASE_DIGEST, answer, experts_call, load_call
from rlpeft.rollout.vllm.core import Core, forget_prefixes
from rlpeft.rollout.vllm.experts import EmptyLoras
from rlpeft.rollout.vllm.images import prompt_of
from rlpeft.rollout.vllm.internals import check_version, finished, forget_requests
from rlpeft.rollout.vllm.options import (
    check_compiled,
    check_devices,
    check_experts_form,
    check_options,
    check_quantised,
)
from rlpeft.rollout.vllm.parameters import finish_reason, flat, sampled, scored
from rlpeft.rollout.vllm.peft_config import choose_form, read_config
from rlpeft.rollout.vllm.start import (
    QuantisedBase,
    child_variables,
    expert_arguments,
    llm_arguments,
    plugin_arguments,
    quantised_base,
    worker_arguments,
)
from rlpeft.tokens.eos import eos_ids
from rlpeft.types import Completion, Quantisation, Request, Sampling


class VllmEngine:
    """A rollout engine that runs vLLM in child processes.

    Args:
        model_path: folder of the base model.
        adapter_config: the PEFT config as a plain dict, as in `AdapterState.config`; `None` for
            the base model alone, without our plugin.
        dtype: dtype of the base weights in the engine.
        max_model_len: context limit, prompt included; at most, and if absent, the model's own.
        seed: vLLM's own seed. Completions depend on their requests' seeds alone.
        num_threads: OpenMP threads of a worker on a CPU; if absent, OMP_NUM_THREADS or else vLLM's
            choice, and 1 of several workers.
        form: `factored`: a sync is nearly free, and each token pays for the adapter. `spectral`:
            the same at half the price, for SVF in float32. `dense`: a sync builds one matrix for
            each layer, and a token costs what it costs in the base. `auto`: the cheapest for each
            token whose sync is nearly free.
        max_experts: experts that may share a batch; 0: requests name none. Any number may be
            loaded.
        batch_size: sequences generated at once; vLLM's own choice if absent.
        tensor_parallel: workers, a GPU each, that share every weight.
        processor: how the model sees; absent: requests may have no images.
        quantisation: how the base is quantised as it is loaded, as in a recipe's
            `model.quantisation`.
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
        tensor_parallel: int = 1,
        processor: ImageProcessor | None = None,
        quantisation: Quantisation | None = None,
        **options: Any,
    ) -> None:
        check_version()
        check_options(options, form, batch_size)
        check_experts_form(max_experts, form)
        settings = load_config(Path(model_path))
        limit = context_length(settings)
        self.context = min(max_model_len or limit, limit)
        # One token more than the context: vLLM cannot score a sequence without room to go on.
        require_divisible(settings, tensor_parallel)
        check_devices(tensor_parallel, options)
        variables = child_variables(num_threads, tensor_parallel)
        arguments = llm_arguments(min(self.context + 1, limit), batch_size)
        arguments |= worker_arguments(variables, tensor_parallel) | options
        arguments |= {"dtype": dtype, "seed": seed}
        if adapter_config is not None:
            base = quantised_base(Path(model_path), quantisation)
            arguments |= _adapting(adapter_config, form, max_experts, arguments, base)
        if max_experts:
            arguments |= expert_arguments(max_experts)
        self.tokenizer, self.processor = load_tokenizer(model_path), processor
        self.eos_ids = sorted(eos_ids(Path(model_path), self.tokenizer))
        self._sent_factors: dict[str, str] = {}
        bare = Delivery(0, tensors_digest({}), 0.0)
        self._current: Delivery | None = bare if adapter_config is None else None
        self._experts: dict[str, tuple[LoRARequest, Delivery]] = {}
        self._loras: EmptyLoras | None = None
        self._core = Core(str(model_path), arguments, variables)

    @property
    def processes(self) -> list[psutil.Process]:
        """Those it consists of, beside this one."""
        return list(self._core.processes)

    def load_adapter(self, state: AdapterState) -> Delivery:
        """Write the state into vLLM's layers and drop every cached prefix of older policies."""
        started = time.perf_counter()
        news = {k: v for k, v in state.factors.items() if self._sent_factors.get(k) != v}
        call = load_call(state, news)
        with self._core.alive() as llm:
            digest = answer(llm.collective_rpc(call.method, args=call.args))["digest"]
            self._current = None  # neither policy, until nothing of the old one is cached
            forget_prefixes(llm)
        self._sent_factors = dict(state.factors)
        self._current = Delivery(state.version, digest, time.perf_counter() - started)
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
        module = next(iter(_first(experts).tensors)).rpartition(".")[0]
        loras = self._loras = self._loras or EmptyLoras(module)
        ids = loras.new_ids(len(experts))
        call = experts_call(experts, ids)
        with self._core.alive() as llm:
            digests = answer(llm.collective_rpc(call.method, args=call.args))["digests"]
        seconds = time.perf_counter() - started
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
        return in_order(self.stream(requests, sampling))

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Together]:
        """What has ended, after every step of vLLM at which any has."""
        if not all(request.expert for request in requests):
            self._policy()  # the others need none
        check_experts(requests, self._experts)
        check_sampling(sampling)
        for request in requests:
            self._check(request)
        yield from whole_requests(requests, self._ended(requests, sampling))

    def _ended(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[dict[int, Completion]]:
        """Rows that have ended, step by step."""
        found = read_stops(self.tokenizer, sampling.stop)
        stops = replace(found, token_ids=(*self.eos_ids, *found.token_ids))
        rows = [(request, seed) for request in requests for seed in request.seeds]
        named = [self._experts.get(request.expert or "") for request, _ in rows]
        policies = [self._policy() if found is None else found[1] for found in named]
        prompts = [  # those of a request share its pixels
            prompt
            for request in requests
            for prompt in [prompt_of(request, self.processor)] * len(request.seeds)
        ]
        with self._core.alive() as llm:
            for outputs in _generate(
                llm,
                [request.prompt_ids for request, _ in rows],
                prompts,
                [self._parameters(request, seed, sampling, stops) for request, seed in rows],
                [None if found is None else found[0] for found in named],
            ):
                ran = [policies[row] for row in outputs]
                completions = self._completions([*outputs.values()], ran)
                yield dict(zip(outputs, completions, strict=True))

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1, fp32) of each token after the first.

        Raises:
            EngineError: a sequence is as long as the model's context, where vLLM scores none.
        """
        self._policy()
        longest = min(self.context, self._core.room - 1)
        for sequence in sequences:
            if len(sequence) > longest:
                raise EngineError(
                    f"a sequence to score must have at most {longest} tokens, got "
                    f"{len(sequence)}. Raise max_model_len or shorten it."
                )
            check_tokens(sequence, self._core.vocabulary, of="a sequence to score")
        usable = [sequence for sequence in sequences if len(sequence) > 1]
        with self._core.alive() as llm:
            outputs: dict[int, Any] = {}
            for ended in _generate(
                llm,
                usable,
                [TokensPrompt(prompt_token_ids=list(ids)) for ids in usable],
                [scored() for _ in usable],
                [None] * len(usable),
            ):
                outputs |= ended
        found = (flat(outputs[row].prompt_logprobs) for row in range(len(usable)))
        return [next(found) if len(sequence) > 1 else [] for sequence in sequences]

    def base_digest(self) -> str:
        """SHA-256 (hex) of the frozen weights under the adapter, as each worker holds its own."""
        with self._core.alive() as llm:
            return " ".join(llm.collective_rpc(BASE_DIGEST.method))

    def rest(self) -> None:
        """Give the memory of the KV cache back: on a CPU, and with `enable_sleep_mode` on a GPU."""
        self._core.rest()

    def close(self) -> None:
        """End vLLM and every process it started."""
        self._core.close()
        if self._loras is not None:
            self._loras.close()

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
        check_images(request, sees=self.processor is not None)
        check_tokens(request.prompt_ids, self._core.vocabulary, of=f"prompt {request.id!r}")
        for seed in request.seeds:
            if not 0 <= seed < 2**64:
                raise EngineError(
                    "seeds must be at least 0 (vLLM takes -1 for none) and have at most 64 bits, "
                    f"got {seed} in request {request.id!r}."
                )

    def _parameters(
        self, request: Request, seed: int, sampling: Sampling, stops: Stops
    ) -> SamplingParams:
        room = self.context - len(request.prompt_ids)
        limit = min(request.limit(sampling), room)
        return sampled(sampling, seed, max_tokens=limit, stops=stops)

    def _completions(
        self, outputs: Sequence[Any], policies: Sequence[Delivery]
    ) -> list[Completion]:
        kept = [output.outputs[0] for output in outputs]
        prompts = [output.prompt_token_ids for output in outputs]
        texts = completion_texts(self.tokenizer, prompts, [output.token_ids for output in kept])
        ends = prompt_ends(self.tokenizer, prompts)
        return [
            Completion(
                token_ids=tuple(output.token_ids),
                logprobs=tuple(flat(output.logprobs)),
                text=text,
                finish_reason=finish_reason(output.finish_reason),
                version=policy.version,
                digest=policy.digest,
                prompt_end=end,
            )
            for output, text, end, policy in zip(kept, texts, ends, policies, strict=True)
        ]


def _adapting(
    adapter: Mapping[str, Any],
    form: str,
    slots: int,
    arguments: Mapping[str, Any],
    base: QuantisedBase | None,
) -> dict[str, Any]:
    """Arguments of `vllm.LLM` that put an adapter into its layers.

    Args:
        arguments: all others.

    Raises:
        EngineError: they do not go together.
    """
    config, workers = read_config(adapter), arguments.get("tensor_parallel_size", 1)
    if base is not None:
        check_quantised(config, arguments, base, workers)
    form = choose_form(config, form, arguments["dtype"], workers, is_quantised=base is not None)
    if not arguments["enforce_eager"]:
        check_compiled(config, form, slots, workers)
    register()
    return plugin_arguments(adapter, form=form, slots=slots, base=base)


def _first(experts: Mapping[str, AdapterState]) -> AdapterState:
    return next(iter(experts.values()))


def _generate(
    llm: LLM,
    sent: Sequence[Sequence[int]],
    prompts: Sequence[TokensPrompt],
    parameters: Sequence[SamplingParams],
    experts: Sequence[LoRARequest | None],
) -> Iterator[dict[int, Any]]:
    """vLLM's outputs by row, after every step at which any has ended.

    Args:
        sent: token ids that it must have run, of each row.
    """
    if not prompts:
        return
    given = list(experts) if any(experts) else None
    # Queued whole before any is scheduled: what shares a batch, and so how its numbers are rounded,
    # must not depend on how fast requests arrive. It also fills the first batch.
    try:
        llm.sleep(level=0, mode="keep")
        try:
            ids = llm.enqueue(list(prompts), list(parameters), use_tqdm=False, lora_request=given)
        finally:
            llm.wake_up(tags=["scheduling"])
        for ended in finished(llm, ids):
            for row, output in ended.items():
                _check_prompt(sent[row], output)
            yield ended
    except BaseException:  # an interrupt in a notebook too: the next call must not wait for these
        forget_requests(llm)
        raise


def _check_prompt(sent: Sequence[int], output: Any) -> None:
    if list(sent) != list(output.prompt_token_ids):
        raise EngineError(
            f"vLLM must run the token ids it was given, {list(sent)[:8]!r} became "
            f"{list(output.prompt_token_ids)[:8]!r}."
        )
