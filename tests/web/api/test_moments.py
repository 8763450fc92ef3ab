"""How moments are written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from collab.errors import BadMessage
from collab.history.travel import NOW, Moment
from collab.web.api.moments import To, moment_of


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("snapshot:3", Moment(snapshot=3)),
        ("seq:0", Moment(seq=0)),
        ("seq:120", Moment(seq=120)),
        ("time:1970-01-01T00:01:00Z", Moment(time=60.0)),
        ("time:1970-01-01T01:01:00+01:00", Moment(time=60.0)),
        ("time:60", Moment(time=60.0)),
        ("time:60.25", Moment(time=60.25)),
    ],
)
def test_moments(text, moment):
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "3", "now:", "now:1", "snapshot:", "snapshot:0", "snapshot:-1", "snapshot:x", "snapshot:1e3",
     "seq:" + "9" * 19, "seq:" + "9" * 90, "seq:\u0663", "time:", "time:yesterday", "time:2026-11-25T09:30:00",
     "time:nan", "time:inf", "time:99999999999999999999", "before:3"],
)  # fmt: skip
def test_what_is_none(text):
    with pytest.raises(BadMessage):
        moment_of(text)


def test_one_of_three():
    assert To.model_validate({"seq": 3}).moment == Moment(seq=3)
    for fields in ({}, {"seq": 3, "snapshot": 1}, {"snapshot": 1, "time": 5}):
        with pytest.raises(ValidationError):
            To.model_validate(fields)
