"""What a receiver gets, byte by byte: the body, and headers by which it knows who sent it.

Two signatures, so that receivers of either kind work as they are: Hocuspocus' (webhook extension), over the body; and
Standard Webhooks' (https://www.standardwebhooks.com), over id, time and body, which a receiver compares with its clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import UTC, datetime

from ..store.outbox import Notice

PREFIX = "whsec_"
"""How a secret begins whose rest is base64, as libraries for Standard Webhooks write it."""


def body_of(notice: Notice) -> bytes:
    """The same bytes at every attempt, for every target."""
    said = {
        **notice.details,
        "id": notice.id,
        "event": notice.event.value,
        "room": notice.room,
        "time": datetime.fromtimestamp(notice.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return json.dumps(said, sort_keys=True).encode()


def headers(secret: str, notice: Notice, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt, which is made at `timestamp` (seconds since the epoch)."""
    signed = b"%s.%d.%s" % (notice.id.encode(), timestamp, body)
    return {
        "content-type": "application/json",
        "x-hocuspocus-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        "webhook-id": notice.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1,"
        + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode(),
    }


def key_of(secret: str) -> bytes:
    """What Standard Webhooks signs with: what stands in base64 after `whsec_`, or the secret as it is."""
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
