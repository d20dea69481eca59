"""All pages of the site by their addresses, and what of the repository they show.

A hand-written page takes in sections of READMEs. A link to a README leads to the page that took
its section in, a link to code to a page that shows the file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from jobs.site.reference import commands_page, notebook_page, options_page
from jobs.site.sections import (
    TAKEN_IN,
    Passage,
    headings,
    relinked,
    sections_of,
    taken_in,
    target_of,
)

ROOT = Path(__file__).resolve().parents[2]
PAGES = "jobs/site/pages"
NOTEBOOKS = "jobs/notebooks"
ROOMS = ("jobs", "rewards", "rlpeft", "tests")
PICTURES = (".svg", ".png")
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""Of a page that shows code: who searches wants what is said of it."""

Places = Mapping[tuple[str, str], str]
"""File of the repository and anchor in it -> where on the site that is."""


def readmes() -> dict[str, list[Passage]]:
    """The sections of each README and of the list of changes, by file."""
    found = [Path("README.md"), Path("CHANGELOG.md")]
    found += [path.relative_to(ROOT) for name in ROOMS for path in (ROOT / name).rglob("README.md")]
    return {
        path.as_posix(): sections_of(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
        for path in found
    }


def own_pages() -> dict[str, tuple[str, str]]:
    """Hand-written and generated pages: address -> the file that its links start from, and text."""
    written = sorted((ROOT / PAGES).glob("*.md"))
    found = {path.name: (f"{PAGES}/{path.name}", path.read_text("utf-8")) for path in written}
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        found[f"{path.stem}.md"] = (f"{NOTEBOOKS}/{path.name}", notebook_page(path))
    found["commands.md"] = (f"{PAGES}/commands.md", commands_page())
    found["options.md"] = (f"{PAGES}/options.md", options_page())
    return found


def site_pages() -> dict[str, str | Path]:
    """Every page: address -> text, or the file that is shown as it is.

    Raises:
        ValueError: a link, or what a page takes in, leads nowhere.
    """
    known, own = readmes(), own_pages()
    places = _places(known, own)
    found: dict[str, str | Path] = {}
    for address, (file, text) in own.items():
        found[address] = _assembled(file, text, known, places, found)
    return found


def _places(known: Mapping[str, list[Passage]], own: Mapping[str, tuple[str, str]]) -> Places:
    places: dict[tuple[str, str], str] = {}
    for address, (file, text) in own.items():
        places[file, ""] = address
        places |= {(file, anchor): f"{address}#{anchor}" for anchor in headings(text)}
        for target, anchor in taken_in(file, text):
            for section in _chosen(known, target, anchor):
                if section.text.startswith("# "):  # its title stands for the file
                    places[target, ""] = f"{address}#{section.anchor}"
                for each in headings(section.text):
                    places[target, each] = places[file, each] = f"{address}#{each}"
    return places


def _chosen(known: Mapping[str, list[Passage]], file: str, anchor: str) -> list[Passage]:
    found = [own for own in known.get(file, ()) if not anchor or own.anchor == anchor]
    if not found:
        raise ValueError(f"a page takes in {file}#{anchor}, which is no section of a README.")
    return found


def _assembled(
    file: str,
    text: str,
    known: Mapping[str, list[Passage]],
    places: Places,
    shown: dict[str, str | Path],
) -> str:
    """A page with what it takes in; what its links show of the code is put into `shown`."""

    def place(target: str, anchor: str) -> str:
        if (target, anchor) in places:
            return places[target, anchor]
        if anchor or not (ROOT / target).exists():
            raise ValueError(f"a link on the page of {file} leads nowhere: {target}#{anchor}")
        address = f"source/{target}" + ("" if target.endswith(PICTURES) else ".md")
        shown[address] = source_page(target)
        return address

    def take_in(found: re.Match[str]) -> str:
        target, anchor = target_of(file, f"{found[1]}#{found[2] or ''}")
        sections = _chosen(known, target, anchor)
        return "\n".join(relinked(target, own.text, place) for own in sections)

    pieces, end = [], 0
    for found in TAKEN_IN.finditer(text):
        pieces += [relinked(file, text[end : found.start()], place), take_in(found)]
        end = found.end()
    return "".join([*pieces, relinked(file, text[end:], place)])


def source_page(path: str) -> str | Path:
    """A picture as it is; a file of code as a page; of a folder what its modules say they are."""
    found = ROOT / path
    if path.endswith(PICTURES):
        return found
    if found.is_dir():
        told = [f"- `{each.name}`: {_thesis(each)}" for each in sorted(found.glob("*.py"))]
        return f"{NOT_SEARCHED}# {path}\n\n" + "\n".join(told) + "\n"
    # A fence longer than those in a file's own text.
    fence, language = "`" * 6, found.suffix.lstrip(".") or "text"
    text = found.read_text(encoding="utf-8")
    return f"{NOT_SEARCHED}# {path}\n\n{fence}{language}\n{text}\n{fence}\n"


def _thesis(module: Path) -> str:
    said = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())
