"""What receivers get, compared with what others publish."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from collab.hooks.signing import body_of, headers, key_of
from collab.store.outbox import Event, Notice

NOTICE = Notice(7, 0, "abc", Event.CHANGED, "räume/1", 1_700_000_000.5, {"seq": 3, "since": 1})


def test_the_body():
    body = body_of(NOTICE)
    assert json.loads(body) == {
        **{"id": "abc", "event": "document.changed", "room": "räume/1", "time": "2023-11-14T22:13:20.500Z"},
        **{"seq": 3, "since": 1},
    }
    assert body == body_of(NOTICE)
    spoofed = Notice(7, 0, "abc", Event.TEST, "", 0.0, {"room": "other", "event": "x"})
    assert json.loads(body_of(spoofed))["event"] == "test", "details never stand in for what an event is"


def test_hocuspocus():
    """As its webhook extension does: `sha256=` and the hex HMAC of the body."""
    said = headers("secret", NOTICE, 1, b"{}")["x-hocuspocus-signature-256"]
    assert said == "sha256=" + hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()


def test_standard_webhooks():
    """The example of the specification's libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    notice = Notice(1, 0, "msg_p5jXN8AQM9LWM0D4loKWxJek", Event.TEST, "", 0.0, {})
    said = headers(secret, notice, 1614265330, body)
    assert said["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (said["webhook-id"], said["webhook-timestamp"]) == (notice.id, "1614265330")


def test_keys():
    assert key_of("plain secret") == b"plain secret"
    assert key_of("whsec_" + base64.b64encode(b"bytes").decode()) == b"bytes"
    assert key_of("whsec_no base64!") == b"whsec_no base64!"
