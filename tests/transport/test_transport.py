"""What every carrier promises, and what fits into its goodbye."""

from __future__ import annotations

import pytest

from collab.connection import Connection
from collab.transport import Receiver, Socket, fitting_reason
from collab.transport.asgi import AsgiSocket

pytestmark = pytest.mark.anyio


async def test_the_asgi_socket_is_what_it_promises():
    promised: Socket = AsgiSocket(None, None, message_bytes=1)  # type: ignore[arg-type]
    assert promised.buffered == promised.written == 0
    for name in ("send", "pause", "resume", "close", "abort"):
        assert callable(getattr(promised, name))


def test_a_connection_can_be_told_everything():
    told: type[Receiver] = Connection
    for name in ("received", "too_large", "drained", "closed"):
        assert callable(getattr(told, name))


@pytest.mark.parametrize(
    ("reason", "fits"),
    [
        ("", ""),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("😀" * 31, "😀" * 30),
        ("x" * 121 + "é" * 2, "x" * 121 + "é"),
    ],
)
def test_reasons_fit_into_a_close_frame(reason, fits):
    assert fitting_reason(reason) == fits
    assert len(fits.encode()) <= 123
