"""Reading and writing beside computing: order, bounds, and errors that are not lost."""

from __future__ import annotations

import threading

import pytest

from xattr_cli.pipeline.prefetch import Writer, read_ahead


def test_the_next_item_is_read_while_one_is_worked_on_and_no_further():
    reading = []

    def read(item):
        reading.append(item)
        return item * 10

    seen = []
    for item, found in read_ahead(read, range(5)):
        seen.append((item, found))
        assert max(reading) <= item + 1
    assert seen == [(item, item * 10) for item in range(5)]


def test_an_error_of_reading_comes_when_it_is_the_items_turn():
    def read(item):
        if item == 2:
            raise ValueError("unreadable")
        return item

    seen = []
    with pytest.raises(ValueError, match="unreadable"):
        for item, _ in read_ahead(read, range(5)):
            seen.append(item)
    assert seen == [0, 1]


def test_writing_goes_on_beside_the_caller_one_item_at_a_time():
    go, wrote, done = threading.Event(), [], []

    def write(item, content):
        assert go.wait(10)
        wrote.append((item, content))

    with Writer.opened(write, done.append) as writer:
        writer.put("first", 1)  # returns, though nothing can be written yet
        assert wrote == []
        go.set()
        writer.put("second", 2)
        assert wrote[0] == ("first", 1)
        assert done == ["first"]
    assert wrote == [("first", 1), ("second", 2)]
    assert done == ["first", "second"]


def test_an_error_of_writing_stops_the_caller_and_is_not_told_as_done():
    def write(item):
        if item == 1:
            raise OSError("disk full")

    done = []
    with pytest.raises(OSError, match="disk full"), Writer.opened(write, done.append) as writer:
        for item in range(5):
            writer.put(item)
    assert done == [0]


def test_what_was_begun_is_written_though_the_caller_fails():
    wrote, done = [], []
    with pytest.raises(KeyError), Writer.opened(wrote.append, done.append) as writer:
        writer.put(7)
        raise KeyError
    assert wrote == done == [7]
