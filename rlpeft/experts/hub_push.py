"""Push an expert to a model hub: the PEFT folder that an export writes and proves, with its card.

README.md                  what it is worth and how to load it (`rlpeft.experts.model_card`)
adapter_config.json        PEFT's config, made anew from the card
adapter_model.safetensors  the trained tensors, the same bits
card.json                  the expert's card
export.json                the proof: how far what was written is from the expert
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlpeft.errors import HubError
from rlpeft.experts.files import CARD_FILE, read_card
from rlpeft.experts.hub import (
    COMMIT,
    LARGEST,
    REPOSITORY,
    REVISION,
    check_repository,
    check_sizes,
    fetched_from,
    is_hub_id,
)
from rlpeft.experts.hub_errors import hub_errors
from rlpeft.files import write_json, write_text
from rlpeft.models.folder import FETCHABLE, PACKAGED

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,49}")


@dataclass(frozen=True)
class Pushed:
    """An expert on the Hub.

    Attributes:
        repository: `ORG/NAME`.
        commit: what it is pinned by: `ORG/NAME@COMMIT`.
        url: of the commit.
        files: name -> bytes.
        notes: what its author should know.
    """

    repository: str
    commit: str
    url: str
    files: dict[str, int]
    notes: list[str]


def push_to_hub(
    folder: Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    base: str | None = None,
    base_id: str | None = None,
) -> Pushed:
    """Write an expert to a repository of the Hub, which is made if it is not there.

    Args:
        folder: the expert's, which stays as it is.
        repository: `ORG/NAME`.
        private: make a private repository; one that is there must be private already.
        revision: the branch, made if it is not there; `main` if absent.
        base, base_id: as of `rlpeft.experts.export.export_expert`.

    Raises:
        HubError: no network, no token, no right to write there, or a file that is too large.
        ExpertError: no expert there, or what was written differs from it.
        ModelError: its base model is not here, which the proof needs.
    """
    check_push(repository, revision)
    with TemporaryDirectory() as place:
        notes = _write(folder, Path(place), repository, base, base_id)
        files = {path.name: path for path in sorted(Path(place).iterdir())}
        said, sizes = f"expert {str(folder)!r}", {n: f.stat().st_size for n, f in files.items()}
        check_sizes(said, {name: sizes[name] for name in LARGEST})
        with hub_errors(f"push to {repository!r}"):
            commit, url = _commit(files, repository, private=private, revision=revision)
            notes += _unloadable(repository, commit)
    return Pushed(repository, commit, url, sizes, notes)


def check_push(repository: str, revision: str | None = None) -> None:
    """Find what would refuse a push, before there is anything to push.

    Raises:
        HubError: no id or branch, no network, no token, or one that may not write there.
    """
    from huggingface_hub import HfApi, get_token

    said = f"push to {repository!r}"
    if not REPOSITORY.fullmatch(repository):
        raise HubError(f"a push must name ORG/NAME on the Hub, got {repository!r}.")
    if revision is not None and (not REVISION.fullmatch(revision) or COMMIT.fullmatch(revision)):
        raise HubError(f"--revision must name a branch to push to, got {revision!r}.")
    if get_token() is None:
        raise HubError(f"{said} needs a token that may write: `hf auth login`, or HF_TOKEN.")
    with hub_errors(said):
        person = HfApi().whoami()
    _check_right(said, repository.partition("/")[0], person)


def _check_right(said: str, owner: str, person: Mapping[str, Any]) -> None:
    name, orgs = person.get("name"), person.get("orgs") or ()
    owners = [str(name), *(str(org.get("name")) for org in orgs)]
    role = (person.get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise HubError(f"{said} needs a token that may write, the one set here may only read.")
    if owner.casefold() not in map(str.casefold, owners):
        raise HubError(
            f"{said} must be to a name of the token's owner ({', '.join(owners)}), {owner!r} is "
            "none of them. Correct it, or log in as another: `hf auth login`, or HF_TOKEN."
        )


def _write(
    folder: Path, place: Path, repository: str, base: str | None, base_id: str | None
) -> list[str]:
    """Write what is pushed, proven; gives what its author should know."""
    from rlpeft.experts.export import write_and_compare
    from rlpeft.experts.export_asked import RECEIPT_FILE
    from rlpeft.experts.export_source import open_source
    from rlpeft.experts.merged import refuse_merged
    from rlpeft.experts.model_card import README_FILE, Beside, model_card

    refuse_merged(folder, read_card(folder), "pushed")
    source = open_source(folder, base, base_id)
    named = public_name(source.base_id, base or source.expert.card.base_model)
    # The name of a base is told, and no path of this machine.
    card = source.expert.card.model_copy(update={"base_model": named})
    source = replace(source, expert=replace(source.expert, card=card), base_id=named)
    receipt = write_and_compare(source, place, "peft", repository)
    receipt = replace(receipt, source=fetched_from(folder))
    write_json(place / RECEIPT_FILE, asdict(receipt))
    notes, licence = [receipt.note] if receipt.note else [], None
    try:
        licence = base_licence(named, source.base_path)
    except HubError as error:  # its card then says that the licence is not known
        notes.append(str(error))
    beside = Beside(repository, licence, source.curve)
    text = model_card(card, named, source.loading, beside)
    write_text(place / README_FILE, text)
    if paths := sorted(set(_paths(card.model_dump(mode="json")))):
        notes.append(f"its {CARD_FILE} names {', '.join(map(repr, paths))} of this machine")
    return notes


def public_name(base_id: str, name: str) -> str:
    """What to call a base model where it is not: its id, its name, or its folder's own name."""
    if is_hub_id(base_id):
        return base_id
    return name if name in (*PACKAGED, *FETCHABLE) else Path(name).name


def base_licence(base: str, path: Path) -> str | None:
    """The licence of a base model, as its model card says it: in its folder, or on the Hub.

    Raises:
        HubError: the Hub does not tell of a base that is named by its id.
    """
    from huggingface_hub import HfApi, metadata_load

    if base in PACKAGED:
        return "apache-2.0"  # rlpeft's own
    found: Any = None
    if (path / "README.md").is_file():
        found = (metadata_load(path / "README.md") or {}).get("license")
    elif is_hub_id(base):
        with hub_errors(f"base model {base!r}"):
            about = HfApi().model_info(base).card_data
        found = None if about is None else about.get("license")
    return found if isinstance(found, str) and _LICENCE.fullmatch(found) else None


def _paths(value: Any) -> Iterator[str]:
    """Absolute paths that a card names."""
    if isinstance(value, str):
        yield from [value] if Path(value).is_absolute() else []
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _paths(each)


def _commit(
    files: Mapping[str, Path], repository: str, *, private: bool, revision: str | None
) -> tuple[str, str]:
    """One commit with all files; gives it and its address."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    api.create_repo(repository, private=private or None, exist_ok=True)
    if private and not api.model_info(repository).private:
        raise HubError(
            f"--private must name a new or a private repository, {repository!r} is public. Make it "
            "private on the Hub, or choose another name. Nothing was pushed."
        )
    if revision is not None:
        api.create_branch(repository, branch=revision, exist_ok=True)
    added = [CommitOperationAdd(name, path) for name, path in files.items()]
    done = api.create_commit(
        repository, added, commit_message="Push an expert of rlpeft", revision=revision
    )
    return done.oid, done.commit_url


def _unloadable(repository: str, commit: str) -> list[str]:
    """Why the repository cannot be loaded from, in spite of what was pushed."""
    try:
        check_repository(f"expert {repository!r}", repository, commit)
    except HubError as error:
        return [str(error)]
    return []
