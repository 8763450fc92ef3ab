"""What clients may ask of the server: the rules, and that the defaults go together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from collab.settings.limits import LimitSettings
from collab.settings.sections import RoomSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("connections", 0),
        ("auth_seconds", float("inf")),
        ("message_bytes", "-1"),
        ("documents_per_connection", 0),
        ("sessions_per_document", 0),
    ],
)
def test_refused(field, value):
    with pytest.raises(ValidationError):
        LimitSettings(**{field: value})


def test_nobody_alone_fills_the_server_or_a_room():
    limits, rooms = LimitSettings(), RoomSettings()
    assert limits.documents_per_connection <= limits.documents_per_user < limits.connections_per_room
    assert limits.documents_per_address < rooms.max_open
    assert limits.unauthenticated_documents <= limits.documents_per_connection
