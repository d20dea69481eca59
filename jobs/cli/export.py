"""The command that exports an expert, as `rlpeft export` knows it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.options import EXPERT, BaseId, BaseName, folder_to_write
from rlpeft.terminal import near_path, quiet_libraries, say

if TYPE_CHECKING:
    from rlpeft.experts.export import Receipt


def export(
    expert: Annotated[str, typer.Argument(help=EXPERT)],
    out: Annotated[Path, typer.Option(callback=folder_to_write, help="Folder to write.")],
    format: Annotated[
        Literal["peft", "merged", "z", "lora", "gguf"],
        typer.Option(
            help="peft: a PEFT folder. merged: a transformers folder. z: multipliers by module. "
            "lora: a plain LoRA of --rank, which leaves something out; not of DoRA and IA3. gguf: "
            "one file for llama.cpp and Ollama, by --converter."
        ),
    ] = "merged",
    base: BaseName = None,
    base_id: BaseId = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Of merged weights; that of the base model's files if absent."),
    ] = None,
    rank: Annotated[
        float | None,
        typer.Option(
            help="Of a LoRA, such as 16; below 1 the share of the squared update it keeps."
        ),
    ] = None,
    converter: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="llama.cpp's convert_hf_to_gguf.py, for gguf."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Write an expert for use elsewhere; it is read back and compared before it is there."""
    from rlpeft.experts.export_asked import require_asked
    from rlpeft.program.hub import expert_folder

    folder = expert_folder(expert)
    asked: dict[str, Any] = {"format": format, "base_id": base_id, "dtype": dtype, "rank": rank}
    asked |= {"converter": converter, "force": force}
    require_asked(folder, out, **asked)
    say_beginning(f"Exporting {near_path(expert)} as {format}, and reading it back.")
    from rlpeft.experts.export import export_expert

    quiet_libraries()
    receipt = export_expert(folder, out, base=base, **asked)
    if as_json:
        typer.echo(json.dumps(asdict(receipt)))
        return
    tell(receipt)


def tell(receipt: Receipt) -> None:
    """What was written, and how near it is to the expert."""
    for name, size in receipt.files.items():
        typer.echo(f"{size:>14,}  {name}")
    say(f"wrote {receipt.format} to", str(receipt.folder))
    proof = (
        f"read back, its log-probs differ from the expert's by at most {receipt.gap:.2g} over "
        f"{receipt.num_tokens} tokens; the base model's differ by {receipt.effect:.2g}"
    )
    say(proof)
    if receipt.dtype is not None:
        say(_rounded(receipt))
    if receipt.note:
        say(f"note: {receipt.note}")


def _rounded(receipt: Receipt) -> str:
    """What the weights of a merged model are rounded to, and what that costs."""
    said = f"its weights are {receipt.dtype}, as the base's files are unless --dtype is given"
    if receipt.dtype == "float32":
        return said
    share = receipt.gap / receipt.effect if receipt.effect else 0.0
    return (
        f"{said}: rounding them costs at most {share:.1%} of what the expert changes; --dtype "
        "float32 keeps it whole"
    )
