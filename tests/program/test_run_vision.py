"""Runs whose base model has a vision tower: they move the language model alone."""

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlpeft.experts.export import export_expert
from rlpeft.experts.files import load_expert
from rlpeft.program.run import run
from rlpeft.runs.records import read_metrics

pytestmark = pytest.mark.slow

LANGUAGE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
GAP = "sampling/sampling_logp_difference/max"
TOWER = {"vision_model": 6, "connector": 1}


@pytest.fixture(scope="module")
def answered(make_quick, tiny_vision, tmp_path_factory):
    """The folder of a run on problems of text."""
    folder = tmp_path_factory.mktemp("text")
    run(make_quick(model={"name": str(tiny_vision)}), folder)
    return folder


def test_problems_of_text_are_trained_on_with_engine_and_learner_alike(answered):
    rows = [row for row in read_metrics(answered) if GAP in row]
    assert rows
    assert max(row[GAP] for row in rows) < 1e-4


def test_the_card_counts_what_was_adapted_and_the_towers_that_were_not(answered):
    card = load_expert(answered / "expert").card
    assert card.modules == dict.fromkeys(LANGUAGE, 2)
    assert card.left_out == TOWER


def test_a_merged_model_still_sees(answered, tmp_path):
    export_expert(answered / "expert", tmp_path / "merged", format="merged")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert model.config.model_type == "idefics3"
    assert AutoProcessor.from_pretrained(tmp_path / "merged").image_seq_len == 4
