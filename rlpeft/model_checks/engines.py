"""Laws of engines: text, ends and limits, on a scripted model with the user's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from typing import Any

from rlpeft.model_checks import OWN_ENGINE
from rlpeft.model_checks.finding import Finding, absent, broken, holds, quoted, tokens
from rlpeft.model_checks.remembered import remembered
from rlpeft.model_checks.stage import Scene, Script, play, scripted_model, write_folder
from rlpeft.model_checks.subject import NUM_TOKENS, Subject, likely_names
from rlpeft.recipe.engines import ENGINES
from rlpeft.rollout.ends import special_tokens
from rlpeft.rollout.engine import RolloutEngine
from rlpeft.tokens.prompts import encode_text
from rlpeft.types import Completion, FinishReason, Request, Sampling

WORDS = " red green blue"
"""What scripted answers say; stop strings are looked for in it."""

TEXTS = (
    ("def f(x):", "    return x"),
    ("The answer is", " 42"),
    ("ok", " 🙂é 中 done"),
    ("a =", " [ 1 , 2 ] !"),
    ("Q:", "\n\n  so"),
)
"""Prompts and what follows them, whose first blank is easily lost."""

MOST_SAID, MOST_NAMES = 16, 4
"""Tokens of a scene, and special tokens that are tried as ends, at most."""


@dataclass
class Stage:
    """One engine, and what it makes of the script."""

    subject: Subject
    name: str
    """`rollout.engine`: `OWN_ENGINE`, or one that can be built without an adapter."""

    @remembered
    def acts(self) -> dict[str, list[Scene]]:
        """Scenes by the law that looks at them."""
        makers = {"text": _texts, "ends": _ends, "special": _special_stops, "plain": _plain_stops}
        return {law: list(make(self.subject)) for law, make in makers.items()}

    @remembered
    def script(self) -> Script:
        """All scenes."""
        script = Script(filler=encode_text(self.subject.tokenizer, "x")[-1])
        for scenes in self.acts.values():
            script.add(scenes)
        return script

    @remembered
    def samples(self) -> list[list[Completion]]:
        """Of the model itself, to the subject's requests."""
        subject = self.subject
        if self.name == OWN_ENGINE:
            return subject.rollouts.together
        longest = max(len(request.prompt_ids) for request in subject.requests)
        engine = self._bare(subject.folder, subject.dtype, longest + NUM_TOKENS)
        try:
            return engine.rollout(subject.requests, Sampling(max_tokens=NUM_TOKENS))
        finally:
            engine.close()

    @remembered
    def engine_limits(self) -> tuple[Completion, Completion]:
        """A prompt that leaves room for two tokens, and a short one in the same batch."""
        return self._played[1]

    def completions(self, law: str) -> list[tuple[Scene, Completion]]:
        """The scenes of a law, and what the engine gave."""
        every = self._played[0]
        at = {id(scene): n for n, scene in enumerate(self.script.scenes)}
        return [(scene, every[at[id(scene)]]) for scene in self.acts[law]]

    @remembered
    def _played(self) -> tuple[list[Completion], tuple[Completion, Completion]]:
        subject = self.subject
        rows = max(*subject.eos, *subject.tokenizer.get_vocab().values()) + 1
        model = scripted_model(self.script, rows)
        with TemporaryDirectory(prefix="rlpeft-check-") as folder:
            engine = self._engine(model, Path(folder))
            try:
                return play(engine, self.script), self._limits(engine)
            finally:
                engine.close()

    def _engine(self, model: Any, folder: Path) -> RolloutEngine:
        subject = self.subject
        if self.name != OWN_ENGINE:
            written = write_folder(folder, subject.tokenizer, model, sorted(subject.eos))
            return self._bare(written, "float32", None)
        from rlpeft.adapters.policy import attach_adapter
        from rlpeft.recipe.run import LoraFamilyAdapter
        from rlpeft.rollout.hf.engine import HfEngine

        adapter = LoraFamilyAdapter(type="lora", rank=1, targets=("c_fc",))
        policy = attach_adapter(model, adapter, seed=0)
        return HfEngine(policy, subject.tokenizer, eos_ids=subject.eos)

    def _bare(self, folder: Path, dtype: str, max_model_len: int | None) -> RolloutEngine:
        make = resolve_name(ENGINES[self.name].bare)
        engine: RolloutEngine = make(folder, dtype=dtype, max_model_len=max_model_len)
        return engine

    def _limits(self, engine: RolloutEngine) -> tuple[Completion, Completion]:
        filler, context = self.script.filler, self.script.context
        requests = [
            Request("long", (filler,) * (context - 2), (0,)),
            Request("short", (filler,) * (self.script.end - 1), (0,)),
        ]
        (long,), (short,) = engine.rollout(
            requests, Sampling(max_tokens=ROOM_OF_SHORT, temperature=0.0)
        )
        return long, short


ROOM_OF_SHORT = 6
"""Tokens that the short prompt is allowed: more than the long one has room for."""


def texts(stage: Stage) -> Finding:
    """The text of a completion is what its tokens add to the prompt's, first space included."""
    return _judged(
        stage, "text", "none of the texts can be divided between tokens", "answers read as written"
    )


def ends(stage: Stage) -> Finding:
    """Every end ends a completion, with itself and nothing after it."""
    return _judged(stage, "ends", "the model names no end", "ends end completions")


def special_stops(stage: Stage) -> Finding:
    """A stop string that is a special token ends a completion."""
    missing = "the tokenizer has no special token that is not an end already"
    return _judged(stage, "special", missing, "special tokens end completions as stop strings")


def plain_stops(stage: Stage) -> Finding:
    """A stop string of letters ends a completion where it is whole, and nowhere else."""
    missing = "its tokens do not spell words letter for letter"
    return _judged(stage, "plain", missing, "stop strings end completions where they are whole")


def limits(stage: Stage) -> Finding:
    """A long prompt does not shorten its neighbours' answers."""
    long, short = stage.engine_limits
    found = f"beside a prompt that leaves room for 2, one may say {ROOM_OF_SHORT} tokens"
    if (len(long.token_ids), len(short.token_ids)) == (2, ROOM_OF_SHORT):
        return holds(f"{found}, and does")
    return broken(
        f"{found} and says {len(short.token_ids)}; the long one {len(long.token_ids)}", DEFECT
    )


DEFECT = "Mend what rows above name first. If they all hold, take the other engine, and tell us."


def _judged(stage: Stage, law: str, missing: str, good: str) -> Finding:
    tokenizer, played = stage.subject.tokenizer, stage.completions(law)
    for scene, got in played:
        wanted = scene.said[: scene.num_tokens]
        if (got.token_ids, got.finish_reason) != (wanted, scene.finish):
            return broken(
                f"{scene.shows}: of {tokens(tokenizer, scene.said)} the engine says "
                f"{tokens(tokenizer, got.token_ids)} ({got.finish_reason.value}), due were "
                f"{len(wanted)} ({scene.finish.value})",
                DEFECT,
            )
        if scene.text is not None and got.text != scene.text:
            return broken(
                f"{scene.shows}: {tokens(tokenizer, wanted)} reads {quoted(got.text)}, due was "
                f"{quoted(scene.text)}",
                DEFECT,
            )
    if not played:
        return absent(missing)
    shown = listed_plain([scene.shows for scene, _ in played])
    return holds(f"{len(played)} {good}: {shown}")


def listed_plain(names: list[str], most: int = 3) -> str:
    """The first few of what scenes are about."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _texts(subject: Subject) -> Iterator[Scene]:
    """Whole texts, divided where a token ends with the prompt's text."""
    tokenizer = subject.tokenizer
    for before, after in TEXTS:
        ids = encode_text(tokenizer, before + after)
        if _read(tokenizer, ids) != before + after:
            continue  # the round trip's law tells it
        cut = next((n for n in range(1, len(ids)) if _read(tokenizer, ids[:n]) == before), None)
        if cut is None or len(ids) - cut > MOST_SAID:
            continue
        said = tuple(ids[cut:])
        shows = f"{quoted(after)} after {quoted(before)}"
        yield Scene(tuple(ids[:cut]), said, len(said), FinishReason.LENGTH, after, shows=shows)


def _read(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _ends(subject: Subject) -> Iterator[Scene]:
    word = _word(subject)
    for id in sorted(subject.eos)[: 2 * MOST_NAMES]:
        shows = quoted(str(subject.tokenizer.convert_ids_to_tokens(id)))
        yield Scene((word,), (word, id, word), 2, FinishReason.STOP, shows=shows)


def _special_stops(subject: Subject) -> Iterator[Scene]:
    word, special = _word(subject), special_tokens(subject.tokenizer)
    names = [name for name in likely_names(subject) if name in special]
    names = [name for name in names if special[name] not in {*subject.eos, word}]
    for name in names[:MOST_NAMES]:
        said = (word, special[name], word)
        yield Scene((word,), said, 2, FinishReason.STOP, stop=(name,), shows=quoted(name))


def _plain_stops(subject: Subject) -> Iterator[Scene]:
    """A word in the answer, one of two letters of two tokens, and one in a special token's name."""
    tokenizer = subject.tokenizer
    before = encode_text(tokenizer, "colours")
    ids = encode_text(tokenizer, "colours" + WORDS)
    if ids[: len(before)] != before or _read(tokenizer, ids) != "colours" + WORDS:
        return
    said = tuple(ids[len(before) :])[: 2 * MOST_SAID]
    for stop in ("green", "n b", "lue"):
        ends_at = next(
            (n for n in range(1, len(said) + 1) if stop in _read(tokenizer, list(said[:n]))), None
        )
        if ends_at is not None:
            yield Scene(
                tuple(before), said, ends_at, FinishReason.STOP, stop=(stop,), shows=quoted(stop)
            )
    special = special_tokens(tokenizer)
    for name in likely_names(subject):
        id, inner = special.get(name), name.strip("<|>[]/ \u2581")
        if (
            id is not None
            and id not in subject.eos
            and inner != name
            and len(inner) > 1
            and inner.isascii()
        ):
            shows = f"{quoted(inner)}, which stands in the name of {quoted(name)} alone, ends none"
            length = FinishReason.LENGTH
            yield Scene(
                tuple(before), (*said[:1], id, *said[:1]), 3, length, stop=(inner,), shows=shows
            )
            return


def _word(subject: Subject) -> int:
    return encode_text(subject.tokenizer, WORDS)[-1]
