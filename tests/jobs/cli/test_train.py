"""`rlpeft train --mirror`: a run whose folder is gone goes on from there, bit for bit."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.program.run import run
from rlpeft.report.page import write_report


def trained(recipe, out, *words):
    return CliRunner().invoke(app, ["train", str(recipe), "--local", "--out", str(out), *words])


@pytest.mark.slow
def test_a_run_whose_folder_is_gone_goes_on_from_its_mirror(quick, tmp_path, decided):
    recipe, mirror = tmp_path / "recipe.json", f"file://{tmp_path}/far/run"
    recipe.write_text(json.dumps(quick().model_dump(mode="json")))
    run(quick(), tmp_path / "whole")
    write_report(tmp_path / "whole")
    first = trained(recipe, tmp_path / "run", "--mirror", mirror, "--set", "train.steps=2")
    assert first.exit_code == 0, first.output
    shutil.rmtree(tmp_path / "run")
    again = trained(recipe, tmp_path / "run", "--mirror", mirror)
    assert again.exit_code == 0, again.output
    assert "were brought back from" in " ".join(again.output.split())
    assert decided(tmp_path / "run")["tensors"] == decided(tmp_path / "whole")["tensors"]
    assert decided(tmp_path / "run")["metrics"] == decided(tmp_path / "whole")["metrics"]
    assert len([*(tmp_path / "far" / "run" / "files").iterdir()]) > 10


@pytest.mark.parametrize("words", ["train quickstart --local", "sft quickstart", "adapt tiny-mix"])
def test_a_mirror_that_cannot_be_is_refused_before_anything_is_loaded(tmp_path, words):
    where = ["--out", str(tmp_path / "run"), "--mirror", "far/run"]
    done = CliRunner().invoke(app, [*words.split(), *where])
    assert (done.exit_code, (tmp_path / "run").exists()) == (1, False)
    assert "--mirror must be a URL, such as s3://bucket/run" in " ".join(done.output.split())
