"""The whole site, built as `make docs` builds it and read as a browser reads it."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from jobs.site.pages import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.apart]  # the only build, half a minute at most

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


class Page(HTMLParser):
    """What a page is linked by, leads to, and loads."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        if given.get("rel") not in ("canonical", "next", "prev") and given.get(LOADED.get(tag)):
            self.loaded.add(given[LOADED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / "jobs/site/mkdocs.yml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "LANG": "C.UTF-8"},
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def read(built):
    return {path: Page(path.read_text()) for path in sorted(built.rglob("*.html"))}


def test_links_and_anchors_lead_somewhere(read):
    lost = []
    for path, page in read.items():
        if path.name == "404.html":  # which is shown anywhere, and names the root
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            place, _, anchor = unquote(link).partition("#")
            target = (path.parent / place).resolve() if place else path
            known = read.get(target)
            if not target.exists() or (anchor and known and anchor not in known.names):
                lost.append((path.name, link))
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(built, read):
    for path, page in read.items():
        for source in page.loaded:
            assert not re.match(r"(?:[a-z]+:)?//", source), (path.name, source)
    for style in built.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", style.read_text()), style.name


def test_the_search_finds_words_without_a_server(built, read):
    index = (built / "search/search_index.js").read_text()
    assert "Singular-value fine-tuning" in index
    shim = "assets/iframe-worker.js"
    assert (built / shim).is_file()
    assert shim in read[built / "index.html"].loaded


def test_code_is_no_hit_of_a_search(built):
    assert "source/rlpeft/training/loop.py" not in (built / "search/search_index.js").read_text()


def test_formulae_need_no_program(built):
    page = (built / "methods.html").read_text()
    assert page.count("<math ") > 30
    assert "$" not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert not Path(built / "assets/javascripts/mathjax.js").exists()


def test_the_contents_of_the_api_tell_its_two_ways_to_train_apart(built):
    page = (built / "api.html").read_text()
    links = re.findall(r'#[\w.]+\.train" class="md-nav__link">(.*?)</a>', page, flags=re.S)
    called = [re.sub(r"<[^>]*>|&nbsp;", "", link).strip() for link in links]
    assert sorted({*called}) == ["jobs.train", "rlpeft.train"]
