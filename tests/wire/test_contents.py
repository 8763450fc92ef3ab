"""Where contents end, and how many clocks they take. What is refused of them stands in `test_vet.py`."""

from __future__ import annotations

import pytest

from collab.errors import BadUpdate
from collab.wire.contents import MAX_DEPTH, pass_content, pass_text, pass_value, text_length
from collab.wire.lib0 import var_string


@pytest.mark.parametrize(("text", "units"), [("", 0), ("abc", 3), ("größe", 5), ("😀", 2)])
def test_text_is_counted_as_browsers_count(text, units):
    data = b"?" + var_string(text) + b"more"
    assert text_length(data, 1) == (units, len(data) - 4) and pass_text(data, 1) == len(data) - 4


@pytest.mark.parametrize(
    ("kind", "content", "clocks"),
    [
        (1, b"\x05", 5),
        (3, b"\x02\x00\x01", 1),
        (5, b"\x02{}", 1),
        (6, b"\x04bold\x04true", 1),
        (7, b"\x03\x01p", 1),
        (8, b"\x02\x7e\x77\x01a", 2),
        (9, b"\x01g\x76\x00", 1),
    ],
)
def test_contents(kind, content, clocks):
    assert pass_content(kind, content + b"more", 0) == (clocks, len(content))


@pytest.mark.parametrize("kind", [0, 2, 10, 11, 31])
def test_what_is_no_content(kind):
    with pytest.raises(BadUpdate):
        pass_content(kind, b"\x01\x01a", 0)


def test_values_nest_so_deep():
    assert pass_value(b"\x75\x01" * MAX_DEPTH + b"\x7e", 0) == 2 * MAX_DEPTH + 1
    with pytest.raises(BadUpdate):
        pass_value(b"\x75\x01" * (MAX_DEPTH + 1) + b"\x7e", 0)
