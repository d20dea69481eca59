"""The README says what is known of an expert, and nothing of a stranger's text is markup in it."""

import re

import pytest
import yaml

from rlpeft.experts.card_parts import Mixture
from rlpeft.experts.files import ExpertCard
from rlpeft.experts.measures import Accuracy, MeanScore
from rlpeft.experts.model_card import Beside, model_card
from rlpeft.experts.model_card_use import BaseCode

HOSTILE = "a`b` | c\n---\nlicense: mit\n# Title\n```\n<img src=x>\u202e"


def make(**changes):
    known = {
        "name": "skill",
        "base_model": "owner/base",
        "base_digest": "b" * 64,
        "adapter": {"type": "svf", "parametrisation": "direct"},
        "task": {"name": "gsm8k"},
        "rewards": ("math",),
        "seed": 3,
        "step": 1200,
        "digest": "d" * 64,
    }
    return ExpertCard(**(known | changes))


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_names_base_library_data_and_licence():
    text = model_card(make(), "owner/base", beside=Beside("org/skill", "mit"))
    assert front(text) == {
        "library_name": "peft",
        "tags": ["rlpeft", "svf"],
        "base_model": "owner/base",
        "license": "mit",
        "datasets": ["openai/gsm8k"],
    }


@pytest.mark.parametrize(
    ("task", "datasets"),
    [
        ({"name": "hub", "path": "org/rows"}, ["org/rows"]),
        ({"name": "gsm8k", "path": "/data/rows.jsonl"}, None),
        ({"name": "tiny/swap"}, None),
        ({"name": "hub", "path": HOSTILE}, None),
    ],
)
def test_a_dataset_is_named_where_it_has_an_id(task, datasets):
    assert front(model_card(make(task=task), "owner/base")).get("datasets") == datasets


def test_accuracies_have_their_intervals():
    card = make(test=Accuracy.of(90, 100), base_test=Accuracy.of(40, 100))
    text = model_card(card, "owner/base")
    assert "| the expert, on test problems | 90.0% [82.6%, 94.5%] |" in text
    assert "| its base model, on the same | 40.0% [30.9%, 49.8%] |" in text


def test_what_is_not_known_says_so():
    text = model_card(make(task={}), "owner/base")
    for line in (
        "| the expert, on test problems | not known |",
        "| licence of the base | not known |",
        "| libraries | not known |",
        "How it went is not known here.",
    ):
        assert line in text
    assert "license" not in front(text)


def test_a_score_is_shown_as_one():
    text = model_card(make(test=MeanScore.of([0.25, 0.75])), "owner/base")
    assert "| the expert, on test problems | 0.50 [" in text


def test_from_which_score_on_an_answer_is_correct_is_said():
    text = model_card(make(rewards=("mine:f1",), correct_at={"mine:f1": 0.5}), "owner/base")
    assert "Correct is an answer with a score of at least 0.5 by `mine:f1`." in text
    assert "Correct is" not in model_card(make(), "owner/base")


def test_the_curve_shows_its_ends_and_some_between():
    rows = [{"step": step, "reward": step / 100, "eval_accuracy": 0.5} for step in range(101)]
    text = model_card(make(), "owner/base", beside=Beside(curve=[*rows, {"step": 101}]))
    shown = re.findall(r"^\| (\d+) \| 0\.500 \| - \| - \| [\d.]+ \|$", text, flags=re.M)
    assert shown[0] == "0"
    assert shown[-1] == "100"
    assert len(shown) == 12


def test_the_course_of_a_search_is_its_curve():
    history = [{"step": 1, "best": 0.25, "mean": 0.125}, {"step": 2, "best": 0.5, "mean": "`|"}]
    mixture = Mixture(
        parents={"base": "b", "one": "o"},
        coefficients=(0.5, 0.5),
        matrices=(),
        normalise=False,
        search={"history": [*history, "no row"]},
    )
    text = model_card(make(mixture=mixture), "owner/base")
    assert "| 1 | 0.250 | 0.125 |\n| 2 | 0.500 | - |" in text
    assert "| mixed from | `base`, `one` |" in text


def test_each_way_to_load_is_shown():
    text = model_card(make(), "owner/base", beside=Beside("org/skill"))
    for line in (
        'rlpeft generate "PROMPT" --experts org/skill --strategy skill',
        'model = PeftModel.from_pretrained(base, "org/skill")',
        "rlpeft export org/skill --format merged --out merged\nvllm serve merged",
        'model = AutoModelForCausalLM.from_pretrained("merged", dtype="float32")',
    ):
        assert line in text


def test_what_cannot_be_merged_is_not_said_to_be():
    text = model_card(make(adapter={"type": "hyplora"}), "owner/base", beside=Beside("org/skill"))
    assert "merged" not in text.replace("cannot be merged", "")
    assert "rlpeft serve --experts org/skill" in text


FIELDS = {
    "base_digest": HOSTILE,
    "digest": HOSTILE,
    "rewards": (HOSTILE,),
    "correct_at": {HOSTILE: 1.0},
    "adapter": {"type": "svf", HOSTILE: HOSTILE, "targets": [HOSTILE]},
    "versions": {HOSTILE: HOSTILE},
    "name": HOSTILE.replace("\n", " ").replace("<img src=x>\u202e", "$(touch x)"),
    "task": {"name": HOSTILE, "path": HOSTILE},
    "start": {"name": HOSTILE, "digest": HOSTILE, "source": HOSTILE},
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_text_of_a_card_leaves_its_place(field):
    honest, text = (
        model_card(card, "owner/base") for card in (make(), make(**{field: FIELDS[field]}))
    )
    assert front(text) == front(honest) | {} or field == "task"
    assert "license" not in front(text)
    outside = re.sub(r"```.*?^```", "", text, flags=re.S | re.M)
    assert outside.count("---\n") == 2
    code = re.sub(r"`[^`\n]*`", "", outside)
    for mark in ("<", "\u202e", "`", "# Title"):
        assert mark not in code
    for line in outside.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 6), line


def test_a_base_that_others_cannot_find_is_called_by_its_name():
    text = model_card(make(base_model="tiny"), "/somewhere/tiny")
    assert "/somewhere" not in text
    assert 'resolve_model("tiny")' in text
    assert "base_model" not in front(text)


@pytest.mark.parametrize(
    ("quantisation", "serving", "lines"),
    [
        (
            "int8",
            "rlpeft serve --experts .\n",
            [
                "from torchao.quantization import Int8WeightOnlyConfig",
                "from transformers import AutoModelForCausalLM, TorchAoConfig",
                'from_pretrained("owner/base", dtype="float32", '
                "quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))",
            ],
        ),
        (
            "nf4",
            "rlpeft serve --experts . --engine hf\n",
            ['BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'],
        ),
    ],
)
def test_the_code_loads_a_quantised_base_as_it_was_in_training(quantisation, serving, lines):
    text = model_card(make(), "owner/base", BaseCode(quantisation=quantisation))
    assert all(line in text for line in [serving, *lines])
    assert "--format merged" not in text
