"""Experts by their id on a model hub, `ORG/NAME` or `ORG/NAME@REVISION`, as folders here.

A repository is looked at before anything of it is fetched, and then an expert's three files are,
JSON and safetensors, of one commit. They lie in the cache of `huggingface_hub`, in a folder whose
path names the commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from rlpeft.errors import HubError
from rlpeft.experts.files import CARD_FILE, CONFIG_FILE, TENSOR_FILE
from rlpeft.experts.hub_errors import hub_errors

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)

LARGEST = {CARD_FILE: 16 << 20, CONFIG_FILE: 16 << 20, TENSOR_FILE: 4 << 30}
"""An expert's files, and the most bytes of each that are fetched or pushed."""

MOST_FILES = 1000
"""At the top of a repository: the Hub lists so many at a time."""

RUNS_CODE = (
    *(".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"),
    *(".py", ".pyc", ".so"),
)
"""Ends of names of pickles and programs: who loads them lets their author run code."""

COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")


def resolve_expert(name: str) -> tuple[Path, list[str]]:
    """The folder of an expert, or with experts, and what a user must be told about it.

    Args:
        name: a folder, which wins over a repository of that name; or `ORG/NAME`, or
            `ORG/NAME@REVISION` with a branch, a tag or a commit.

    Returns:
        What is no id is given back as it is, there or not.

    Raises:
        HubError: the Hub cannot be asked, has no such repository or revision, or what it has may
            not be fetched.
    """
    local, found = Path(name), split_id(name)
    if found is None:
        return local, []
    if local.exists():
        note = f"{name!r} is the folder here, not the Hub's repository of that name."
        return local, [note] if (local / CARD_FILE).is_file() else []
    refuse_mistyped(name)
    return from_the_hub(name)


def from_the_hub(name: str) -> tuple[Path, list[str]]:
    """As `resolve_expert`, of an id that means the Hub whatever lies here."""
    repository, _, revision = name.partition("@")
    return _from_hub(repository, revision or "main")


def refuse_mistyped(name: str) -> None:
    """Refuse an id that is a path rather: what it would lie below is a folder here.

    Raises:
        HubError: it is one.
    """
    local = Path(name)
    if on_hub(name) and "@" not in name and local.parent.is_dir():
        raise HubError(
            f"there is no expert {name!r}: it lies below the folder {str(local.parent)!r}, so the "
            f"Hub was not asked. Correct the path; {name}@main asks the Hub."
        )


def split_id(name: str) -> tuple[str, str | None] | None:
    """Repository and revision, if this is written as an id of the Hub is.

    >>> split_id("org/name@v1"), split_id("org/name"), split_id("runs/a/expert")
    (('org/name', 'v1'), ('org/name', None), None)
    """
    repository, at, revision = name.partition("@")
    if not REPOSITORY.fullmatch(repository) or (at and not REVISION.fullmatch(revision)):
        return None
    return repository, revision if at else None


def is_hub_id(name: str) -> bool:
    """Whether others may find a model by this name: `ORG/NAME`, and nothing here is called so."""
    return REPOSITORY.fullmatch(name) is not None and not Path(name).exists()


def on_hub(name: str) -> bool:
    """Whether this is written as an id of the Hub is, and nothing here is called so."""
    return split_id(name) is not None and not Path(name).exists()


def fetched_from(folder: Path) -> str | None:
    """`ORG/NAME@COMMIT`, if this is where an expert of the Hub lies."""
    *_, repository, snapshots, commit = ("", "", "", *folder.parts)
    cached = _CACHED.fullmatch(repository)
    if cached is None or snapshots != "snapshots" or not COMMIT.fullmatch(commit):
        return None
    return f"{cached['owner']}/{cached['name']}@{commit}"


def known_as(folder: Path) -> str:
    """What to call an expert's folder: as `fetched_from`, or its path."""
    return fetched_from(folder) or str(folder)


def _from_hub(repository: str, revision: str) -> tuple[Path, list[str]]:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    said = f"expert {f'{repository}@{revision}'!r}"
    cached = _cached(repository, revision)
    if cached is not None and (HF_HUB_OFFLINE or COMMIT.fullmatch(revision)):
        check_sizes(said, {file: (cached / file).stat().st_size for file in LARGEST})
        note = f"{said} is the Hub's cached copy, of commit {cached.name}: HF_HUB_OFFLINE is set."
        return cached, [note] if HF_HUB_OFFLINE else []
    if HF_HUB_OFFLINE:
        raise HubError(
            f"{said} is no folder here (`rlpeft experts list` shows those there are) and not whole "
            "in the Hub's cache; HF_HUB_OFFLINE is set, so the Hub was not asked. Correct the "
            "path, or unset it."
        )
    with hub_errors(said):
        folder = _fetch(repository, revision, said)
    return folder, [] if folder.name == revision else [f"{said} is commit {folder.name}."]


def _fetch(repository: str, revision: str, said: str) -> Path:
    from huggingface_hub import HfApi, hf_hub_download

    commit = str(HfApi().model_info(repository, revision=revision).sha)
    check_repository(said, repository, commit)
    # By the revision and not by its commit: so the cache learns which commit it was, for a time
    # without a network.
    paths = [Path(hf_hub_download(repository, file, revision=revision)) for file in LARGEST]
    if {path.parent.name for path in paths} != {commit}:
        raise HubError(f"{said} was changed on the Hub while it was fetched. Run it again.")
    return paths[0].parent


def _cached(repository: str, revision: str) -> Path | None:
    """The folder of an expert that was fetched before, if all of it is there."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, file, revision=revision) for file in LARGEST]
    folders = {Path(path).parent if isinstance(path, str) else None for path in found}
    return folders.pop() if len(folders) == 1 else None


def check_repository(said: str, repository: str, commit: str) -> None:
    """Refuse a repository with pickles or programs, and one that is no expert.

    Raises:
        HubError: names the first file that is wrong.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi().list_repo_tree(repository, revision=commit)
    listed = list(islice(tree, MOST_FILES + 1))
    files = {entry.path: entry.size for entry in listed if isinstance(entry, RepoFile)}
    if len(listed) > MOST_FILES:
        raise HubError(f"{said} must hold an expert's files, it holds more than {MOST_FILES}.")
    for path in sorted(files):
        if path.lower().endswith(RUNS_CODE):
            raise HubError(
                f"{said} must hold safetensors and JSON, it holds {path!r:.100}, which may run "
                "code when it is read. Nothing was fetched; ask its author to remove that file."
            )
    if missing := [file for file in LARGEST if file not in files]:
        raise HubError(
            f"{said} must hold {', '.join(LARGEST)} as plain files at its top, it lacks "
            f"{', '.join(missing)}. `rlpeft push` writes them."
        )
    check_sizes(said, {file: files[file] for file in LARGEST})


def check_sizes(said: str, sizes: Mapping[str, int]) -> None:
    """Refuse files that are too large to be an expert's.

    Raises:
        HubError: names the first.
    """
    for file, size in sizes.items():
        if size > LARGEST[file]:
            raise HubError(
                f"{file} of {said} must have at most {LARGEST[file]:,} bytes, it has {size:,}."
            )
