"""How laws are told: one cause once, within a time for all, and nobody else blamed."""

import time

import pytest

from jobs.cli.check_model import conclusion
from rlpeft.model_checks import examine
from rlpeft.model_checks.examine import Examined
from rlpeft.model_checks.finding import LawVerdict
from rlpeft.model_checks.table import Law, LawNeeds
from rlpeft.models.folder import resolve_model

LOSES = "<user>{{ messages[-1].content[0].text }}<assistant>"


@pytest.mark.parametrize("template", ["{% for", "{{ raise_exception('no') }}", LOSES])
def test_what_is_wrong_with_a_template_is_told_by_one_row(altered, rows_of, template):
    rows = rows_of(altered(chat_template__jinja=template), engines=("hf",))
    assert [law for law, row in rows.items() if row.blocks] == ["turns"]
    assert rows["prefill"].evidence == "it needs what failed in 'turns'"


def test_weights_of_another_format_are_told_once(altered, rows_of):
    folder = altered(weights=False)
    (folder / "pytorch_model.bin").write_bytes(b"")
    rows = rows_of(folder)
    assert [law for law, row in rows.items() if row.blocks] == ["weights"]
    assert rows["tied head"].evidence == "it needs what failed in 'weights'"


def test_laws_of_text_share_one_time(monkeypatch):
    def slow(_):
        time.sleep(60)

    monkeypatch.setattr(examine, "TEXT_S", 0.2)
    monkeypatch.setattr(examine, "LAWS", [Law(name, LawNeeds.TOKENIZER, slow) for name in "ab"])
    first, second = examine.examine(resolve_model("tiny"), weights=False, engines=())
    assert first.evidence == "it took more than 0.2 s"
    assert second.evidence == "it took more than 0.1 s"


def row(verdict, *, blocks=False):
    return Examined("ends", None, verdict, "", "", blocks)


def test_the_last_line_counts_in_english_and_fits_a_terminal():
    every = [row(verdict, blocks=True) for verdict in LawVerdict for _ in range(2)]
    said = conclusion(every)
    assert "2 hold, 2 do not apply, 2 refused, 2 do not hold, 2 could not be checked" in " ".join(
        said.split()
    )
    assert max(map(len, said.splitlines())) <= 80
    assert conclusion([row(LawVerdict.HOLDS)]) == "1 laws: 1 holds: sound"
