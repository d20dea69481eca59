"""Reward functions as their own trainers call them, unchanged."""

import pytest

from rewards import RewardError, VerdictKind
from rewards.dialects import Rollouts
from rewards.scorer import RewardSpec

CHAT = [[{"role": "user", "content": "What is 3 + 4?"}]]


def scores(batch):
    return [verdict.score for verdict in batch.verdicts]


def test_a_trl_function_gets_trls_keywords_and_all_columns(module, score):
    name = module(
        "def seen(**kwargs):\n"
        "    kwargs['log_extra']('keys', [','.join(sorted(kwargs))] * 2)\n"
        "    assert kwargs['trainer_state'].global_step == 3\n"
        "    assert kwargs['prompts'] == ['p', 'p'] and kwargs['completions'] == ['7', '8']\n"
        "    assert kwargs['completion_ids'] == [[1, 2], [3]] and kwargs['level'] == [1, 2]\n"
        "    return [1.0, 0.5]\n"
        "def reward(completions, **kwargs): return seen(completions=completions, **kwargs)\n"
    )

    class State:
        global_step = 3

    batch = score(
        [f"{name}:reward"],
        ["7", "8"],
        prompts=["p", "p"],
        completion_ids=[[1, 2], [3]],
        columns={"level": [1, 2], "prompt": ["x", "x"], "completion": ["y", "y"]},
        trainer_state=State(),
    )

    assert scores(batch) == [1.0, 0.5]
    assert batch.columns["keys"][0] == (
        "completion_ids,completions,level,log_extra,log_metric,prompts,trainer_state"
    )


def test_a_trl_function_gets_messages_where_prompts_are_messages(module, score):
    name = module(
        "def reward(prompts, completions):\n"
        "    assert prompts[0][-1]['role'] == 'user'\n"
        "    assert completions == [[{'role': 'assistant', 'content': '7'}]]\n"
        "    return [1.0]\n"
    )

    assert scores(score([f"{name}.reward"], ["7"], prompts=CHAT)) == [1.0]


def test_none_is_unscorable_not_zero(module, score):
    name = module("def reward(completions): return [None, 0.0]")

    batch = score([f"{name}:reward"], ["a", "b"])

    assert [v.kind for v in batch.verdicts] == [VerdictKind.UNSCORABLE, VerdictKind.GRADED]
    assert scores(batch) == [None, 0.0]


def test_async_functions_are_awaited_together(module, score):
    name = module(
        "import asyncio, functools\n"
        "met = asyncio.Barrier(2)\n"
        "async def one(completions):\n"
        "    await met.wait()\n"
        "    return [1.0 for _ in completions]\n"
        "class Two:\n"
        "    async def __call__(self, completions):\n"
        "        await met.wait()\n"
        "        return [2.0 for _ in completions]\n"
        "two = Two()\n"
    )

    # Each waits for the other: one after the other they would wait for ever.
    assert scores(score([f"{name}:one", f"{name}:two"], ["a"])) == [3.0]


def test_async_rewards_work_inside_a_running_loop(module, score):
    import asyncio

    name = module("async def reward(completions): return [1.0 for _ in completions]")

    async def inside():
        return score([f"{name}:reward"], ["a"])

    assert scores(asyncio.run(inside())) == [1.0]


def test_an_async_client_meets_the_same_loop_at_every_step(module):
    from rewards.scorer import Scorer

    name = module(
        "import asyncio\n"
        "loops = set()\n"
        "async def reward(completions):\n"
        "    loops.add(id(asyncio.get_running_loop()))\n"
        "    return [float(len(loops))]\n"
    )
    scorer = Scorer([RewardSpec(f"{name}:reward")])
    row = {"prompts": ["p"], "completions": ["a"], "completion_ids": [[1]], "truncated": [False]}

    steps = [scorer.score(Rollouts(**row, columns={}, step=step)) for step in range(3)]

    scorer.close()
    assert [scores(batch) for batch in steps] == [[1.0]] * 3


def test_metrics_of_one_name_are_averaged(module, score):
    name = module(
        "def reward(completions, log_metric):\n"
        "    log_metric('length', 2); log_metric('length', 4)\n"
        "    return [0.0]\n"
    )

    assert score([f"{name}:reward"], ["a"]).metrics == {"length": 3.0}


def test_a_verl_function_is_called_by_row(module, score):
    name = module(
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    assert data_source == 'gsm8k' and extra_info == {'index': 5}\n"
        "    return {'score': float(solution_str == ground_truth), 'acc': solution_str}\n"
    )

    batch = score(
        [RewardSpec(f"{name}:compute_score", options={"gold": "reward_model.ground_truth"})],
        ["7", "8"],
        columns={
            "data_source": ["gsm8k"] * 2,
            "reward_model": [{"ground_truth": "7"}] * 2,
            "extra_info": [{"index": 5}] * 2,
        },
    )

    assert scores(batch) == [1.0, 0.0]
    assert batch.columns["acc"] == ["7", "8"]


def test_an_async_verl_function_that_takes_two_arguments_works(module, score):
    name = module(
        "async def compute_score(solution_str, ground_truth):\n"
        "    return solution_str == ground_truth\n"
    )

    batch = score([f"{name}:compute_score"], ["7", "8"], columns={"answer": ["7", "7"]})

    assert scores(batch) == [1.0, 0.0]


def test_an_openrlhf_function_gets_queries_that_begin_with_their_prompts(module, score):
    name = module(
        "class Tensor:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def tolist(self): return self.x\n"
        "def reward_func(queries, prompts, labels, **kwargs):\n"
        "    assert not kwargs\n"
        "    said = [q[len(p):] for q, p in zip(queries, prompts)]\n"
        "    right = Tensor([float(s == l) for s, l in zip(said, labels)])\n"
        "    logs = {'said': said, 'mean': 0.5}\n"
        "    return {'rewards': right, 'scores': right, 'extra_logs': logs}\n"
    )

    batch = score([f"{name}:reward_func"], ["7", "8"], columns={"answer": ["7", "7"]})

    assert scores(batch) == [1.0, 0.0]
    assert batch.columns == {"said": ["7", "8"]}
    assert batch.metrics == {"mean": 0.5}


def test_an_areal_function_is_called_by_row_with_its_columns(module, score):
    name = module(
        "def reward_fn(prompt, completions, prompt_ids, completion_ids, answer, **kwargs):\n"
        "    assert prompt == 'What is 3 + 4?' and prompt_ids is None\n"
        "    assert completion_ids == [0] and kwargs == {'level': 2}\n"
        "    return float(completions == answer)\n"
    )

    batch = score([f"{name}:reward_fn"], ["7"], columns={"answer": ["7"], "level": [2]})

    assert scores(batch) == [1.0]


def test_a_row_verifier_may_return_a_verdict(module, score):
    name = module(
        "from rewards import Verdict, VerdictKind\n"
        "def check(completion, gold, truncated):\n"
        "    if truncated: return Verdict(0.0, VerdictKind.TRUNCATED, 'cut')\n"
        "    return completion == gold\n"
    )

    batch = score(
        [f"{name}:check"], ["7", "7"], truncated=[False, True], columns={"answer": ["7", "7"]}
    )

    assert [v.kind for v in batch.verdicts] == [VerdictKind.CORRECT, VerdictKind.TRUNCATED]


def test_a_row_that_raises_is_an_error_and_never_a_zero(module, score):
    name = module("def check(completion, gold): return 1 / int(completion)")

    batch = score([f"{name}:check"], ["1", "0"], columns={"answer": ["", ""]}, error_limit=0.5)

    assert batch.verdicts[1].kind is VerdictKind.ERROR
    assert batch.verdicts[1].score is None
    assert "ZeroDivisionError" in batch.verdicts[1].reason


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        ("[1.0]", "1 scores"),
        ("1.0", "1.0"),
        ("[1.0, float('nan')]", "nan"),
        ("[1.0, float('inf')]", "inf"),
        ("[1.0, 'good']", "'good'"),
        ("[1.0, [2.0]]", r"\[2.0\]"),
        ("None", "None"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_bad_return_names_the_function_and_the_step(module, score, returned, what, kind):
    name = module(f"{kind} my_reward(completions): return {returned}")

    with pytest.raises(RewardError, match=rf"'my_reward'.*{what}.*step 7"):
        score([f"{name}:my_reward"], ["a", "b"])


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_batch_function_that_raises_is_named_with_its_error(module, score, kind):
    name = module(f"{kind} my_reward(completions): raise KeyError('solution')")

    with pytest.raises(RewardError, match=r"'my_reward'.*KeyError.*solution.*step 7"):
        score([f"{name}:my_reward"], ["a"])


def test_log_extra_of_a_wrong_length_is_an_error(module, score):
    name = module("def my_reward(completions, log_extra): log_extra('x', [1]); return [1, 1]")

    with pytest.raises(RewardError, match=r"log_extra\('x'"):
        score([f"{name}:my_reward"], ["a", "b"])


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("def f(solution_str, ground_truth): return {'acc': 1}", r"finite number.*\{'acc': 1\}"),
        ("def f(queries, prompts, labels): return {'scores': [1]}", r"list of one score.*None"),
        ("def f(completion, gold): return [1.0, 2.0]", r"finite number.*\[1.0, 2.0\]"),
        ("import numpy\ndef f(completion, gold): return numpy.ones(2)", "finite number.*array"),
    ],
)
def test_a_dialect_without_its_score_is_named(module, score, source, what):
    with pytest.raises(RewardError, match=what):
        score([f"{module(source)}:f"], ["7"], columns={"answer": ["7"]})


def test_a_row_without_the_gold_key_is_named(module, score):
    name = module("def f(solution_str, ground_truth): return 1.0")
    spec = RewardSpec(f"{name}:f", options={"gold": "reward_model.ground_truth"})

    with pytest.raises(RewardError, match=r"'reward_model.ground_truth' in every row, row 1"):
        score([spec], ["7", "8"], columns={"reward_model": [{"ground_truth": "7"}, {}]})


def test_numpy_numbers_are_numbers(module, score):
    name = module(
        "import numpy\n"
        "def array(completions): return numpy.ones(2, dtype=numpy.float32)\n"
        "def items(completions): return [numpy.float32(1), numpy.int64(1)]\n"
    )

    assert scores(score([f"{name}:array", f"{name}:items"], ["a", "b"])) == [2.0, 2.0]


def test_keywords_alone_get_all_that_trl_gives(module, score):
    name = module(
        "def r(**kw):\n"
        "    kw['log_extra']('keys', [','.join(sorted(kw))])\n"
        "    return [float(kw['completions'] == ['7'] and kw['level'] == [2])]\n"
    )

    batch = score([f"{name}:r"], ["7"], columns={"level": [2]})

    assert scores(batch) == [1.0]
    assert batch.columns["keys"] == [
        "completion_ids,completions,level,log_extra,log_metric,prompts,trainer_state"
    ]


DECORATED = """
import functools
def plain(f):
    def wrapper(*args, **kwargs): return f(*args, **kwargs)
    return wrapper
def logged(log):
    def decorate(f):
        def wrapper(*args, **kwargs):
            log('called')
            return f(*args, **kwargs)
        return wrapper
    return decorate
class Counted:
    def __init__(self, f): self.f = f
    def __call__(self, *args, **kwargs): return self.f(*args, **kwargs)
@plain
def once(solution_str, ground_truth): return solution_str == ground_truth
@plain
@logged(print)
def twice(completion, gold): return completion == gold
@Counted
def counted(queries, prompts, labels):
    return [q == p + l for q, p, l in zip(queries, prompts, labels)]
bound = functools.partial(plain(lambda completions, answer, **kw: [
    c == a for c, a in zip(completions, answer)]))
"""


@pytest.mark.parametrize("reward", ["once", "twice", "counted", "bound"])
def test_a_decorator_without_wraps_is_seen_through(module, score, reward):
    batch = score([f"{module(DECORATED)}:{reward}"], ["7", "8"], columns={"answer": ["7", "7"]})

    assert [v.kind.value for v in batch.verdicts] == ["correct", "wrong"]


def test_a_verl_batch_function_is_called_once_with_plurals(module, score):
    name = module(
        "def compute_score(data_sources, solution_strs, ground_truths, extra_infos, bonus=0):\n"
        "    assert data_sources == ['gsm8k'] * 2 and extra_infos == [{}, {}]\n"
        "    right = [s == g for s, g in zip(solution_strs, ground_truths)]\n"
        "    return [{'score': r + bonus, 'acc': r, 'said': s}\n"
        "            for r, s in zip(right, solution_strs)]\n"
    )
    columns = {"data_source": ["gsm8k"] * 2, "answer": ["7", "7"]}
    spec = RewardSpec(f"{name}:compute_score", options={"bonus": 0.5})

    batch = score([spec], ["7", "8"], columns=columns)

    assert scores(batch) == [1.5, 0.5]
    assert [v.kind.value for v in batch.verdicts] == ["correct", "wrong"]
    assert batch.columns["said"] == ["7", "8"]
    with pytest.raises(RewardError, match=r"needs the columns \['data_source'\]"):
        score([spec], ["7"], columns={"answer": ["7"]})
