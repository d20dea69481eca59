import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code.wire import Channel, WireError, decode, encode

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner)
        | st.sets(st.integers() | st.text())
        | st.complex_numbers(allow_nan=False)
    ),
    max_leaves=20,
)


def no_handle(value):
    raise AssertionError(f"{value!r} got a handle")


@given(plain)
def test_plain_values_come_back_equal_and_of_their_type(value):
    read_fd, write_fd = os.pipe()
    channel = Channel(read_fd, write_fd)
    channel.send(encode(value, no_handle))
    back = decode(channel.receive(), no_handle)
    os.close(read_fd)
    os.close(write_fd)

    assert back == value
    assert type(back) is type(value)


def test_nan_travels():
    assert math.isnan(decode(encode(math.nan, no_handle), no_handle))


def test_a_subclass_travels_as_its_base():
    class Sly(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    back = decode(encode([Sly(3)], no_handle), no_handle)

    assert back == [3]
    assert type(back[0]) is int


def test_other_objects_stay_and_get_a_handle():
    assert encode([object()], lambda value: 5) == [{"handle": 5}]
    assert decode({"handle": 5}, lambda handle: f"object {handle}") == "object 5"


def test_endless_nesting_is_refused():
    value = []
    value.append(value)

    with pytest.raises(WireError, match="nested"):
        encode(value, no_handle)


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
