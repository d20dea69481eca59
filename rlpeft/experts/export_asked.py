"""What an export is asked for: told by names and cards alone, before any weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlpeft.errors import ExpertError
from rlpeft.experts.export_gguf import HOW_TO_GET, require_converter
from rlpeft.experts.files import ExpertCard, read_card
from rlpeft.experts.hub import is_hub_id

Format = Literal["peft", "merged", "z", "lora", "gguf"]

RECEIPT_FILE = "export.json"


@dataclass(frozen=True)
class Traits:
    """What options a format takes.

    Attributes:
        is_whole: whether it is a whole model, which rounding may change.
        names_base: whether it names a base model that others must find.
        has_rank: whether it is an approximation of a rank.
        is_converted: whether a program of others makes it.
    """

    is_whole: bool = False
    names_base: bool = False
    has_rank: bool = False
    is_converted: bool = False


TRAITS: dict[Format, Traits] = {
    "peft": Traits(names_base=True),
    "merged": Traits(is_whole=True),
    "z": Traits(),
    "lora": Traits(names_base=True, has_rank=True),
    "gguf": Traits(is_whole=True, is_converted=True),
}


def require_asked(
    folder: Path,
    out: Path,
    *,
    format: Format,
    base_id: str | None,
    dtype: str | None,
    rank: float | None,
    converter: Path | None,
    force: bool,
) -> ExpertCard:
    """Refuse options that do not go together, and a target that is in the way; the expert's card.

    Args: see `rlpeft.experts.export.export_expert`.

    Raises:
        ExpertError: the first that is wrong; or there is no expert.
    """
    traits = TRAITS[format]
    if base_id is not None and (not traits.names_base or not is_hub_id(base_id)):
        raise ExpertError(
            f"--base-id must be owner/name, of a base on a hub, and goes with --format peft or "
            f"lora; got {base_id!r} with --format {format}."
        )
    if dtype is not None and not traits.is_whole:
        raise ExpertError(f"--dtype is of merged weights, --format {format} has none. Remove it.")
    if (rank is not None) != traits.has_rank or (rank is not None and not _is_rank(rank)):
        got = "none" if rank is None else f"{rank:g}"
        mend = "Add --rank 16, or another." if traits.has_rank else "Leave it out."
        raise ExpertError(
            "--rank must be a whole number, or a share above 0 and below 1, and goes with --format "
            f"lora, which needs it; got {got} with --format {format}. {mend}"
        )
    if (converter is not None) != traits.is_converted:
        named = "none" if converter is None else repr(str(converter))
        mend = HOW_TO_GET if traits.is_converted else "Leave it out."
        raise ExpertError(
            "--converter names llama.cpp's converter, and goes with --format gguf, which needs it; "
            f"got {named} with --format {format}. {mend}"
        )
    if converter is not None:
        require_converter(converter)
    card = read_card(folder)
    check_target(out, force=force)
    return card


def _is_rank(rank: float) -> bool:
    return 0 < rank < 1 or (rank >= 1 and float(rank).is_integer())


def check_target(out: Path, *, force: bool) -> None:
    """Refuse to overwrite, unless asked to and only what an export wrote.

    Raises:
        ExpertError: `out` is in the way.
    """
    if not out.exists():
        return
    if not force:
        raise ExpertError(
            f"--out must not exist yet, {str(out)!r} does. Choose another, or add --force."
        )
    if not (out / RECEIPT_FILE).is_file():
        raise ExpertError(
            f"--force replaces earlier exports only, and {str(out)!r} has no {RECEIPT_FILE}. "
            "Remove it by hand, or choose another --out."
        )
