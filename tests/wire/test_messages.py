"""The vocabulary: values, which nobody changes on their way through the layers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from collab.errors import BadMessage, BadUpdate
from collab.wire import messages, vet
from collab.wire.lib0 import var_uint
from collab.wire.messages import Awareness, Message, SyncStep1, SyncStep2, Update


@pytest.mark.parametrize("kind", get_args(Message))
def test_messages_are_values(kind):
    made = [kind(*("x" for _ in fields(kind))) for _ in range(2)]
    assert made[0] == made[1] and hash(made[0]) == hash(made[1])
    for field in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made[0], field.name, "y")


def test_a_state_vector_names_no_more_clients_than_a_document_may_have():
    """Whoever asks for the document chooses what is in it, also if they may only read."""
    most = dict.fromkeys(range(vet.MAX_CLIENTS), 1)
    assert SyncStep1(vet.state_vector(most)).clocks() == most
    with pytest.raises(BadMessage, match="100001 clients"):
        SyncStep1(vet.state_vector({**most, 2**40: 1})).clocks()


def test_an_update_announces_no_more_than_real_ones_do():
    many = vet.MAX_CLIENTS + 1
    announced = var_uint(many) + b"".join(b"\x01" + var_uint(2**21 + nth) + b"\x00\x00\x01" for nth in range(many))
    ranges = b"\x00\x01\x07" + var_uint(vet.MOST.ranges + 1) + b"\x00\x01" * (vet.MOST.ranges + 1)
    for made in (announced + b"\x00", ranges):
        with pytest.raises(BadUpdate, match="an update has more than"):
            Update(made).extent()
    assert len(vet.parse(announced + b"\x00").structs) == many, "what is stored is read all the same"


def test_the_same_bytes_are_not_the_same_message():
    assert len({Update(b"\x00"), SyncStep2(b"\x00"), Awareness(b"\x00")}) == 3


def test_every_message_of_the_module_is_in_the_union():
    made = {kind for kind in vars(messages).values() if isinstance(kind, type) and kind.__module__ == messages.__name__}
    assert made - {messages.Content} == set(get_args(Message))
