"""Progress of long work, in lines."""

from rlpeft.adapters.svf import pace
from rlpeft.adapters.svf.pace import paced


def test_long_work_tells_its_rate_and_the_time_left_by_cost(monkeypatch, capsys):
    clock = iter([0.0, 6.0, 12.0, 30.0])
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    # After the second item a quarter of the cost is paid, in 12 s.
    assert list(paced([1, 1, 6], "decomposing weights", cost=float)) == [1, 1, 6]
    assert capsys.readouterr().err == "decomposing weights: 2 of 3, 0.17/s, 0:36 left\n"


def test_quick_work_says_nothing(capsys):
    assert list(paced([1, 2], "x", cost=float)) == [1, 2]
    assert capsys.readouterr().err == ""
