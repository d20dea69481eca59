"""A pipe where a file must be ends a command in one line; opened, it would hang it for ever."""

import os

import pytest

from rlpeft.errors import ConfigError, DataError, ExpertError
from rlpeft.experts.files import CARD_FILE, CONFIG_FILE, TENSOR_FILE, load_expert
from rlpeft.recipe.run import read_tree
from rlpeft.tasks.formats import read_rows


@pytest.mark.parametrize("name", [CARD_FILE, CONFIG_FILE, TENSOR_FILE])
def test_an_expert_with_a_pipe_for_a_file_is_refused(make_expert, tiny_start, name):
    folder = make_expert("piped", tiny_start.tensors, config=dict(tiny_start.config))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ExpertError, match=r"regular files|device"):
        load_expert(folder)


@pytest.mark.parametrize("ending", ["toml", "yaml", "json"])
def test_a_recipe_that_is_a_pipe_is_refused(tmp_path, ending):
    os.mkfifo(tmp_path / f"r.{ending}")
    with pytest.raises(ConfigError, match="regular files"):
        read_tree(tmp_path / f"r.{ending}")


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_rows_that_are_a_pipe_are_refused(tmp_path, ending):
    os.mkfifo(tmp_path / f"r.{ending}")
    with pytest.raises(DataError, match="regular files"):
        read_rows(tmp_path / f"r.{ending}")
