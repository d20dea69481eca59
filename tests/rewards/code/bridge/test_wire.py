import json
import math
import os
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code.bridge.codec import Codec
from rewards.code.bridge.wire import Channel, WireError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.fractions()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(deque)
        | st.dictionaries(st.integers() | st.text(), inner)
        | st.dictionaries(st.integers() | st.text(), inner).map(OrderedDict)
        | st.sets(st.integers() | st.text())
        | st.complex_numbers(allow_nan=False)
    ),
    max_leaves=20,
)


def travel(value, sender=None, receiver=None):
    data = (sender or Codec(0)).encode(value)
    return (receiver or Codec(1)).decode(json.loads(json.dumps(data)))


@given(plain)
def test_plain_values_come_back_equal_and_of_their_type(value):
    back = travel(value)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        10**40,
        range(2, 9, 3),
        bytearray(b"ab"),
        Counter("aab"),
        defaultdict(list, a=[1]),
        deque([1, 2], maxlen=2),
        frozenset({(1, "a")}),
        Decimal("1.10"),
        Fraction(1, 3),
        date(2024, 2, 29),
        time(1, 2, 3, 4),
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3))),
        Ellipsis,
        int,
        ValueError,
    ],
)
def test_standard_values_come_back_equal_and_of_their_type(value):
    back = travel(value)

    assert back == value
    assert type(back) is type(value)


def test_what_a_container_has_beside_its_items_travels():
    assert travel(deque([1, 2], maxlen=2)).maxlen == 2
    assert travel(defaultdict(list))["new"] == []
    assert str(travel(Decimal("1.10"))) == "1.10"


def test_nan_travels():
    assert math.isnan(travel(math.nan))


def test_one_list_stays_one_list():
    shared = [1]

    first, second = travel((shared, shared))
    endless = []
    endless.append(endless)
    back = travel(endless)

    assert first is second
    assert back[0] is back


def test_a_change_in_place_is_told_and_made_on_the_other_side():
    one, other = Codec(0), Codec(1)
    mine = {"a": [1]}
    theirs = travel(mine, one, other)

    theirs["a"].append(2)
    theirs["b"] = theirs["a"]
    one.absorb(json.loads(json.dumps(other.parts())))

    assert mine == {"a": [1, 2], "b": [1, 2]}
    assert mine["a"] is mine["b"]
    assert other.parts() == {}


def test_a_container_that_nothing_refers_to_is_forgotten():
    codec = Codec(0)
    kept = [1]
    codec.encode([[2], kept])

    codec.collect()

    assert len(codec.parts()["drop"]) == 2
    kept.append(3)
    assert len(codec.parts()["sync"]) == 1


def test_a_number_that_equals_everything_keeps_only_its_number():
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    back = travel([Sly(3)])

    assert int.__add__(back[0], 0) == 3
    assert isinstance(back[0], int)


def test_deep_nesting_is_refused():
    value = ()
    for _ in range(1000):
        value = (value,)

    with pytest.raises(WireError, match="nested"):
        Codec(0).encode(value)


@pytest.mark.parametrize(
    "data",
    [
        [1],
        {},
        {"a": 1, "b": 2},
        {"nothing": 1},
        {"yours": 0},
        {"yours": -1},
        {"yours": "x"},
        {"ref": 9},
        {"new": [1, "list"]},
        {"new": [1, "Path", None, []]},
        {"std": "os:system"},
        {"std": "unittest.case:SkipTest"},
        {"std": 3},
        {"error": [{"std": "builtins:int"}, [], None, None]},
        {"mine": [0, {"std": "builtins:int"}, None]},
        {"class": [0, {"name": "X"}]},
        {"view": ["keys", []]},
        {"bytes": "zz"},
        {"decimal": "many"},
        {"fraction": ["0x1", "0x0"]},
        {"tuple": 3},
        {"frozenset": [{"new": [1, "list", None, []]}]},
    ],
)
def test_data_that_is_no_value_is_an_error(data):
    with pytest.raises(WireError):
        Codec(0).decode(data)


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\4nope", b"\0\0\0\x09{}"]
)
def test_a_message_that_cannot_be_read_is_an_error(raw):
    read_fd, write_fd = os.pipe()
    os.write(write_fd, raw)
    os.close(write_fd)

    with pytest.raises(WireError):
        Channel(read_fd, -1).receive()
    os.close(read_fd)
