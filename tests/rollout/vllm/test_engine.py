"""The real vLLM, on a small random Llama, against `transformers`. One engine serves all tests."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

pytest.importorskip("vllm")

import psutil
from peft import PeftModel, get_peft_model
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewards.environments.base import Step
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters import SvfConfig
from rlpeft.adapters.policy import adapter_state
from rlpeft.errors import EngineError
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.rollout.vllm.start import CPU_KV_CACHE_BYTES
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Completion, FinishReason, Problem, Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

BOUND = 1e-4
BLOCK = 32
CONTEXT = 96
VOCABULARY = ["<pad>", "<bos>", "<eos>", "<end>", *"abcdefghijklmnopqrstuvwxyz0123456789+=. "]
EOS = (2, 3)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]  # down_proj stays plain
PROMPT = (1, 5, 9, 14, 7)
LONG_PROMPT = tuple(4 + k % 30 for k in range(BLOCK + 20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model whose generation config would spoil sampling if it were read."""
    path = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=list(EOS),
        pad_token_id=0,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(path)
    spoiled = {"eos_token_id": list(EOS), "temperature": 0.05, "top_k": 1, "top_p": 0.1}
    spoiled |= {"repetition_penalty": 1.7, "max_new_tokens": 1, "do_sample": True}
    (path / "generation_config.json").write_text(json.dumps(spoiled))
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def policy(folder: Path) -> PeftModel:
    base = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return get_peft_model(base, SvfConfig(target_modules=TARGETS)).eval()


@pytest.fixture(scope="module")
def engine(folder: Path, policy: PeftModel) -> Iterator[VllmEngine]:
    engine = VllmEngine(
        folder, adapter_state(policy, 0).config, max_model_len=CONTEXT, block_size=BLOCK
    )
    yield engine
    engine.close()


def states(policy: PeftModel, *, scale: float, seed: int = 0) -> AdapterState:
    """The policy with z drawn around 1, and its state."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = 1 + scale * torch.randn(parameter.shape, generator=generator)
    return adapter_state(policy, seed)


@torch.no_grad()
def logprobs(policy: PeftModel, ids: Any, *, temperature: float = 1.0) -> list[float]:
    """The trainer's side: log-prob of each token after the first."""
    ids = torch.tensor([list(ids)])
    log_pi = (policy(input_ids=ids).logits[0, :-1] / temperature).log_softmax(-1)
    return log_pi.gather(-1, ids[0, 1:, None]).squeeze(-1).tolist()


def gap(policy: PeftModel, prompt: Any, completion: Completion, temperature: float = 1.0) -> float:
    """Largest difference between a completion's log-probs and the trainer's."""
    scored = logprobs(policy, (*prompt, *completion.token_ids), temperature=temperature)
    return largest_gap([completion.logprobs], [scored[len(prompt) - 1 :]])


def complete(
    engine: VllmEngine, prompt: Any = PROMPT, *, seeds: Any = (0,), **sampling: Any
) -> Any:
    sampling = {"max_tokens": 24, **sampling}
    return engine.rollout([Request("r", tuple(prompt), tuple(seeds))], Sampling(**sampling))[0]


def test_an_engine_without_adapter_generates_nothing(engine: VllmEngine) -> None:
    if engine._current is not None:
        pytest.skip("another test has already sent an adapter")
    with pytest.raises(EngineError, match="load_adapter"):
        complete(engine)


def test_greedy_completions_are_those_of_the_trainer(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    completion = complete(engine, temperature=0.0)[0]
    ids = list(PROMPT)
    with torch.no_grad():
        while len(ids) < len(PROMPT) + 24 and ids[-1] not in EOS:
            ids.append(int(policy(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert list(completion.token_ids) == ids[len(PROMPT) :]
    assert gap(policy, PROMPT, completion) <= BOUND


def test_a_completion_says_what_it_was_sampled_with(engine: VllmEngine, policy: PeftModel) -> None:
    state = states(policy, scale=0.2, seed=7)
    delivery = engine.load_adapter(state)
    completion = complete(engine)[0]
    assert (delivery.version, delivery.digest) == (7, state.digest)
    assert (completion.version, completion.digest) == (7, state.digest)
    assert len(completion.logprobs) == len(completion.token_ids) > 0
    plain = "".join(VOCABULARY[i] for i in completion.token_ids if i > 3)
    assert completion.text.replace(" ", "") == plain.replace(" ", "")


def test_z_of_one_is_the_base_again(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    first = engine.logprobs([PROMPT, LONG_PROMPT])
    engine.load_adapter(states(policy, scale=0.2))
    assert largest_gap(engine.logprobs([PROMPT, LONG_PROMPT]), first) > 0.1
    engine.load_adapter(states(policy, scale=0.0))
    assert engine.logprobs([PROMPT, LONG_PROMPT]) == first
    with policy.disable_adapter():
        base = [logprobs(policy, PROMPT), logprobs(policy, LONG_PROMPT)]
    assert largest_gap(first, base) <= BOUND


def test_delivery_is_proven(engine: VllmEngine, policy: PeftModel) -> None:
    state = states(policy, scale=0.2)
    expected = [logprobs(policy, PROMPT)]
    assert Prover(engine).prove(Proof(state, [PROMPT], expected, bound=BOUND)).gap <= BOUND


def test_a_canary_of_another_policy_stops_the_run(engine: VllmEngine, policy: PeftModel) -> None:
    other = states(policy, scale=0.2, seed=1)
    expected = [logprobs(policy, PROMPT)]
    with pytest.raises(EngineError, match="canary"):
        Prover(engine).prove(Proof(states(policy, scale=0.2), [PROMPT], expected, bound=BOUND))
    Prover(engine).prove(Proof(other, [PROMPT], expected, bound=BOUND))


def test_an_incomplete_state_is_refused_and_the_old_policy_stays(
    engine: VllmEngine, policy: PeftModel
) -> None:
    state = states(policy, scale=0.2)
    engine.load_adapter(state)
    before = engine.logprobs([PROMPT])
    tensors = dict(states(policy, scale=0.2, seed=1).tensors)
    name = "base_model.model.model.layers.1.self_attn.k_proj.svf_z"
    del tensors[name]
    with pytest.raises(EngineError, match=name):
        engine.load_adapter(AdapterState(state.config, tensors, 9, state.factors))
    assert engine.logprobs([PROMPT]) == before
    assert complete(engine)[0].version == state.version


def test_a_tensor_without_place_is_refused(engine: VllmEngine, policy: PeftModel) -> None:
    state = states(policy, scale=0.2)
    name = "base_model.model.model.layers.1.mlp.down_proj.svf_z"
    tensors = {**state.tensors, name: torch.ones(64)}
    with pytest.raises(EngineError, match=r"down_proj\.svf_z"):
        engine.load_adapter(AdapterState(state.config, tensors, 9, state.factors))


def test_a_cached_prefix_of_the_old_policy_is_not_used(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2, seed=1))
    complete(engine, LONG_PROMPT, seeds=range(4))
    engine.load_adapter(states(policy, scale=0.2, seed=2))
    for completion in complete(engine, LONG_PROMPT, seeds=range(4)):
        assert gap(policy, LONG_PROMPT, completion) <= BOUND


def test_an_engine_that_rested_has_given_its_cache_back_and_says_what_it_said(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2, seed=3))
    said = complete(engine, LONG_PROMPT, seeds=range(4))
    awake = memory(engine)
    engine.rest()
    assert awake - memory(engine) > 0.95 * CPU_KV_CACHE_BYTES
    engine.rest()
    # As without a rest, but that the prompt is not in the cache, where it would read as zeros.
    assert complete(engine, LONG_PROMPT, seeds=range(4)) == said
    (asleep,) = complete(engine, LONG_PROMPT, temperature=0.0)
    assert gap(policy, LONG_PROMPT, asleep) <= BOUND
    assert awake - memory(engine) > 0.9 * CPU_KV_CACHE_BYTES


def memory(engine: VllmEngine) -> int:
    return sum(process.memory_info().rss for process in engine.processes)


def test_base_weights_stay_bit_identical_over_syncs(engine: VllmEngine, policy: PeftModel) -> None:
    before = engine.base_digest()
    for seed in range(20):
        engine.load_adapter(states(policy, scale=0.3, seed=seed))
    complete(engine)
    assert engine.base_digest() == before


def test_a_change_of_one_thousandth_reaches_the_engine(
    engine: VllmEngine, policy: PeftModel
) -> None:
    base = states(policy, scale=0.0)
    engine.load_adapter(base)
    before = engine.logprobs([PROMPT])
    nudged = {name: tensor + 1e-3 for name, tensor in base.tensors.items()}
    engine.load_adapter(AdapterState(base.config, nudged, 1, base.factors))
    assert largest_gap(engine.logprobs([PROMPT]), before) > 1e-4


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_the_importance_ratio_of_an_unchanged_policy_is_one(
    engine: VllmEngine, policy: PeftModel, temperature: float
) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    for completion in complete(engine, seeds=range(16), temperature=temperature):
        assert gap(policy, PROMPT, completion, temperature) <= BOUND


class Answering:
    """Environments that say the same to every turn."""

    def reset(self, rows: Any) -> dict[str, str]:
        return dict.fromkeys(rows, "")

    def step(self, texts: Any) -> dict[str, Step]:
        return dict.fromkeys(texts, Step("no. try 7"))

    def forget(self, names: Any) -> None:
        """Nothing is held."""


def test_turns_of_a_conversation_have_the_log_probs_of_the_trainer(
    engine: VllmEngine, policy: PeftModel, folder: Path
) -> None:
    prompter = Prompter(AutoTokenizer.from_pretrained(folder), max_tokens=20)
    talks = Conversations(
        cast(Any, Answering()),
        prompter,
        EnvironmentConfig(name="calculator", max_turns=3, max_turn_tokens=16),
        context=CONTEXT,
    )
    fleet, problem = LocalFleet(engine), Problem("a", "abc=", "7")
    state = states(policy, scale=0.2, seed=5)
    fleet.sync(Proof(state, [PROMPT], [logprobs(policy, PROMPT)], bound=BOUND))
    asked = prompter.request(problem, range(32))
    (group,) = talks.hold([problem], [asked], fleet, Sampling(max_tokens=70))
    assert max(len(done.conversation.turns) for done in group.completions) == 5
    for done in group.completions:
        assert (done.version, done.digest) == (5, state.digest)
        scored = logprobs(policy, (*group.prompt_ids, *done.token_ids))
        expected = scored[len(group.prompt_ids) - 1 :]
        own = [log_p if mine else 0.0 for log_p, mine in zip(expected, done.own, strict=True)]
        assert largest_gap([done.logprobs], [own]) <= BOUND


def test_no_sampling_default_of_the_model_leaks_in(engine: VllmEngine, policy: PeftModel) -> None:
    # The folder's generation config asks for top-k 1 and a repetition penalty.
    engine.load_adapter(states(policy, scale=0.0))
    completions = complete(engine, seeds=range(64), max_tokens=4)
    firsts = [c.token_ids[0] for c in completions]
    with torch.no_grad():
        probabilities = policy(input_ids=torch.tensor([PROMPT])).logits[0, -1].softmax(-1)
    expected = 64 * float(probabilities.max())
    assert abs(firsts.count(int(probabilities.argmax())) - expected) < 4 * 64**0.5 * 0.5
    assert len(set(firsts)) > 1


def test_truncation_renormalises_the_reported_logprobs(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    for completion in complete(engine, seeds=range(8), max_tokens=1, top_k=2):
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([PROMPT])).logits[0, -1]
        values, ids = logits.topk(2)
        kept = dict(zip(ids.tolist(), values.log_softmax(-1).tolist(), strict=True))
        assert completion.logprobs[0] == pytest.approx(kept[completion.token_ids[0]], abs=BOUND)


def test_the_prompt_runs_exactly_as_given(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    for prompt in [(1, 1, 5, 9), (5, 9), (9, 2, 5)]:  # two BOS, none, an EOS inside
        assert gap(policy, prompt, complete(engine, prompt, temperature=0.0)[0]) <= BOUND


def test_every_end_of_sequence_id_ends_a_completion(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    completions = complete(engine, seeds=range(200), temperature=2.0, max_tokens=40)
    ended = {c.token_ids[-1] for c in completions if c.finish_reason is FinishReason.STOP}
    assert ended == set(EOS)
    for completion in completions:
        assert not set(completion.token_ids[:-1]) & set(EOS)
        assert completion.truncated == (completion.token_ids[-1] not in EOS)


def test_the_context_limit_counts_as_truncation(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    prompt = tuple(4 + k % 30 for k in range(CONTEXT - 3))
    completions = complete(engine, prompt, seeds=range(8), max_tokens=50)
    cut = [c for c in completions if c.token_ids[-1] not in EOS]
    assert cut
    assert all(c.truncated and len(c.token_ids) == 3 for c in cut)
    scored = (*prompt, *cut[0].token_ids)
    assert largest_gap(engine.logprobs([scored]), [logprobs(policy, scored)]) <= BOUND


def test_a_stop_string_ends_a_completion(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    completions = complete(engine, seeds=range(64), max_tokens=40, stop=("a", "b"))
    stopped = [c for c in completions if c.token_ids[-1] not in EOS and not c.truncated]
    assert stopped
    assert {c.text[-1] for c in stopped} <= {"a", "b"}
    assert not any(set(c.text[:-1]) & {"a", "b"} for c in completions)


def test_a_stop_string_may_be_a_special_token_or_hold_one(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    options: Any = {"temperature": 2.0, "max_tokens": 40}
    rows = [c.token_ids for c in complete(engine, seeds=range(200), **options)]
    seed = next(k for k, ids in enumerate(rows) if 1 in ids[:-1] and ids[ids.index(1) + 1] > 3)
    ids = rows[seed]
    for size in (1, 2):
        end = ids.index(1) + size
        stop = engine.tokenizer.decode(ids[end - size : end])
        (found,) = complete(engine, seeds=(seed,), stop=(stop,), **options)
        assert stop.startswith("<bos>")
        assert found.token_ids == ids[:end]
        assert found.finish_reason is FinishReason.STOP


def test_a_seed_decides_its_completion_whatever_shares_the_batch(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    alone = complete(engine, seeds=(5,))[0]
    among = complete(engine, seeds=(3, 4, 5, 6))
    assert among[2].token_ids == alone.token_ids
    assert len({c.token_ids for c in among}) == 4


def test_all_requests_are_queued_before_the_first_is_scheduled(
    engine: VllmEngine, policy: PeftModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load_adapter(states(policy, scale=0.05))
    core, sizes = engine._core._llm.llm_engine.engine_core, []
    get_output = core.get_output

    def watched() -> Any:
        sizes.append(len((outputs := get_output()).outputs))
        return outputs

    monkeypatch.setattr(core, "get_output", watched)
    requests = [Request(str(k), PROMPT, (k,)) for k in range(60)]
    engine.rollout(requests, Sampling(max_tokens=2))
    assert sizes[0] == 60


def test_completions_come_in_request_order_then_seed_order(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    requests = [
        Request("a", PROMPT, (0, 1)),
        Request("b", LONG_PROMPT, ()),
        Request("c", (7,), (2,)),
    ]
    groups = engine.rollout(requests, Sampling(max_tokens=6))
    assert [len(group) for group in groups] == [2, 0, 1]
    for request, group in zip(requests, groups, strict=True):
        assert all(gap(policy, request.prompt_ids, c) <= BOUND for c in group)


def test_answers_come_as_they_end_and_are_those_of_one_batch(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    requests = [Request(str(k), PROMPT, (2 * k, 2 * k + 1)) for k in range(6)]
    requests.append(Request("none", PROMPT, ()))
    parts = list(engine.stream(requests, Sampling(max_tokens=24)))
    found = {place: done for part in parts for place, done in part.items()}
    assert [found[place] for place in range(7)] == engine.rollout(requests, Sampling(max_tokens=24))
    assert sum(map(len, parts)) == 7
    lengths = [max(len(c.token_ids) for c in part[at]) for part in parts[1:] for at in part]
    assert lengths == sorted(lengths)
    assert len({*lengths}) == len(parts) - 1


def test_an_engine_that_nobody_listens_to_any_more_answers_the_next_call(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    requests = [Request(str(k), PROMPT, (k,)) for k in range(6)]
    whole = engine.rollout(requests, Sampling(max_tokens=24))
    parts = engine.stream(requests, Sampling(max_tokens=24))
    next(parts)
    parts.close()
    assert engine.rollout(requests, Sampling(max_tokens=24)) == whole


def test_sequences_too_short_to_score_have_no_logprobs(
    engine: VllmEngine, policy: PeftModel
) -> None:
    engine.load_adapter(states(policy, scale=0.2))
    rows = engine.logprobs([(5,), PROMPT, ()])
    assert [len(row) for row in rows] == [0, len(PROMPT) - 1, 0]


@pytest.mark.parametrize(
    ("request_", "sampling", "message"),
    [
        (Request("r", PROMPT, (0,), expert="maths"), {}, "expert 'maths' of request"),
        (Request("r", (5,) * CONTEXT, (0,)), {}, "prompt 'r' must have 1 to 95 tokens"),
        (Request("r", (), (0,)), {}, "it has 0"),
        (Request("r", PROMPT, (-1,)), {}, "seeds must be at least 0 .* got -1 in request 'r'"),
        (Request("r", PROMPT, (0, 2**64)), {}, "at most 64 bits, got 18446744073709551616"),
        (Request("r", PROMPT, (0,)), {"temperature": 0.001}, "temperature must be 0 or at least"),
        (Request("r", PROMPT, (0,)), {"temperature": 3.0}, r"temperature must be in \[0, 2\]"),
        (Request("r", (1, 999), (0,)), {}, "0 to 43, which is what the model embeds"),
        (Request("r", PROMPT, (0,)), {"temperature": float("inf")}, "must be finite"),
        (Request("r", PROMPT, (0,)), {"stop": ("",)}, "must not be empty"),
    ],
)
def test_a_request_vllm_would_change_quietly_is_refused(
    engine: VllmEngine, policy: PeftModel, request_: Request, sampling: Any, message: str
) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    with pytest.raises(EngineError, match=message):
        engine.rollout([request_], Sampling(max_tokens=4, **sampling))


@pytest.mark.timeout(60)
def test_what_was_asked_before_an_interrupt_is_neither_waited_for_nor_answered(
    engine: VllmEngine, policy: PeftModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    before = complete(engine)

    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine._core._llm.llm_engine, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            complete(engine, LONG_PROMPT)
    client = engine._core._llm.llm_engine.engine_core
    encode = client.encoder.encode

    def refuse(sent: Any) -> Any:
        if hasattr(sent, "sampling_params"):
            raise OverflowError
        return encode(sent)

    with monkeypatch.context() as patch:
        patch.setattr(client.encoder, "encode", refuse)
        with pytest.raises(OverflowError):
            complete(engine, LONG_PROMPT)
    assert [c.token_ids for c in complete(engine)] == [c.token_ids for c in before]


def test_nothing_asked_is_nothing_answered(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(states(policy, scale=0.0))
    assert engine.rollout([], Sampling(max_tokens=4)) == []
    assert engine.rollout([Request("r", PROMPT, ())], Sampling(max_tokens=4)) == [[]]


def test_a_program_that_its_own_engine_would_run_again_is_told_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(EngineError, match="below `if __name__ == '__main__':`"):
        VllmEngine(folder, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "sparse"}, "form must be one of"),
        ({"generation_config": "auto"}, "must not set generation_config"),
        ({"tensor_parallel_size": 2}, "must not set tensor_parallel_size"),
        ({"tensor_parallel": 2, "form": "spectral"}, "form must be 'factored' with"),
        ({"tensor_parallel": 2, "enforce_eager": False}, "nobody has proven"),
        ({"tensor_parallel": 2, "distributed_executor_backend": "ray"}, "must not be set with"),
        ({"pipeline_parallel_size": 2}, "by rollout.tensor_parallel alone"),
        ({"gpu_memory_utilisation": 0.5}, "Did you mean 'gpu_memory_utilization'"),
        ({"enable_sleep_mode": True}, "the KV cache is given back while the learner works"),
        ({"enable_chunked_prefill": True}, "enable_chunked_prefill must be false on a CPU"),
        ({"max_experts": "two"}, "max_experts must be a number"),
        ({"batch_size": 4, "max_num_seqs": 8}, "are one thing"),
        ({"enforce_eager": False, "form": "dense"}, "must be true for SVF in form 'dense'"),
    ],
)
def test_options_that_break_the_engine_are_refused_before_it_starts(
    folder: Path, policy: PeftModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        VllmEngine(folder, adapter_state(policy, 0).config, **options)


def test_a_closed_engine_leaves_no_process_and_no_warning(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:  # keep it last
    monkeypatch.setattr(engine._core.log, "remove", lambda: None)
    mine = psutil.Process(os.getpid())
    children = [p for p in mine.children(recursive=True) if "VLLM" in " ".join(p.cmdline())]
    assert len(children) == 1  # the core, its worker within
    engine.close()
    engine.close()
    assert not any(child.is_running() for child in children)
    assert "killing" not in (log := engine._core.log.path.read_text())
    assert "leaked" not in log
    assert capfd.readouterr() == ("", "")
    engine._core.log.path.unlink()
    with pytest.raises(EngineError, match="closed"):
        engine.logprobs([PROMPT])
