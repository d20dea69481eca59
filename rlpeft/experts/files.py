"""Expert files: a PEFT folder and a card that says where it comes from and what it is worth.

    expert/
      adapter_config.json        PEFT's config
      adapter_model.safetensors  the trained vectors
      card.json                  this module's record

Only JSON and safetensors are read. Loading against another base model is refused. Cards are read,
and folders found, without torch: what they tell is told before libraries are loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import CardSection, Mixture, Parent, TaskCard, Transfer, whole_name
from rlpeft.experts.measures import Count, Measure, PairedDifference
from rlpeft.files import read_json, replacing_folder
from rlpeft.models.digest import is_base
from rlpeft.models.tokenizer_digest import TokenizerParts, changed_parts
from rlpeft.recipe.rollout import StopStrings
from rlpeft.recipe.run import AdapterConfig, Name, Section
from rlpeft.regular import require_regular
from rlpeft.runs.fingerprint import FINGERPRINT_FILE

if TYPE_CHECKING:
    import torch

    from rlpeft.adapter_state import AdapterState

EXPERT_FOLDER = "expert"
"""Where the folder of a run keeps its expert."""

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
CARD_FILE = "card.json"

FLOATS = ("float32", "float64", "bfloat16", "float16")
"""What adapter tensors may be: others would be cast, and cut, by whoever loads them."""

UNORDERED = frozenset({"layers_to_transform", "feedforward_modules"})

STEPS_FOLDER = "steps"
"""In a run's folder: the adapter of every step. A search for experts passes them over."""

PARENTS_FOLDER = "parents"
"""In a run's folder: the experts that were merged into its base. A search passes them over, too."""

CELLS_FOLDER = "cells"
"""In a study's folder: its runs, which a search from above passes over."""


class ExpertCard(Section):
    """What an expert is, where it comes from, and how good it was found to be."""

    # Cards written by later versions may say more; what we know must still be readable.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    name: Name
    """The recipe's name."""
    base_model: str
    """Name of the base model as the recipe gave it."""
    base_digest: str
    """Of the base model (`rlpeft.models.base.BaseModel.digest`)."""
    quantisation: str = Field("", exclude_if=not_)
    """How its layers were quantised as they were loaded (a recipe's `model.quantisation`)."""
    tokenizer: dict[str, Any] = {}
    """What decides tokens and prompts (`rlpeft.models.tokenizer_digest`); empty: not known."""
    adapter: CardSection
    """The recipe's `[adapter]` section."""
    modules: dict[str, Count] = {}
    """The modules it moves: kind -> how many; empty in cards that were written before this."""
    left_out: dict[str, Count] = {}
    """The other matrices of the decoder layers: kind -> how many."""
    task: CardSection
    """The recipe's `[task]` section; of several, a name made of their labels."""
    tasks: dict[str, TaskCard] = Field({}, exclude_if=not_)
    """Each of several tasks, by its label."""
    problems: dict[str, Count] = Field({}, exclude_if=not_)
    """Of each split, repeated, left out (`rlpeft.tasks.base.counts`); empty: not known."""
    chat: dict[str, Any] = {}
    """The recipe's `[chat]` section, where it says anything."""
    rewards: tuple[str, ...]
    """Names of the rewards it was trained with."""
    correct_at: dict[str, FiniteFloat] = Field({}, exclude_if=not_)
    """Score from which an answer counted as correct (`rlpeft.recipe.reward.correct_from`)."""
    environment: dict[str, Any] = Field({}, exclude_if=not_)
    """The recipe's `[environment]` section, of an expert that answers in several turns."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]
    """`train.seed` of the run."""
    step: Count
    """Optimizer step it was taken at."""
    digest: str
    """Digest of its tensors."""
    validation: Measure | None = None
    """Validation accuracy it was chosen by; a mean score where the rewards judge nothing."""
    test: Measure | None = None
    """The same on the test problems, measured once at the end."""
    base_test: Measure | None = None
    """Of the base model on the same problems."""
    against_base: PairedDifference | None = None
    """The expert less its base, paired by problem; absent in cards from before this."""
    equals_base: bool = False
    """Whether it changes nothing: no step did better in validation than the base model."""
    stop: StopStrings = ()
    """Strings that ended its completions in training; none in cards from before this."""
    versions: dict[str, str] = {}
    """Versions of the libraries that decide its numbers."""
    mixture: Mixture | None = None
    """Its parents, if it was mixed instead of trained."""
    transfer: Transfer | None = None
    """Where it comes from, if it was trained on another base."""
    start: Parent | None = None
    """The expert that its training went on from; absent: a fresh adapter."""
    merged: tuple[Parent, ...] = ()
    """The experts that were merged into its base, of which `base_digest` then is."""
    start_test: Measure | None = None
    """Of that expert on the test problems."""
    against_start: PairedDifference | None = None
    """The expert less that one, paired by problem; absent in cards from before this."""

    @property
    def equals_start(self) -> bool:
        """Whether it is that expert: no step did better in validation."""
        return self.start is not None and self.start.digest == self.digest

    @property
    def sections(self) -> list[dict[str, Any]]:
        """The section of each task that it was trained on."""
        return [part.section for part in self.tasks.values()] or [self.task]

    def with_tasks(self, found: Mapping[str, Mapping[str, Any]]) -> ExpertCard:
        """The card, on which each task, by its label, has these figures too."""
        parts = {k: part.model_copy(update=found.get(k, {})) for k, part in self.tasks.items()}
        return self.model_copy(update={"tasks": parts})


@dataclass(frozen=True)
class Expert:
    """An expert in memory."""

    card: ExpertCard
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    def state(self, version: int = 0, factors: Mapping[str, str] | None = None) -> AdapterState:
        """The policy update that loads it into an engine."""
        from rlpeft.adapter_state import AdapterState

        return AdapterState(self.config, self.tensors, version, factors or {})


def save_expert(folder: Path, state: AdapterState, card: ExpertCard) -> None:
    """Write an expert folder; it appears whole or not at all, replacing an older one.

    Raises:
        ExpertError: something else than an expert is there.
        FileError: it cannot be written.
    """
    from safetensors.torch import save_file

    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise ExpertError(
            f"an expert replaces nothing but an older one, {str(folder)!r} holds something else. "
            "Choose another folder."
        )
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    config = json.dumps(dict(state.config), indent=2, sort_keys=True, default=str)
    with replacing_folder(folder) as partial:
        save_file(tensors, partial / TENSOR_FILE, metadata={"format": "pt"})
        (partial / CONFIG_FILE).write_text(config)
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2))


def load_expert(folder: Path, *, base_digest: str | None = None) -> Expert:
    """Read an expert folder.

    Args:
        base_digest: digest of the base model it shall run on; `None` skips the check.

    Raises:
        ExpertError: no expert there, a damaged file, numbers that are none, a card that
            contradicts the config or the tensors, or another base model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from rlpeft.adapter_state import tensors_digest

    card = read_card(folder)
    try:
        config = read_json(folder / CONFIG_FILE, ExpertError)
        require_regular(folder / TENSOR_FILE)
        tensors = load_file(folder / TENSOR_FILE)
    except (OSError, SafetensorError) as error:
        raise ExpertError(f"expert {str(folder)!r} must be readable, got {error}.") from error
    found = tensors_digest(tensors)
    if found != card.digest:
        raise ExpertError(
            f"expert {str(folder)!r} is damaged: its card names tensors {card.digest[:12]}…, the "
            f"file holds {found[:12]}…. Restore it or train it again."
        )
    _check_numbers(folder, tensors)
    _check_config(folder, card, config)
    if card.equals_base:
        _check_itself(folder, Expert(card, config, tensors))
    if base_digest is not None and not is_base(card.base_digest, base_digest):
        raise ExpertError(
            f"expert {str(folder)!r} was trained on base model sha256:{card.base_digest[:12]}… "
            f"({called(card)}), the base here, of the recipe or of the first expert, is "
            f"sha256:{base_digest[:12]}…. Name its own base, or ask it in a command of its own."
        )
    if base_digest is not None:  # a card may have it as it was taken once
        card = card.model_copy(update={"base_digest": base_digest})
    return Expert(card, config, tensors)


def _check_numbers(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in FLOATS:
            raise ExpertError(
                f"expert {str(folder)!r} must hold float16, bfloat16, float32 or float64, {name!r} "
                f"is {dtype}. Restore it, or train it again."
            )
        if not tensor.isfinite().all():
            raise ExpertError(
                f"expert {str(folder)!r} must hold finite numbers, {name!r} has NaN or infinity. "
                "Train it again, or take an earlier step."
            )


def _check_config(folder: Path, card: ExpertCard, config: Mapping[str, Any]) -> None:
    """Refuse a card and a PEFT config that mean different updates of the same tensors: engines and
    mixtures read the one, exports and the learner the other."""
    from rlpeft.adapters.methods import meant  # PEFT takes seconds to import, and lists need none

    adapter, found = meant(card.adapter, config)
    for theirs, value in adapter.items():
        if theirs not in found:
            continue
        wanted, got = (_plain(each, theirs) for each in (value, found[theirs]))
        if wanted != got:
            raise ExpertError(
                f"{CONFIG_FILE} of expert {str(folder)!r} must be of {theirs} {wanted!r}, as its "
                f"card says, got {got!r}: which of the two it was trained with cannot be known. "
                "Restore it, or train it again."
            )


def _check_itself(folder: Path, expert: Expert) -> None:
    """Refuse a card that says its expert is the base, of one whose tensors change something."""
    from rlpeft.adapters.methods import changes_base

    if changes_base(expert.state(), called(expert.card)):
        raise ExpertError(
            f"expert {str(folder)!r} must change nothing, as its card says (equals_base), its "
            "tensors do. Restore it, or train it again."
        )


def _plain(value: Any, option: str) -> Any:
    """A JSON value in which tuples are lists, and names are in order where PEFT keeps a set."""
    if isinstance(value, list | tuple):
        return sorted(value, key=str) if option in UNORDERED else list(value)
    return value


def find_experts(root: Path) -> list[Path]:
    """Every expert folder at or below `root`, sorted.

    Hidden folders are passed over, and so are the steps of runs, what was merged into their bases,
    and the runs of a study, unless `root` names one, or the study.
    """
    return sorted(at for at, files in _folders(root) if {CARD_FILE, CONFIG_FILE} <= files)


def lacking(root: Path) -> dict[Path, str]:
    """Folders at or below `root` with two files of an expert, and the third, which each lacks."""
    parts = {CARD_FILE, CONFIG_FILE, TENSOR_FILE}
    missing = {at: parts - files for at, files in _folders(root)}
    return {at: names.pop() for at, names in sorted(missing.items()) if len(names) == 1}


def _folders(root: Path) -> Iterator[tuple[Path, set[str]]]:
    for folder, subfolders, files in os.walk(root):
        passed = {STEPS_FOLDER, PARENTS_FOLDER} if FINGERPRINT_FILE in files else set()
        if passed and Path(folder) != root:
            passed.add(CELLS_FOLDER)
        subfolders[:] = [n for n in subfolders if not n.startswith(".") and n not in passed]
        yield Path(folder), set(files)


def of_base(folders: Sequence[Path], base_digest: str) -> tuple[list[Path], list[str]]:
    """The experts of one base, and a line about each that is left out.

    Where none is of it all are given back: to load one says what is wrong.
    """
    kept, notes = [], []
    for folder in folders:
        card = read_card(folder)
        if is_base(card.base_digest, base_digest):
            kept.append(folder)
        else:
            notes.append(
                f"left out {str(folder)!r}: it is of base {called(card)} "
                f"sha256:{card.base_digest[:12]}…, not of sha256:{base_digest[:12]}…."
            )
    return (kept, notes) if kept else (list(folders), [])


def called(card: ExpertCard) -> str:
    """An expert's base in words."""
    return whole_name(card.base_model, card.merged, card.quantisation)


def other_prompts(
    expert: str, card: ExpertCard, now: TokenizerParts, chat: Mapping[str, Any] | None = None
) -> list[str]:
    """Lines about an expert that reads other tokens or prompts than in its training.

    Args:
        expert: its name or folder.
        now: of the base model's folder (`rlpeft.models.tokenizer_digest`).
        chat: the `[chat]` section under which it is used, without its defaults; `None` where it is
            the card's.
    """
    lines = []
    if not card.tokenizer:
        lines.append(
            f"the card of expert {expert!r} is from before tokenizer and chat template were "
            "written down: whether it reads the prompts of its training cannot be told."
        )
    elif changed := changed_parts(card.tokenizer, now):
        lines.append(
            f"expert {expert!r} was trained under another tokenizer or template than base model "
            f"{card.base_model} has now, and reads other prompts than in training; what differs: "
            f"{', '.join(changed)}. Take the model folder that it was trained on, or train it anew."
        )
    if chat is not None and (trained := _undated(card.chat)) != (used := _undated(chat)):
        lines.append(
            f"expert {expert!r} was trained with [chat] {trained}, here it is {used}: it reads "
            "other chat turns than in training. Give the recipe the section of its card."
        )
    return lines


def _undated(chat: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in chat.items() if k != "date"}, sort_keys=True)


def _inside(folder: Path) -> str:
    """A question to add to an error: the expert in a run's folder was meant."""
    expert = folder / EXPERT_FOLDER
    return f" Did you mean {str(expert)!r}?" if (expert / CARD_FILE).is_file() else ""


def adapter_of(card: ExpertCard) -> AdapterConfig:
    """The `[adapter]` section that an expert was trained under.

    Raises:
        ExpertError: its card holds none that is known here.
    """
    from rlpeft.adapters.methods import METHODS, named  # PEFT takes seconds to import

    name = str(card.adapter.get("type", "svf"))
    former = named(name).former if name in METHODS else {}
    try:
        section = {**former, **card.adapter}
        adapter: AdapterConfig = TypeAdapter(AdapterConfig).validate_python(section)
    except ValidationError as error:
        raise ExpertError(
            f"card of expert {card.name!r} must hold a known adapter, got {card.adapter!r}: "
            f"{error.errors()[0]['msg']}."
        ) from error
    return adapter


def read_card(folder: Path) -> ExpertCard:
    """Read an expert's card alone."""
    path = folder / CARD_FILE
    try:
        if path.exists():
            return ExpertCard.model_validate(read_json(path, ExpertError))
        raise ExpertError(
            f"an expert is a folder with {CARD_FILE}, {str(folder)!r} has none.{_inside(folder)} "
            "`rlpeft experts list` shows those there are."
        )
    except ValidationError as error:
        first, *more = [".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors()]
        rest = f" and {len(more)} more" if more else ""
        raise ExpertError(f"card {str(path)!r} cannot be read: {first}{rest}.") from error
