"""Experts by their id on the Hub: one commit, three files, and nothing else is fetched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlpeft.errors import HubError
from rlpeft.experts.files import load_expert
from rlpeft.experts.hub import LARGEST, known_as, resolve_expert, split_id


@pytest.fixture
def expert(make_expert, tiny_start):
    return make_expert("skill", tiny_start.tensors, config=dict(tiny_start.config))


@pytest.fixture
def pushed(hub, expert):
    """The repository `org/skill`, which holds the expert and what else the Hub puts there."""
    files = {path.name: path.read_bytes() for path in expert.iterdir()}
    return hub.repo("org/skill", files | {"README.md": b"# skill", ".gitattributes": b"*"})


def refused(name):
    with pytest.raises(HubError) as error:
        resolve_expert(name)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_an_id_is_fetched_with_the_same_bits_and_its_commit_is_said(pushed, expert):
    folder, notes = resolve_expert("org/skill")
    assert load_expert(folder).card == load_expert(expert).card
    assert {path.name for path in folder.iterdir()} == {*LARGEST}
    for file in LARGEST:
        assert (folder / file).read_bytes() == (expert / file).read_bytes()
    assert notes == [f"expert 'org/skill@main' is commit {pushed.branches['main']}."]
    assert resolve_expert(f"org/skill@{folder.name}") == (folder, [])


def test_what_is_fetched_is_known_by_its_commit(pushed):
    commit = pushed.branches["main"]
    for name in ("org/skill", "org/skill@main", f"org/skill@{commit}"):
        assert known_as(resolve_expert(name)[0]) == f"org/skill@{commit}"


def test_a_folder_of_ones_own_is_known_by_its_path(tmp_path):
    assert known_as(tmp_path) == str(tmp_path)
    assert known_as(Path("models--a--b/snapshots/main")) == "models--a--b/snapshots/main"


def test_a_commit_stays_what_it_was_when_a_branch_moves_on(pushed, hub):
    first = pushed.branches["main"]
    card = json.loads(pushed.commits[first]["card.json"])
    pushed.commit({"card.json": json.dumps(card | {"seed": 7}).encode()})
    assert load_expert(resolve_expert("org/skill")[0]).card.seed == 7
    assert load_expert(resolve_expert(f"org/skill@{first}")[0]).card.seed == 0


def test_a_commit_that_was_fetched_asks_the_hub_no_more(pushed, hub):
    name = f"org/skill@{pushed.branches['main']}"
    resolve_expert(name)
    hub.requests.clear()
    resolve_expert(name)
    assert hub.requests == []


def test_a_branch_can_be_named(pushed):
    commit = pushed.commit({}, branch="more")
    assert known_as(resolve_expert("org/skill@more")[0]) == f"org/skill@{commit}"


def test_without_a_network_the_cached_copy_is_taken_and_said(pushed, hub):
    folder, _ = resolve_expert("org/skill")
    hub.set_offline(True)
    hub.requests.clear()
    again, [note] = resolve_expert("org/skill")
    assert again == folder
    assert f"cached copy, of commit {pushed.branches['main']}: HF_HUB_OFFLINE is set" in note
    assert hub.requests == []


def test_without_a_network_and_a_copy_one_line_says_so(pushed, hub):
    hub.set_offline(True)
    assert "HF_HUB_OFFLINE is set" in refused("org/skill")


def test_a_part_of_a_copy_is_none(pushed, hub):
    folder, _ = resolve_expert("org/skill")
    (folder / "card.json").unlink()
    hub.set_offline(True)
    assert "not whole in the Hub's cache" in refused("org/skill")


def test_a_local_folder_wins_and_that_is_said(pushed, hub, expert, tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    expert.rename(tmp_path / "org" / "skill")
    monkeypatch.chdir(tmp_path)
    folder, [note] = resolve_expert("org/skill")
    assert folder == Path("org/skill")
    assert "is the folder here, not the Hub's repository" in note
    assert hub.requests == []


def test_a_mistyped_path_is_not_asked_of_the_hub(hub, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "'runs/quikstart'" in refused("runs/quikstart")
    assert hub.requests == []


@pytest.mark.parametrize(
    "name", ["runs/a/expert", "./a/b", "/a/b", "expert", "a/b@", "a/b@ c", "ä/b"]
)
def test_what_is_no_id_is_a_path(name):
    assert split_id(name) is None
    assert resolve_expert(name) == (Path(name), [])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("training_args.bin", "'training_args.bin', which may run code"),
        ("weights.PKL", "'weights.PKL', which may run code"),
        ("reward.py", "'reward.py', which may run code"),
    ],
)
def test_pickles_and_programs_are_refused_before_anything_is_fetched(pushed, hub, file, said):
    pushed.commit({file: b"cos\nsystem\n"})
    assert said in refused("org/skill")
    assert not [request for request in hub.requests if "/resolve/" in request]


@pytest.mark.parametrize("file", LARGEST)
def test_a_file_that_is_too_large_is_refused_before_it_is_fetched(pushed, hub, file):
    pushed.listed[file] = {"size": LARGEST[file] + 1}
    assert f"{file} of expert 'org/skill@main' must have at most" in refused("org/skill")
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_link_in_the_place_of_a_file_is_refused(pushed, hub):
    pushed.listed["card.json"] = {"type": "symlink"}
    assert "as plain files at its top, it lacks card.json" in refused("org/skill")
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_repository_without_an_expert_is_refused(hub):
    hub.repo("org/base", {"config.json": b"{}"})
    assert "it lacks card.json, adapter_config.json, adapter_model.safetensors" in refused(
        "org/base"
    )


def test_a_repository_with_too_many_files_is_refused(hub):
    hub.repo("org/heap", {f"{number}.txt": b"" for number in range(1001)})
    assert "more than 1000" in refused("org/heap")


def test_an_absent_repository_is_told_in_one_line(hub):
    line = refused("org/nothing")
    assert f"expert 'org/nothing@main' is not at {hub.endpoint}, or is private" in line
    assert "no token is set here" in line


def test_a_private_repository_is_for_its_owners(pushed, hub):
    pushed.private = True
    assert "or is private and no token is set here" in refused("org/skill")
    hub.login("hf_stranger")
    assert "or is private and the token set here has no right to it" in refused("org/skill")
    hub.login("hf_reader")
    assert load_expert(resolve_expert("org/skill")[0]).card.name == "skill"


def test_a_token_that_is_none_is_told(pushed, hub):
    hub.login("hf_expired")
    assert "refused by the Hub (status 401): the token set here has no right to it" in refused(
        "org/skill"
    )


def test_a_gated_repository_is_told(pushed, hub):
    pushed.gated = True
    assert "for those whom its owner admits" in refused("org/skill")


def test_a_revision_that_is_gone_is_told(pushed, hub):
    assert "expert 'org/skill@v9' is gone from the Hub, or never was there" in refused(
        "org/skill@v9"
    )


def test_a_hub_that_is_down_is_told(pushed, hub):
    hub.down = True
    assert f"needs the Hub at {hub.endpoint}, which does not answer (status 503)" in refused(
        "org/skill"
    )


@pytest.mark.slow
def test_a_process_of_its_own_asks_the_hub_of_hf_endpoint(pushed):
    code = "from rlpeft.experts.hub import *; print(known_as(resolve_expert('org/skill')[0]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == f"org/skill@{pushed.branches['main']}", done.stderr
