"""The page of rlpeft/models says what the command finds, as far as no download is needed."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import rlpeft
from jobs.models.law_table import read_table, table, verdicts
from rlpeft.model_checks.examine import examine
from rlpeft.models.folder import resolve_model
from rlpeft.models.mechanisms import read_mechanisms

PAGE = (Path(rlpeft.__file__).parent / "models" / "README.md").read_text()
FIRST, SECOND = PAGE.split("## Laws")[1].split("## Windows")


def open_with_two(tree):
    """Prefix tokens that are no BOS."""
    names = (("<system>", 3), ("<user>", 4))
    tree["post_processor"]["special_tokens"] = {
        name: {"id": name, "ids": [id], "tokens": [name]} for name, id in names
    }
    opening = [{"SpecialToken": {"id": name, "type_id": 0}} for name, _ in names]
    tree["post_processor"]["single"] = [*opening, {"Sequence": {"id": "A", "type_id": 0}}]
    tree["post_processor"]["pair"] = [*opening, *tree["post_processor"]["pair"][1:]]


TEMPLATE = (resolve_model("tiny") / "chat_template.jinja").read_text()
ALTERED = {
    "no template": {"drop": ["chat_template.jinja"]},
    "prefix tokens": {"tokenizer__json": open_with_two},
    "trimming template": {
        "chat_template__jinja": TEMPLATE.replace("message.content", "(message.content | trim)")
    },
}


def documented(model):
    return read_table(FIRST)[model]


def found(folder):
    rows = examine(folder, engines=("hf",))
    return verdicts([json.loads(json.dumps(asdict(row))) for row in rows])


def test_the_page_has_the_ten_kinds():
    assert len(read_table(FIRST)) == 10


@pytest.mark.slow
def test_the_column_of_the_built_in_model_is_what_the_command_finds():
    assert documented("tiny") == found(resolve_model("tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALTERED)
def test_the_columns_of_altered_models_are_what_the_command_finds(altered, kind):
    assert documented(kind) == found(altered(**ALTERED[kind]))


def test_a_table_that_is_written_can_be_read_back():
    law = {"law": "ends", "engine": None, "verdict": "does not hold"}
    written = table({"a": {"laws": [law]}, "b": {"laws": [{**law, "engine": "hf"}]}})
    assert read_table(written) == {
        "a": {"ends": "**no**", "ends (hf)": "–"},
        "b": {"ends": "–", "ends (hf)": "**no**"},
    }


SLIDING = {"sliding_window": 16}
MIXED = {**SLIDING, "layer_types": ["sliding_attention", "full_attention"]}
CAPS = {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 1.0}
ARCHITECTURES = {
    "Mistral": ("mistral", SLIDING),
    "Gemma-2": ("gemma2", {**SLIDING, **CAPS}),
    "Gemma-3": ("gemma3_text", MIXED),
    "Qwen2": ("qwen2", {}),
    "Qwen2, window in use": (
        "qwen2",
        {**SLIDING, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "Phi-3": ("phi3", SLIDING),
    "Cohere": ("cohere", {"logit_scale": 0.0625}),
    "Cohere-2": ("cohere2", {**MIXED, "logit_scale": 0.25}),
    "Granite": ("granite", {"logits_scaling": 8.0}),
    "GPT-OSS": ("gpt_oss", SLIDING),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_expressed_of_an_architecture_is_what_its_config_says(name, tiny_model):
    kind, changes = ARCHITECTURES[name]
    expressed = read_mechanisms(tiny_model(kind, **changes).config).describe()
    assert f"| {name} | {expressed} |" in SECOND
