"""Folders that strangers name: below a root, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rlpeft.errors import ExpertError
from rlpeft.experts.below import copy_below, refuse_costly
from rlpeft.experts.files import load_expert
from rlpeft.experts.hub import LARGEST


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with an expert `runs/a`, beside another that may not be read."""
    for folder in ("root/runs/a", "secret"):
        (tmp_path / folder).mkdir(parents=True)
        for name in LARGEST:
            (tmp_path / folder / name).write_text(f"{folder} {name}")
    return tmp_path / "root"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


def test_an_expert_is_copied_by_its_path_or_by_that_below_a_root(root: Path, into: Path) -> None:
    for path in ("runs/a", str(root / "runs" / "a")):
        copy_below([into, root], path, into)
        assert {file.name for file in into.iterdir()} == set(LARGEST)
        assert (into / "card.json").read_text() == "root/runs/a card.json"


@pytest.mark.parametrize(
    "path",
    ["../secret", "runs/../../secret", "/etc", "", ".", "runs", "runs/a\0", "a" * 5000, "link"],
)
def test_no_path_leads_out(root: Path, into: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    with pytest.raises(ExpertError):
        copy_below([root], path, into)
    assert not any(into.iterdir())


def test_the_path_of_another_folder_is_none_below_a_root(root: Path, into: Path) -> None:
    for path in (root.parent / "secret", root / ".." / "secret", Path(f"{root}x")):
        with pytest.raises(ExpertError):
            copy_below([root], str(path), into)


def test_a_file_that_is_a_link_or_a_pipe_is_not_read(root: Path, into: Path) -> None:
    card = root / "runs" / "a" / "card.json"
    card.unlink()
    card.symlink_to(root.parent / "secret" / "card.json")
    with pytest.raises(ExpertError, match=r"must have a file card\.json that is no link"):
        copy_below([root], "runs/a", into)
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(ExpertError, match="must be a regular file"):
        copy_below([root], "runs/a", into)


def test_a_file_that_is_a_folder_is_not_read_and_left_closed(root: Path, into: Path) -> None:
    card = root / "runs" / "a" / "card.json"
    card.unlink()
    card.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ExpertError, match="must be a regular file"):
        copy_below([root], "runs/a", into)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_root_that_is_gone_holds_nothing_and_the_next_is_asked(root: Path, into: Path) -> None:
    gone = root.parent / "gone"
    copy_below([gone, root], "runs/a", into)
    with pytest.raises(ExpertError, match="there is none"):
        copy_below([gone], "runs/a", into)


def test_of_a_runs_folder_its_expert_was_meant(root: Path, into: Path) -> None:
    (root / "runs" / "a").rename(root / "expert")
    (root / "expert").rename(root / "runs" / "expert")
    with pytest.raises(ExpertError, match=r"Did you mean 'runs/expert'\?"):
        copy_below([root], "runs", into)


def test_a_file_that_is_too_large_is_given_up(root: Path, into: Path) -> None:
    card = root / "runs" / "a" / "card.json"
    os.truncate(card, LARGEST["card.json"] + 1)
    with pytest.raises(ExpertError, match="must have at most 16777216 bytes"):
        copy_below([root], "runs/a", into)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target_modules": "(a+)+$"}, "has an expression"),
        ({"target_modules": ["q_proj", "(a+)+$"]}, "has an expression"),
        ({"rank_pattern": {"(a+)+": 2}}, "has an expression"),
        ({"rank_pattern": {"q_proj": 1 << 40}}, "no side of its tensors"),
        ({"rank_pattern": "q_proj"}, "rank_pattern of expert 'x' must map modules to numbers"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern of expert 'x' must map"),
        ({"target_modules": 5}, "has an expression"),
        ({"r": 1 << 40}, "no side of its tensors is longer than 8"),
    ],
)
def test_a_config_that_would_cost_without_end_is_refused(
    make_expert: Any, changed: dict[str, Any], said: str
) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 1, "target_modules": ["q_proj"]}
    tensors = {"base_model.model.q_proj.lora_A.weight": torch.ones(2, 8)}
    refuse_costly("x", load_expert(make_expert("plain", tensors, config=config)))
    hostile = load_expert(make_expert("hostile", tensors, config=config | changed))
    with pytest.raises(ExpertError, match=said):
        refuse_costly("x", hostile)
