"""What the CEM service finds in its folder when it is started again."""

import json

import pytest

from jobs.cem.service import DONE, CemService, HeldSearch, write_record


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "{",
        lambda text: "[" * 100_000,
        lambda text: json.dumps({**json.loads(text), "id": "kept"}),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "state"}),
        lambda text: json.dumps({**json.loads(text), "recipe": {}}),
    ],
)
def test_a_damaged_record_is_named_and_the_other_searches_stay(
    tmp_path, adapt_recipe, capsys, damage
):
    for name in ("kept", "broken"):
        write_record(tmp_path, HeldSearch(name, adapt_recipe(), DONE))
    path = tmp_path / "broken" / "search.json"
    path.write_text(damage(path.read_text()))
    service = CemService(str(tmp_path))
    assert [status["id"] for status in service.list()] == ["kept"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a search is left out: ")
    assert str(path) in line
