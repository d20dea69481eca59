"""The rollout that a run records token by token, and how its report shows it."""

import math
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.report.page import write_report
from rlpeft.report.tokens import legend, number, token_view
from rlpeft.runs.records import RunRecorder, completions_path, read_completions
from rlpeft.runs.specimen import specimens
from rlpeft.types import (
    AdvantagedGroup,
    Completion,
    Conversation,
    FinishReason,
    Group,
    Problem,
    Utterance,
)

EOS = 2
HOSTILE = '"><script>alert(1)</script>\u202e'
VERDICT = Verdict(1.0, VerdictKind.CORRECT, "ok")
RECIPE = {"name": "run", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_model("tiny"))


@pytest.fixture
def write(tokenizer):
    """The ids of a text."""
    return lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def group(prompt, *completions, advantages, finish=FinishReason.STOP, is_trained=True, **columns):
    done = tuple(
        Completion(ids, tuple(-float(k) for k, _ in enumerate(ids)), "text", finish, 0, "d")
        for ids in completions
    )
    right = (VERDICT,) * len(done)
    group = Group(Problem("p", "prompt", "4"), tuple(prompt), done)
    learnt = {"advantages": advantages, "trained": (is_trained,) * len(done)}
    return AdvantagedGroup(group, right, {"exact": right}, columns, **learnt)


def record(folder, groups, tokenizer=None):
    recorder = RunRecorder(folder, RECIPE, tokenizer=tokenizer)
    recorder.completions(1, groups)
    recorder.metrics(1, {"reward": 1.0})
    recorder.close()
    return read_completions(completions_path(folder, 1))


def chosen(tokens):
    return [row for row, found in enumerate(tokens) if found is not None]


def test_the_largest_advantage_either_way_stands_for_its_step(tokenizer, write):
    groups = [
        group(write("1"), (5,), (6,), advantages=(0.5, -0.9)),
        group(write("2"), (7,), advantages=(0.1,)),
    ]
    found = specimens(groups, tokenizer)
    assert chosen(found) == [1]
    assert found[1]["sampled"]["ids"] == [6]


def test_a_conversation_of_several_turns_goes_before_answers_of_one(tmp_path, tokenizer, write):
    """Its page shows which turns are masked, and does not call its advantage the step's largest."""
    scored = group(write("1"), (5,), (6, 7, 8), (9, 7, 8), advantages=(0.9, 0.1, -0.3))
    said = Utterance("x", 1, is_own=True), Utterance("y", 1, is_own=False)
    talk = Conversation((*said, said[0]), 1.0, is_done=True)
    alone, *several = scored.group.completions
    done = alone, *(replace(each, conversation=talk) for each in several)
    found = record(
        tmp_path, [replace(scored, group=replace(scored.group, completions=done))], tokenizer
    )
    (row,) = (row for row in found if row["tokens"])
    assert row["tokens"]["sampled"]["ids"] == [9, 7, 8]
    trained = token_view(found).training
    assert trained.endswith("-0.3, the largest of the conversations of several turns of this step")


def test_a_completion_that_is_not_in_the_loss_gives_way(tokenizer, write):
    groups = [
        group(write("1"), (5,), advantages=(0.9,), is_trained=False),
        group(write("2"), (7,), advantages=(0.1,)),
    ]
    found = specimens(groups, tokenizer)
    assert chosen(found) == [1]
    assert found[1]["trained"] is True
    (alone,) = specimens(groups[:1], tokenizer)
    assert alone["trained"] is False


def test_the_very_ids_are_recorded_with_their_log_probs(tmp_path, tokenizer, write):
    prompt, said = (1, *write("12=")), (*write("21"), EOS)
    (row,) = record(tmp_path, [group(prompt, said, advantages=(1.0,))], tokenizer)
    assert row["tokens"] == {
        "prompt": {"ids": list(prompt), "texts": ["⟦<bos>⟧", "1", "2", "="]},
        "sampled": {"ids": list(said), "texts": ["2", "1", "⟦<eos>⟧"]},
        "logprobs": [0.0, -1.0, -2.0],
        "trained": True,
    }


def test_a_reward_that_records_tokens_does_not_take_their_place(tmp_path, tokenizer, write):
    done = group(write("1"), (5,), advantages=(1.0,), tokens=("mine",))
    (row,) = record(tmp_path, [done], tokenizer)
    assert row["extra/tokens"] == "mine"
    assert row["tokens"]["sampled"]["ids"] == [5]


class Tokens(HTMLParser):
    """The tokens of a page: class, what hovering shows, and text, as a browser finds them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.tags, self._open = [], set(), False
        start = page.index('<div class="tokens">')
        self.feed(page[start : page.index("<h2>", start)])

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        given = dict(attributes)
        if "tok" in (given.get("class") or "").split():
            self.found.append([given["class"].split()[1:], given.get("title"), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data.strip()


def tokens_of(folder):
    return Tokens(write_report(folder).read_text())


def test_the_page_tells_prompt_from_what_was_sampled_with_its_numbers(tmp_path, tokenizer, write):
    done = group((1, *write("1")), (*write("2"), EOS), advantages=(1.0,))
    record(tmp_path, [done], tokenizer)
    bos, digit, two, eos = tokens_of(tmp_path).found
    assert (bos[0], bos[2]) == (["prompt", "control"], "⟦<bos>⟧")
    assert (digit[0], digit[2]) == (["prompt"], "1")
    assert (two[0], two[2]) == (["p0"], "20")  # the token, and its log-prob of 0 below it
    assert (eos[0], eos[2]) == (["p2", "control"], f"⟦<eos>⟧{number(-1.0)}")
    assert "id 2 " in eos[1]
    assert "log-prob -1.0000   probability 36.8 %" in eos[1]
    assert eos[1].endswith("sampled, trained")


def test_what_a_model_samples_is_text_and_shows(tmp_path, tokenizer, write):
    record(tmp_path, [group((1,), write(HOSTILE), advantages=(1.0,))], tokenizer)
    page = tokens_of(tmp_path)
    assert page.tags <= {"div", "span", "b", "i", "br"}
    said = "".join(token[2].rstrip("0123456789.\N{MINUS SIGN}") for token in page.found)
    assert "script>alert(" in said
    assert "⟨U+202E⟩" in said
    assert "\u202e" not in write_report(tmp_path).read_text()


def test_a_rollout_that_a_limit_cut_says_so_and_whether_it_was_trained(tmp_path, tokenizer, write):
    cut = {"finish": FinishReason.LENGTH, "is_trained": False}
    record(tmp_path, [group(write("1"), write("2"), advantages=(1.0,), **cut)], tokenizer)
    page = write_report(tmp_path).read_text()
    assert "cut here by a limit" in page
    assert "left out of the loss (loss.mask_truncated)" in page
    sampled = tokens_of(tmp_path).found[1]
    assert "idle" in sampled[0]
    assert sampled[1].endswith("sampled, not trained")


def test_a_run_of_before_says_that_it_kept_no_tokens(tmp_path, write):
    record(tmp_path, [group(write("1"), write("2"), advantages=(1.0,))])
    assert "a version that kept no tokens" in write_report(tmp_path).read_text()


PART = {"ids": [1], "texts": ["x"]}


@pytest.mark.parametrize(
    "tokens",
    [
        "what a reward of before recorded under this name",
        {},
        {"prompt": None, "sampled": PART, "logprobs": [0.0], "trained": True},
        {"prompt": PART, "sampled": {"ids": None, "texts": ["x"]}, "logprobs": [0.0]},
        {"prompt": {"ids": [None], "texts": ["x"]}, "sampled": PART, "logprobs": [0.0]},
        {"prompt": PART, "sampled": PART, "logprobs": []},
        {"prompt": {"ids": [1, 2], "texts": ["x"]}, "sampled": PART, "logprobs": [0.0]},
    ],
)
def test_a_record_that_is_not_whole_is_not_shown(tokens):
    row = {"tokens": tokens, "finish_reason": "stop", "advantage": 1.0}
    assert token_view([row]) is None


@pytest.mark.slow
def test_long_rollouts_keep_their_start_and_their_end():
    ids = list(range(5000))
    part = {"ids": ids, "texts": [str(id) for id in ids]}
    row = {
        "tokens": {"prompt": part, "sampled": part, "logprobs": [0.0] * 5000, "trained": True},
        "finish_reason": "stop",
        "advantage": 1.0,
    }
    start, left_out, end = token_view([row]).sampled
    assert (start[0].text, end[-1].text) == ("0", "4999")
    assert len(start) + left_out + len(end) == 5000
    assert left_out > 0


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, math.inf, 3.0])
def test_log_probs_that_are_none_are_shown_as_they_are(logprob):
    part = {"ids": [1], "texts": ["x"]}
    row = {
        "tokens": {"prompt": part, "sampled": part, "logprobs": [logprob], "trained": True},
        "finish_reason": "stop",
        "advantage": 0.0,
    }
    ((token,), _, _) = token_view([row]).sampled
    assert token.number == number(logprob)


def test_colours_have_bounds_in_the_legend():
    # ln 0.5 = -0.693, ln 0.1 = -2.303
    minus = "\N{MINUS SIGN}"
    assert legend()[2] == ("p2", "10 % to 50 %", f"{minus}2.30 to {minus}0.69")
    assert legend()[-1] == ("p4", "below 1 %", f"below {minus}4.61")
