"""The hf engine: exact sampling, seeds per completion, and honest ends."""

import math
from collections import Counter

import pytest
import torch

from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import EngineError
from rlpeft.recipe.run import SvfAdapter
from rlpeft.rollout.hf.decoding import Sampler
from rlpeft.rollout.hf.engine import HfEngine
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.types import FinishReason, Request, Sampling


class Letters:
    """A tokenizer of one letter a token, enough for an engine."""

    def batch_decode(self, rows, **_):
        return ["".join(chr(96 + t) for t in row if t > 3) for row in rows]


def make(llama, *, seed=0, **options):
    policy = attach_adapter(llama(seed), SvfAdapter(), seed=0)
    return HfEngine(policy, Letters(), **({"eos_ids": {2, 3}} | options))


def bent_state(engine, version=1, scale=0.3):
    state = adapter_state(engine.policy, version)
    generator = torch.Generator().manual_seed(version)
    for tensor in state.tensors.values():
        tensor.add_(scale * torch.randn(tensor.shape, generator=generator))
    return state


REQUESTS = [
    Request("a", (1, 7, 8, 9), (11, 12, 13)),
    Request("b", (1, 5), (21,)),
    Request("c", (1, 6, 6), (31, 32)),
]
SAMPLING = Sampling(max_tokens=8)


def test_completions_come_in_request_then_seed_order(llama):
    rows = make(llama).rollout(REQUESTS, SAMPLING)
    assert [len(row) for row in rows] == [3, 1, 2]


def test_answers_come_as_they_end_and_are_those_of_one_batch(llama):
    engine = make(llama)
    engine.load_adapter(bent_state(engine))
    requests = [Request(f"{k}", (1, 5 + k), (2 * k, 2 * k + 1)) for k in range(8)]
    requests.append(Request("none", (1, 5), ()))
    sampling = Sampling(max_tokens=40)
    parts = list(engine.stream(requests, sampling))
    found = {place: done for part in parts for place, done in part.items()}
    assert [found[place] for place in range(9)] == engine.rollout(requests, sampling)
    assert sum(map(len, parts)) == 9
    lengths = [max(len(c.token_ids) for c in part[at]) for part in parts[1:] for at in part]
    assert lengths == sorted(lengths)
    assert 1 < len({*lengths}) == len(parts) - 1  # one part a token at which any ended


def test_a_request_of_two_batches_comes_once_it_is_whole(llama):
    engine = make(llama, batch_size=2)
    (first, second) = list(engine.stream([REQUESTS[0], REQUESTS[1]], SAMPLING))
    assert ([*first], [*second]) == ([1], [0])


def test_a_completion_does_not_depend_on_its_batch(llama):
    engine = make(llama)
    together = engine.rollout(REQUESTS, SAMPLING)
    for request, row in zip(REQUESTS, together, strict=True):
        for seed, completion in zip(request.seeds, row, strict=True):
            ((alone,),) = engine.rollout([Request("x", request.prompt_ids, (seed,))], SAMPLING)
            assert alone.token_ids == completion.token_ids
            assert alone.logprobs == pytest.approx(completion.logprobs, abs=1e-5)


def test_batch_size_changes_nothing(llama):
    small, large = (make(llama, batch_size=size).rollout(REQUESTS, SAMPLING) for size in (2, 64))
    assert [[c.token_ids for c in row] for row in small] == [
        [c.token_ids for c in row] for row in large
    ]


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
def test_logprobs_are_those_of_the_model_at_the_sampling_temperature(llama, temperature):
    engine = make(llama)
    engine.load_adapter(bent_state(engine))
    rows = engine.rollout(REQUESTS, Sampling(max_tokens=8, temperature=temperature))
    for request, row in zip(REQUESTS, rows, strict=True):
        for c in row:
            ids = torch.tensor([request.prompt_ids + c.token_ids])
            logits = engine.policy(ids).logits[0, len(request.prompt_ids) - 1 : -1].detach()
            log_pi = torch.log_softmax(logits / temperature, -1)
            expected = log_pi.gather(1, torch.tensor(c.token_ids)[:, None])[:, 0]
            assert c.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


def test_draws_follow_the_distribution(llama):
    """Frequencies of 4000 draws against their probabilities, within five standard errors."""
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).repeat(4000, 1)
    sampler = Sampler(range(4000), 1, Sampling(max_tokens=1, temperature=0.8))
    drawn, _ = sampler(logits, range(4000))
    counts = Counter(drawn.tolist())
    for token, p in enumerate(torch.softmax(logits[0] / 0.8, -1).tolist()):
        assert abs(counts[token] / 4000 - p) < 5 * math.sqrt(p * (1 - p) / 4000)


def test_greedy_takes_the_likeliest_token(llama):
    engine = make(llama)
    ((completion,),) = engine.rollout([Request("x", (1, 5), (0,))], Sampling(6, temperature=0.0))
    ids = torch.tensor([[1, 5]])
    for token in completion.token_ids:
        assert token == int(engine.policy(ids).logits[0, -1].argmax())
        ids = torch.cat([ids, torch.tensor([[token]])], 1)


def test_every_end_of_sequence_id_ends_a_completion_and_is_kept(llama):
    engine = make(llama)
    rows = engine.rollout([Request("x", (1, 5), tuple(range(300)))], Sampling(max_tokens=20))[0]
    ends = Counter(c.token_ids[-1] for c in rows if c.finish_reason is FinishReason.STOP)
    assert set(ends) == {2, 3}
    for c in rows:
        assert not {2, 3} & set(c.token_ids[:-1])
        assert len(c.token_ids) == len(c.logprobs)


def test_the_token_limit_is_a_truncation(llama):
    engine = make(llama, eos_ids={59})
    ((completion,),) = engine.rollout([Request("x", (1, 5), (0,))], Sampling(max_tokens=3))
    assert completion.truncated
    assert len(completion.token_ids) == 3


def test_the_context_limit_is_a_truncation(llama):
    engine = make(llama, eos_ids={59})
    prompt = (1,) * 126
    ((completion,),) = engine.rollout([Request("x", prompt, (0,))], Sampling(max_tokens=30))
    assert completion.truncated
    assert len(completion.token_ids) == 2


def test_a_prompt_that_fills_the_context_is_refused(llama):
    with pytest.raises(EngineError, match=r"'long' must be shorter than .* 128 tokens"):
        make(llama).rollout([Request("long", (1,) * 128, (0,))], SAMPLING)


def test_a_long_prompt_does_not_shorten_the_completions_of_its_batch(llama):
    """The context is 128: 4 tokens are left beside the long prompt, and 48 beside the short one."""
    engine = make(llama, eos_ids=())
    requests = [Request("long", (1, *(7,) * 123), (0,)), Request("short", (1, 5), (0,))]
    (long,), (short,) = engine.rollout(requests, Sampling(max_tokens=48))
    assert (len(long.token_ids), len(short.token_ids)) == (4, 48)
    ((alone,),) = engine.rollout(requests[1:], Sampling(max_tokens=48))
    assert alone.token_ids == short.token_ids


@pytest.mark.parametrize("token", [-1, 60])
def test_a_token_that_the_model_does_not_embed_is_refused(llama, token):
    with pytest.raises(EngineError, match=rf"prompt 'r' must be 0 to 59, .* got {token}"):
        make(llama).rollout([Request("r", (1, token), (0,))], SAMPLING)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"temperature": math.inf}, "temperature must be finite"),
        ({"temperature": math.nan}, "temperature must be finite"),
        ({"temperature": -1.0}, "at least 0, got -1"),
        ({"stop": ("x", "")}, "stop strings must not be empty"),
        ({"stop": ("x", "y" * 1025)}, "at most 1024 characters, got one of 1025"),
        ({"stop": tuple(map(str, range(33)))}, "must be at most 32, got 33"),
    ],
)
def test_sampling_that_means_nothing_is_refused(llama, sampling, message):
    with pytest.raises(EngineError, match=message):
        make(llama).rollout(REQUESTS, Sampling(max_tokens=4, **sampling))


def test_completions_carry_version_and_digest(llama):
    engine = make(llama)
    state = bent_state(engine, version=7)
    engine.load_adapter(state)
    completion = engine.rollout(REQUESTS, SAMPLING)[0][0]
    assert (completion.version, completion.digest) == (7, state.digest)


def test_delivery_is_proved_and_changes_the_policy(llama):
    engine, trainer = make(llama), make(llama)
    canary = [[1, 7, 9], [1, 8]]
    before = engine.logprobs(canary)
    state = bent_state(trainer)
    trainer.load_adapter(state)
    report = Prover(engine).prove(Proof(state, canary, trainer.logprobs(canary), bound=1e-4))
    assert report.num_bytes == state.num_bytes
    assert report.gap <= 1e-4
    assert engine.logprobs(canary) != before


def test_an_engine_of_another_base_cannot_prove_delivery(llama):
    engine, trainer = make(llama, seed=1), make(llama)
    state = bent_state(trainer)
    canary = [[1, 7, 9]]
    with pytest.raises(EngineError, match="canary log-probs"):
        Prover(engine).prove(Proof(state, canary, trainer.logprobs(canary), bound=1e-3))


def test_an_adapter_of_other_modules_is_refused(llama):
    engine = make(llama)
    other = attach_adapter(llama(), SvfAdapter(targets=("lm_head",)), seed=0)
    with pytest.raises(EngineError, match="must have a place"):
        engine.load_adapter(adapter_state(other, 1))


def test_the_base_is_untouched_after_many_syncs(llama):
    engine = make(llama)
    before = {n: p.clone() for n, p in llama().named_parameters()}
    for version in range(1, 20):
        engine.load_adapter(bent_state(engine, version))
        engine.rollout(REQUESTS, Sampling(max_tokens=2))
    base = engine.policy.unload()
    assert all(torch.equal(p, before[n]) for n, p in base.named_parameters())


def passes_of(engine, monkeypatch):
    """Rows and tokens of each forward pass of the model, as a list that fills up."""
    seen = []
    model = engine.policy.get_base_model()
    forward = model.forward

    def counted(input_ids, **inputs):
        seen.append(tuple(input_ids.shape))
        return forward(input_ids, **inputs)

    monkeypatch.setattr(model, "forward", counted)
    return seen


def test_a_prompt_is_read_once_however_many_complete_it(llama, monkeypatch):
    engine = make(llama)
    seen = passes_of(engine, monkeypatch)
    engine.rollout(REQUESTS, SAMPLING)
    assert seen[:2] == [(3, 4), (6, 1)]


@pytest.mark.slow
def test_what_all_prompts_begin_with_is_read_once(llama, monkeypatch):
    engine, start = make(llama), tuple(range(4, 24))
    ends = [(5, 6), (5, 6, 7), *((n, 30) for n in range(6, 30))]
    requests = [Request(f"{n}", start + end, (n, n + 100)) for n, end in enumerate(ends)]
    seen = passes_of(engine, monkeypatch)
    found = engine.rollout(requests, SAMPLING)
    assert seen[:3] == [(1, 20), (26, 3), (52, 1)]
    for request, row in zip(requests, found, strict=True):
        for ours, alone in zip(row, engine.rollout([request], SAMPLING)[0], strict=True):
            assert ours.token_ids == alone.token_ids
            assert ours.logprobs == pytest.approx(alone.logprobs, abs=1e-5)


def test_a_short_start_is_not_worth_a_pass_of_its_own(llama, monkeypatch):
    engine = make(llama)
    seen = passes_of(engine, monkeypatch)
    engine.rollout([Request(f"{n}", (1, n), (n,)) for n in range(4, 24)], SAMPLING)
    assert seen[0] == (20, 2)


def test_a_prompt_that_begins_another_keeps_a_token_of_its_own(llama):
    whole = tuple(range(4, 54))
    requests = [Request(f"{size}", whole[:size], (1,)) for size in range(40, 50)]
    for request, (together,) in zip(requests, make(llama).rollout(requests, SAMPLING), strict=True):
        ((alone,),) = make(llama).rollout([request], SAMPLING)
        assert together.logprobs == pytest.approx(alone.logprobs, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_rows_that_have_ended_leave_the_batch(llama, monkeypatch, temperature):
    engine = make(llama, eos_ids=set(range(6)))
    requests = [Request(f"{n}", (1, 6 + n % 50, 6 + n // 2), (n,)) for n in range(100)]
    seen = passes_of(engine, monkeypatch)
    done = [c for (c,) in engine.rollout(requests, Sampling(40, temperature=temperature))]
    living = [sum(len(c.token_ids) > t for c in done) for t in range(1, 40)]
    assert sum(rows for rows, _ in seen[1:]) < 1.2 * sum(living)
    assert sum(living) < 0.8 * 100 * max(len(c.token_ids) for c in done), "else it proves nothing"


def test_whoever_watches_sees_each_token_and_may_give_a_completion_up(llama):
    engine = make(llama, eos_ids={59})
    requests = [Request("a", (1, 7), (1, 2)), Request("b", (1, 5), (3,))]
    whole = engine.rollout(requests, Sampling(max_tokens=6))
    seen = Counter()

    def watch(request_id, index, draft):
        seen[request_id, index] = max(seen[request_id, index], len(draft.token_ids))
        return (request_id, index) != ("a", 1) or len(draft.token_ids) < 2

    ((first, second), (other,)) = engine.rollout(requests, Sampling(max_tokens=6), watch=watch)
    assert seen == {("a", 0): 6, ("a", 1): 2, ("b", 0): 6}
    assert first.token_ids == whole[0][0].token_ids
    assert other.token_ids == whole[1][0].token_ids
    assert second.token_ids == whole[0][1].token_ids[:2]


def test_the_global_random_state_is_left_alone(llama):
    engine = make(llama)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    engine.rollout(REQUESTS, SAMPLING)
    assert torch.equal(torch.rand(3), expected)


def test_an_adapter_of_other_factors_is_refused(llama):
    trained = attach_adapter(llama(), SvfAdapter(decomposition="svd"), seed=0)
    state, engine = adapter_state(trained, 1), make(llama)
    for load in (engine.load_adapter, lambda sent: engine.load_experts({"a": sent})):
        with pytest.raises(EngineError, match="must be of decomposition 'gram', got one of 'svd'"):
            load(state)
