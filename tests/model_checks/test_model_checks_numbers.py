"""Laws of what a model computes: zeros, and English that it reads worse than a guess."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlpeft.model_checks import text
from rlpeft.model_checks.finding import LawVerdict
from rlpeft.model_checks.subject import Subject, SubjectRollouts
from rlpeft.models.folder import resolve_model


@pytest.mark.slow
@pytest.mark.parametrize("part", ["layers.1.mlp.up_proj", "embed_tokens"])
def test_a_matrix_of_zeros_is_named(altered, rows_of, part):
    folder = altered()
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if part in name)
    weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    row = rows_of(folder, weights=True)["weights"]
    assert row.verdict is LawVerdict.BROKEN
    assert name in row.evidence


def reading(monkeypatch, loss, *, uniform, expected):
    """What the law finds of tiny, as though its letters were words."""
    monkeypatch.setattr(text, "LETTERS", 0)
    subject = Subject(resolve_model("tiny"))
    found = SubjectRollouts((), [], [], [], {(): -loss, (1,): -loss})
    subject.__dict__["kept"] = {
        "rollouts": (found, None),
        "expected": ((uniform, expected), None),
    }
    return text.reads_best(subject)


def test_a_model_that_is_sure_and_reads_english_worse_than_a_guess_is_told(monkeypatch):
    found = reading(monkeypatch, 12.7, uniform=10.8, expected=6.3)
    assert found.verdict is LawVerdict.BROKEN
    assert "a uniform guess 10.80" in found.evidence


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_english_that_costs_no_number_is_told(monkeypatch, loss):
    assert reading(monkeypatch, loss, uniform=10.8, expected=1.0).verdict is LawVerdict.BROKEN


def test_random_weights_are_no_defect(monkeypatch):
    found = reading(monkeypatch, 7.4, uniform=6.55, expected=5.9)
    assert found.verdict is LawVerdict.HOLDS
    assert "random" in found.evidence


@pytest.mark.parametrize(("loss", "said"), [(8.7, True), (2.7, False)])
def test_a_model_that_english_surprises_is_to_be_looked_at(monkeypatch, loss, said):
    found = reading(monkeypatch, loss, uniform=10.8, expected=5.1)
    assert found.verdict is LawVerdict.HOLDS
    assert ("look at it" in found.evidence) is said


def test_what_the_model_expects_is_its_entropy(altered):
    subject = Subject(altered())
    with torch.no_grad():
        subject.base.get_output_embeddings().weight.zero_()
    uniform, expected = subject.expected
    assert expected == pytest.approx(uniform, abs=1e-4)
    assert uniform == pytest.approx(torch.tensor(280.0).log().item(), abs=1e-4)
