"""The vocabulary: values, which nobody changes on their way through the layers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from collab.wire import messages
from collab.wire.messages import Awareness, Message, SyncStep2, Update


@pytest.mark.parametrize("kind", get_args(Message))
def test_messages_are_values(kind):
    made = [kind(*("x" for _ in fields(kind))) for _ in range(2)]
    assert made[0] == made[1] and hash(made[0]) == hash(made[1])
    for field in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made[0], field.name, "y")


def test_the_same_bytes_are_not_the_same_message():
    assert len({Update(b"\x00"), SyncStep2(b"\x00"), Awareness(b"\x00")}) == 3


def test_every_message_of_the_module_is_in_the_union():
    made = {kind for kind in vars(messages).values() if isinstance(kind, type) and kind.__module__ == messages.__name__}
    assert made - {messages.Content} == set(get_args(Message))
