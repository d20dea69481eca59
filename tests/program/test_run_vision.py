"""Runs whose base model has a vision tower: they move the language model alone."""

import json
from string import ascii_letters

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from jobs.sft import run as supervise
from rlpeft.errors import DataError
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


@pytest.fixture(scope="module")
def asking(make_quick, tiny_vision, make_image, tmp_path_factory):
    """A recipe of questions about pictures."""
    folder = tmp_path_factory.mktemp("rows")
    for seed in range(24):
        make_image(seed, folder=folder)
    rows = [{"prompt": "Which?", "answer": ".*", "seen": f"{seed}.png"} for seed in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "jsonl", "path": str(folder / "rows.jsonl"), "options": {"image": "seen"}}

    def make(**sections):
        return make_quick(
            model={"name": str(tiny_vision)},
            task={**task, "num_validation": 4, "num_test": 4},
            reward=[{"name": "regex"}],
            # About half of what random weights write ends by one of these, and is right.
            rollout={"max_tokens": 6, "stop": list(ascii_letters[:32])},
            **sections,
        )

    return make


@pytest.fixture(scope="module")
def seen(asking, tmp_path_factory):
    """The folder of a run on questions about pictures, and its summary."""
    folder = tmp_path_factory.mktemp("seen")
    return folder, run(asking(), folder)


def test_questions_about_images_are_trained_on_with_engine_and_learner_alike(seen):
    rows = [row for row in read_metrics(seen[0]) if GAP in row]
    assert len(rows) == 4
    assert max(row[GAP] for row in rows) < 1e-4
    assert any(row["grad_norm"] > 0 for row in rows)
    assert not seen[1]["equals_base"]


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def test_a_run_on_images_that_was_cut_off_ends_as_one_that_was_not(asking, seen, tmp_path, decided):
    def on_step(progress, metrics):
        if progress.step == 2:
            raise CutOff

    with pytest.raises(CutOff):
        run(asking(), tmp_path, on_step=on_step)
    run(asking(), tmp_path)
    assert decided(tmp_path) == decided(seen[0])


def test_images_that_the_model_cannot_see_are_refused_at_the_start(asking, tmp_path):
    recipe = asking()
    blind = recipe.model.model_copy(update={"name": "tiny"})
    with pytest.raises(DataError, match="cannot see"):
        run(recipe.model_copy(update={"model": blind}), tmp_path)


def test_supervision_refuses_images(asking, tmp_path):
    recipe = asking(sft={"completion": "{answer}", "micro_batch": 4})
    with pytest.raises(DataError, match="supervision learns from text alone"):
        supervise(recipe, tmp_path)
