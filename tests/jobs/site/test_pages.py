import ast
import re
from pathlib import Path

import pytest

import rewards
import rlpeft
from jobs.site import pages
from jobs.site.pages import PAGES, ROOT, own_pages, readmes, site_pages, source_page
from jobs.site.sections import headings, taken_in
from rlpeft.recipe.options import all_option_tables
from rlpeft.tasks.catalogue import task_option_tables

WRITTEN = sorted((ROOT / PAGES).glob("*.md"))


@pytest.fixture(scope="module")
def site():
    return site_pages()


def test_every_section_of_every_readme_stands_on_one_page():
    taken = [
        (section.file, section.anchor)
        for file, text in own_pages().values()
        for target, anchor in taken_in(file, text)
        for section in readmes()[target]
        if anchor in ("", section.anchor)
    ]
    assert sorted(taken) == sorted(
        (section.file, section.anchor) for found in readmes().values() for section in found
    )


def test_a_link_to_a_section_leads_to_the_page_that_took_it_in(site):
    assert "(evaluation.md#evaluate)" not in site["evaluation.md"]
    assert "## Evaluate\n" in site["evaluation.md"]
    assert "[jobs/recipes](recipes.md#recipes-and-what-came-of-them)" in site["first-run.md"]


def test_a_link_to_code_leads_to_a_page_that_shows_it(site):
    assert "(source/rlpeft/training/loop.py.md)" in site["house.md"]
    shown = site["source/rlpeft/training/loop.py.md"]
    assert (ROOT / "rlpeft/training/loop.py").read_text() in shown


def test_of_a_folder_its_modules_are_told(site):
    assert "- `cem.py`: The cross-entropy method, and its options" in source_page("rlpeft/search")


def test_a_picture_is_shown_as_it_is():
    picture = "jobs/recipes/smollm2-arithmetic.svg"
    assert source_page(picture) == ROOT / picture


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gone](../../gone.py)\n", "leads nowhere: jobs/gone.py"),
        ("[gone](../../README.md#gone)\n", "jobs/README.md#gone, which is no section"),
        ("See [gone](../../README.md#gone).\n", "leads nowhere: jobs/README.md#gone"),
    ],
)
def test_what_leads_nowhere_ends_the_build_in_a_line(monkeypatch, text, said):
    monkeypatch.setattr(pages, "own_pages", lambda: {"p.md": (f"{PAGES}/p.md", text)})
    with pytest.raises(ValueError, match=re.escape(said)):
        site_pages()


def test_no_page_has_two_headings_of_one_name(site):
    for address, text in site.items():
        if isinstance(text, str) and not address.startswith(("source/", "options")):
            assert len(set(headings(text))) == len(headings(text)), address


# --- what hand-written pages say of the code ------------------------------------------------------


def constants():
    """All texts in the code, joined where the source joins them."""
    folders = ("rewards", "rlpeft", "jobs")
    for path in (path for name in folders for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.slow
def test_messages_on_the_page_of_faults_are_those_of_the_code():
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / PAGES / "faults.md").read_text(), flags=re.M)
    quoted = [words for row in rows for words in re.findall(r"`([^`]+)`", row) if " " in words]
    known = "\n".join(constants())
    assert len(quoted) > 40
    assert [words for words in quoted if words not in known] == []


def test_options_on_hand_written_pages_exist():
    tables = [*all_option_tables(), *task_option_tables()]
    known = {f"{table.section}.{option.name}" for table in tables for option in table.options}
    sections = "|".join({table.section for table in tables if table.section.isalpha()})
    for page in WRITTEN:
        named = re.findall(rf"`((?:{sections})\.[\w.]+)", page.read_text())
        named = [name for name in named if not name.startswith("rollout.options.")]
        assert {*named} <= known, page.name


def test_every_public_name_is_on_the_page_of_the_api():
    api = (ROOT / PAGES / "api.md").read_text()
    shown = {*re.findall(r"[{]heading: ([\w.]+)", api)}
    public = {f"rewards.{name}" for name in rewards.__all__} | {"jobs.train"}
    public |= {f"rlpeft.{name}" for name in rlpeft.DOORS}
    for room in ("adapters", "experts"):
        [names] = [
            ast.literal_eval(node.value)
            for node in ast.parse((ROOT / "rlpeft" / room / "__init__.py").read_text()).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        public |= {f"rlpeft.{room}.{name}" for name in names}
    errors = {name for name in public if name.endswith("Error")}  # shown with their modules
    assert shown == public - errors
    assert {"::: rewards.errors", "::: rlpeft.errors"} <= {*api.splitlines()}


def test_the_navigation_names_every_page_but_those_of_code(site):
    named = set(
        re.findall(r": ([\w-]+\.md)$", Path(ROOT / "jobs/site/mkdocs.yml").read_text(), re.M)
    )
    assert named == {address for address in site if not address.startswith("source/")}
