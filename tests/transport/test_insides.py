"""What is known of hypercorn's insides; the real thing is behind every test in test_asgi.py."""

from __future__ import annotations

import inspect

import hypercorn.protocol
import pytest
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WebsocketBuffer, WSStream
from wsproto.events import BytesMessage, TextMessage

from collab.transport import insides


async def somebody_elses(message: object) -> None:
    """The `send` of another ASGI server."""


@pytest.mark.parametrize("send", [somebody_elses, lambda message: None, [].append])
def test_another_server_has_other_insides(send):
    assert insides.stream(send) is None
    assert insides.tcp_transport(send) is None


def test_hypercorn_still_keeps_its_buffer_there():
    """The one place that is written to: when this fails, look at how a message that is too large is closed."""
    assert "self.buffer = WebsocketBuffer(" in inspect.getsource(WSStream.__init__)
    assert {"extend", "clear", "to_message"} <= set(vars(WebsocketBuffer))


def test_hypercorn_still_chooses_protocols_there():
    """What `http1_only` puts in its place: when this fails, look at how `Upgrade: h2c` is answered."""
    wrapper = inspect.getsource(hypercorn.protocol.ProtocolWrapper)
    assert wrapper.count("self.protocol = H11Protocol(") == 1, "by the name that is replaced"
    assert "await self._check_protocol(event)\n" in inspect.getsource(H11Protocol._handle_events)
    assert "raise H2CProtocolRequiredError" in inspect.getsource(H11Protocol._check_protocol)
    assert "raise H2ProtocolAssumedError" in inspect.getsource(H11Protocol._check_protocol)
    assert inspect.iscoroutinefunction(H11Protocol._create_stream)
    assert inspect.iscoroutinefunction(H11Protocol._send_error_response)


def test_http1_is_put_in_place(monkeypatch):
    monkeypatch.setattr(hypercorn.protocol, "H11Protocol", H11Protocol)
    insides.http1_only()
    assert vars(hypercorn.protocol)["H11Protocol"] is insides.Http1Protocol


def test_a_message_in_pieces():
    told: list[int] = []
    buffer = insides.BoundedBuffer(10, told.append)
    buffer.extend(BytesMessage(data=b"01234", message_finished=False))
    buffer.extend(BytesMessage(data=b"56789"))
    assert buffer.to_message() == {"type": "websocket.receive", "bytes": b"0123456789", "text": None}
    buffer.clear()
    buffer.extend(TextMessage(data="text"))
    assert buffer.to_message() == {"type": "websocket.receive", "bytes": None, "text": "text"}
    assert told == []


def test_what_is_too_large_is_let_go_of_and_told_once():
    told: list[int] = []
    buffer = insides.BoundedBuffer(10, told.append)
    for _ in range(1000):
        buffer.extend(BytesMessage(data=b"0123456", message_finished=False))
    assert told == [14]
    assert buffer.value is None and buffer.length == 0
    buffer.extend(BytesMessage(data=b"end"))
    assert buffer.to_message()["bytes"] == b"", "hypercorn delivers something, and it is nothing"
    buffer.clear()
    buffer.extend(BytesMessage(data=b"next"))
    assert buffer.to_message()["bytes"] == b"", "nothing of this client is taken any more"
    assert told == [14]
