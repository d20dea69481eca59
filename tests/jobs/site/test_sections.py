from jobs.site.sections import Passage, headings, relinked, sections_of, taken_in, target_of

PAGE = """# A page

It begins.

## One

```bash
## no heading
```

### Within

[see](#one)

## Two
"""


def test_a_readme_is_parted_at_headings_outside_of_code():
    first, one, two = sections_of("room/README.md", PAGE)
    assert first == Passage("room/README.md", "a-page", "# A page\n\nIt begins.\n")
    assert headings(one.text) == ["one", "within"]
    assert "## no heading" in one.text
    assert two.text == "## Two\n"


def test_a_link_that_stands_alone_takes_a_section_in_and_one_in_a_sentence_does_not():
    text = "[One](../README.md#one)\n\nSee [two](../README.md#two).\n\n[all](b/README.md)\n"
    found = list(taken_in("room/pages/p.md", text))
    assert found == [("room/README.md", "one"), ("room/pages/b/README.md", "")]


def test_links_are_followed_from_the_file_they_stand_in():
    assert target_of("room/README.md", "../other/file.py") == ("other/file.py", "")
    assert target_of("room/README.md", "#one") == ("room/README.md", "one")


def test_links_lead_where_they_are_placed_but_those_in_code_and_to_other_servers():
    text = "[a](x.md#y), [b](https://z.org), ![c](d.svg)\n\n```md\n[a](x.md)\n```\n"
    placed = relinked("room/README.md", text, lambda path, anchor: f"<{path} {anchor}>")
    assert placed == text.replace("(x.md#y)", "(<room/x.md y>)").replace("d.svg", "<room/d.svg >")
