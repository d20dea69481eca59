"""`rlpeft analyze`: what it prints and writes, and the one line a mistake gets."""

import json

import pytest
from typer.testing import CliRunner

from jobs.cli import app


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question": f"what is {i * 37 % 100} and {i}{'?' * (i % 5)}", "answer": i}
        for i in range(1, 90)
    ]
    rows += [{"question": "".join(map(chr, range(40, 45 + n)))} for n in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["analyze", "hyperbolicity", *map(str, arguments)])


def mistake(*arguments):
    result = run(*arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


def test_it_says_what_the_figure_shows_and_what_not(questions):
    result = run("tiny", "--data", questions, "--questions", 12)
    assert result.exit_code == 0, result.output
    assert "covariance" in result.stdout
    assert "Relative δ of the input embeddings is" in result.stdout
    assert "It does not show whether a hyperbolic adapter helps" in " ".join(result.stdout.split())
    assert "power law with exponent" in result.stdout


@pytest.mark.slow
def test_it_writes_json_and_pictures(questions, tmp_path):
    out = tmp_path / "out"
    result = run(
        "tiny", "--data", questions, "--questions", 6, "--layers", "0,1", "--out", out, "--json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads((out / "hyperbolicity.json").read_text())
    assert report == json.loads(result.stdout)
    assert [found["layer"] for found in report["layers"]] == [0, 1]
    for found in report["layers"]:
        real, chance = found["figures"]["real"]["mean"], found["figures"]["isotropic"]["mean"]
        assert found["excess"]["isotropic"][0] == pytest.approx(chance - real)
    for picture in ("hyperbolicity.svg", "layers.svg", "tokens.svg"):
        assert "<svg" in (out / picture).read_text()


def test_embeddings_of_a_layer_zero_request_need_no_forward(questions):
    """The same figures come from the embedding table and from the model's hidden states."""
    alone = json.loads(run("tiny", "--data", questions, "--questions", 5, "--json").stdout)
    both = run("tiny", "--data", questions, "--questions", 5, "--layers", "0,1", "--json")
    assert json.loads(both.stdout)["layers"][0]["figures"] == alone["layers"][0]["figures"]


def test_a_missing_column_is_named_with_those_there_are(questions):
    line = mistake("tiny", "--data", questions, "--column", "problem")
    assert "column 'problem'" in line
    assert "['answer', 'question']" in line


def test_other_mistakes_are_one_line(questions, tmp_path):
    assert "existing JSONL file" in mistake("tiny", "--data", tmp_path / "none.jsonl")
    assert "layers must be between 0 and" in mistake("tiny", "--data", questions, "--layers", "99")
    assert "whole numbers" in mistake("tiny", "--data", questions, "--layers", "all")
    assert "model.name must be" in mistake("./nothing", "--data", questions)
    short = tmp_path / "short.jsonl"
    short.write_text('{"question": "a"}\n')
    assert "at least 4 different tokens" in mistake("tiny", "--data", short)


def test_spectrum_writes_a_table_csv_json_and_a_picture(tmp_path):
    result = CliRunner().invoke(
        app, ["analyze", "spectrum", "tiny", "--top", "8,32", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    assert "top 32" in result.output
    rows = json.loads((tmp_path / "spectrum.json").read_text())
    assert len(rows) == 4 * 7
    assert all(0 < row["shares"]["8"] < row["shares"]["32"] < 1 for row in rows)
    lines = (tmp_path / "spectrum.csv").read_text().splitlines()
    assert lines[0] == "layer,kind,rank,stable_rank,top_8,top_32"
    assert len(lines) == 1 + len(rows)
    assert (tmp_path / "spectrum.svg").read_text().startswith("<?xml")


@pytest.fixture
def mixed(make_expert, tmp_path):
    """Two mixtures of one task, found with different budgets; and an expert that is none."""
    import torch

    from rlpeft.experts.measures import Accuracy

    for shots, iterations, coefficients in (
        (3, 10, (0.0, 3.0, 1.0)),
        (10, 50, ((1, 1), (0, 2), (1, 3))),
    ):
        mixture = {
            "parents": {"base": "b", "swap": "s", "sort": "t"},
            "coefficients": coefficients,
            "matrices": ("q", "k"),
            "normalise": True,
            "search": {"config": {"iterations": iterations}, "shots": ["x"] * shots},
        }
        make_expert(
            f"m{shots}",
            {"q.svf_z": torch.ones(2)},
            folder=tmp_path / f"m{shots}",
            task={"name": "tiny/mix"},
            mixture=mixture,
            test=Accuracy.of(8, 10),
        )
    make_expert("plain", {"q.svf_z": torch.ones(2)}, folder=tmp_path / "plain")
    return tmp_path


def test_mixtures_are_shares_of_their_parents(mixed, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["analyze", "mixtures", str(mixed), "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    few, many = json.loads(result.stdout)
    assert few["weights"] == {"base": 0.0, "swap": 0.75, "sort": 0.25}
    assert many["weights"] == {"base": 0.25, "swap": 0.25, "sort": 0.5}
    assert [(row["shots"], row["iterations"]) for row in (few, many)] == [(3, 10), (10, 50)]
    lines = (out / "mixtures.csv").read_text().splitlines()
    assert lines[0] == "mixture,task,shots,iterations,base,swap,sort,test,base_test"
    assert lines[1] == "m3,tiny/mix,3,10,0.0,0.75,0.25,0.8,"
    assert all((out / name).is_file() for name in ("mixtures.svg", "budget.svg"))


def test_no_mixture_is_told_with_how_to_make_one(make_expert, tmp_path):
    import torch

    make_expert("plain", {"q.svf_z": torch.ones(2)}, folder=tmp_path / "plain")
    result = CliRunner().invoke(app, ["analyze", "mixtures", str(tmp_path)])
    assert result.exit_code == 1
    assert "rlpeft adapt tiny-mix" in " ".join(result.output.split())
