import pytest

from rewards import VerdictKind, verify, verify_batch
from rewards.scorer import RewardSpec
from rewards.text.formats import final_answer, think_format_reward


def test_exact_ignores_blanks_and_unicode_forms_and_nothing_else():
    assert verify("  a\u00a0b\n", "a b", kind="exact").score == 1.0
    assert verify("A b", "a b", kind="exact").score == 0.0
    assert verify("A b", "a b", kind="exact", casefold=True).score == 1.0
    assert verify("a b.", "a b", kind="exact").score == 0.0
    assert verify("a", "", kind="exact").kind is VerdictKind.UNSCORABLE


def test_a_pattern_must_match_the_whole_completion():
    assert verify("<a>\nx</a>", "<a>.*</a>", kind="regex").score == 1.0
    assert verify("<a>x</a> and more", "<a>.*</a>", kind="regex").score == 0.0


def test_a_pattern_that_explodes_times_out_and_the_next_row_is_fine():
    verdicts = verify_batch(["a" * 40 + "!", "aa"], ["(a+)+"] * 2, kind="regex")

    assert [v.kind for v in verdicts] == [VerdictKind.TIMEOUT, VerdictKind.CORRECT]


def test_a_pattern_that_is_none_is_unscorable():
    assert verify("a", "(", kind="regex").kind is VerdictKind.UNSCORABLE


def test_one_pattern_for_all_rows_is_a_reward(score):
    spec = RewardSpec("regex_format", options={"pattern": r"\d+"})

    batch = score([spec], ["12", "x", "3"], truncated=[False, False, True])

    assert [v.kind.value for v in batch.verdicts] == ["correct", "wrong", "truncated"]


# TRL 1.16's own documentation and tests name these forms.
THINKING = {
    "<think>\nreason\n</think>\nanswer": 1.0,
    "<think>a</think>": 1.0,
    "<think>a</think> b </think> c": 1.0,
    "<think>\nreason\nanswer": 0.0,
    "reason</think>answer": 0.0,
    " <think>a</think>b": 0.0,
    "<think>a<think>b</think>c": 0.0,
    "<think>a</think>b<think>c</think>": 0.0,
    "": 0.0,
}


def test_the_thinking_format_is_trls():
    assert think_format_reward(list(THINKING)) == list(THINKING.values())
    chat = [[{"role": "assistant", "content": text}] for text in THINKING]
    assert think_format_reward(chat) == list(THINKING.values())


# Prompt, its end as the model read it, completion.
CONTINUED = [
    ("Why?", "<|Assistant|><think>\n", "reason</think>answer", True),
    ("Why?", "<|Assistant|><think>\n", "<think>reason</think>answer", False),
    ("Why?", "<|Assistant|><think>\n", "answer", False),
    ("Why?", "<|Assistant|><think>\n\n</think>\n\n", "answer", False),
    ("Why?", "<|Assistant|><think>\n\n</think>\n\n", "reason</think>answer", False),
    ("Why?", "</think>", "<think>reason</think>answer", True),
    ("Why?", "[/INST]", " <think>reason</think>answer", True),
    ("User: Why?\nAssistant: <think>", "", "reason</think>answer", True),
    ("User: Why?\nAssistant: <think> Let me", "Let me", " see</think>answer", True),
    ("User: Why?\n<think>Let me", "Let me", " see</think>answer", True),
    ("<think>\nLet me</think> So", " So", " see</think>answer", False),
    ("Open with <think> and say why.", "say why.", "reason</think>answer", False),
]


@pytest.mark.parametrize(("prompt", "end", "completion", "thinks"), CONTINUED)
def test_a_tag_that_the_prompt_has_opened_counts(prompt, end, completion, thinks):
    assert think_format_reward([completion], [prompt], [end]) == [thinks]


@pytest.mark.parametrize(
    ("role", "thinks"), [("assistant", True), ("user", False), ("system", False)]
)
def test_a_tag_counts_in_the_turn_that_the_model_continues(role, thinks):
    prompt = [{"role": "user", "content": "Why?"}, {"role": role, "content": "<think>\nLet me"}]
    answer = [{"role": "assistant", "content": " see</think>answer"}]
    assert think_format_reward([answer], [prompt], ["<|end|>"]) == [thinks]


def test_a_scorer_hands_the_ends_of_prompts_to_rewards_of_ours_and_of_the_users(score, module):
    own = module("def ends(completions, prompt_ends):\n    return [len(e) for e in prompt_ends]")
    rewards = ["think_format_reward", f"{own}:ends"]
    texts, ends = ["a</think>b", "a</think>b"], ["<a><think>\n", "<a>"]
    batch = score(rewards, texts, prompt_ends=ends)
    first, second = batch.by_reward.values()
    assert [verdict.score for verdict in first] == [1.0, 0.0]
    assert [verdict.score for verdict in second] == [11.0, 3.0]


@pytest.mark.parametrize(
    ("reward", "column", "gold", "answer"),
    [
        ("math", "answer", "7", r"I guess \boxed{7}"),
        ("choice", "answer", "B", "The answer is B."),
        ("label", "answer", "positive", "positive"),
        ("accuracy_reward", "solution", "7", r"I guess \boxed{7}"),
    ],
)
def test_thinking_that_a_prompt_opens_must_end_before_an_answer_counts(
    score, reward, column, gold, answer
):
    options = {"labels": ["positive", "negative"]} if reward == "label" else {}
    texts, ends = [answer, f"hm</think>{answer}", answer], ["<think>\n", "<think>\n", "<a>"]
    batch = score(
        [RewardSpec(reward, options=options)], texts, prompt_ends=ends, columns={column: [gold] * 3}
    )
    assert [verdict.score for verdict in batch.verdicts] == [0.0, 1.0, 1.0]


@pytest.mark.slow
def test_named_rewards_agree_with_trls_own_on_plain_cases(score):
    from trl.rewards import accuracy_reward, reasoning_accuracy_reward, think_format_reward

    texts = [
        r"\boxed{\frac{1}{3}}",
        r"<think>x</think> So \boxed{\frac{1}{3}}.",
        r"<think>x</think> So \boxed{\frac{1}{2}}.",
        r"<think> maybe \boxed{\frac{1}{3}} but no end",
        r"nothing",
    ]
    chat = [[{"role": "assistant", "content": text}] for text in texts]
    prompts = [[{"role": "user", "content": "?"}]] * len(texts)
    golds = [r"\frac{1}{3}"] * len(texts)

    def ours(name):
        batch = score([name], texts, prompts=prompts, columns={"solution": golds})
        return [verdict.score for verdict in batch.verdicts]

    assert ours("reasoning_accuracy_reward") == reasoning_accuracy_reward(chat, golds)
    assert ours("think_format_reward") == think_format_reward(chat)
    # An unfinished thought is an answer to TRL's `accuracy_reward`; never to ours.
    assert ours("accuracy_reward")[:3] == accuracy_reward(chat, golds)[:3]
    assert ours("accuracy_reward")[3] == 0.0


@pytest.mark.slow
def test_trls_own_functions_run_by_their_dotted_paths(score):
    batch = score(
        [
            "trl.rewards.accuracy_reward",
            RewardSpec(
                "trl.rewards.get_soft_overlong_punishment",
                options={"max_completion_len": 100, "soft_punish_cache": 20},
            ),
        ],
        [r"So \boxed{\frac{1}{3}}."],
        prompts=[[{"role": "user", "content": "?"}]],
        completion_ids=[[1] * 90],
        columns={"solution": [r"$\frac{1}{3}$"]},
    )

    assert batch.verdicts[0].score == 0.5
    assert set(batch.columns) == {"solution", "gold_parsed", "answer_parsed"}


def test_the_answer_of_a_reference_solution_is_its_box_or_its_last_line():
    assert final_answer(r"We get \boxed{\frac{1}{2}}, as said.") == r"\frac{1}{2}"
    assert final_answer("9 + 9 = <<9+9=18>>18\n#### 18") == "18"
    assert final_answer("18") == "18"


def test_a_worked_solution_is_a_gold_answer_of_accuracy_reward(score):
    batch = score(
        ["accuracy_reward"],
        [r"\boxed{18}", r"\boxed{9}"],
        columns={"solution": ["9 + 9 = 18\n#### 18", r"\boxed{18}"]},
    )

    assert [verdict.score for verdict in batch.verdicts] == [1.0, 0.0]
