"""Warnings as commands show them."""

import warnings

from jobs.cli.warned import tell_as_notes
from rlpeft.training import ahead


def test_a_warning_of_ours_is_a_note_and_that_of_a_library_stays(monkeypatch, capsys):
    others = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given: others.append(given))
    tell_as_notes()
    for _ in range(2):
        warnings.showwarning(UserWarning("much was cut off"), UserWarning, ahead.__file__, 96)
    assert capsys.readouterr().err == "note: much was cut off\n"
    given = (UserWarning("theirs"), UserWarning, warnings.__file__, 1)
    warnings.showwarning(*given)
    assert others == [given]
