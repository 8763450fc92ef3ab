"""`collab smoke` on real servers: sound ones, over TLS too, and ones with something wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
import pytest

from tests.support.authority import Authority
from tests.support.server import Server

SECRET = "a secret that signs the tokens of editors"
STEPS = 5


def token(level: str = "write") -> str:
    return jwt.encode({"sub": "smoke", "rooms": {"**": level}, "exp": time.time() + 600}, SECRET, "HS256")


def test_a_sound_server(collab):
    with Server(env={"COLLAB_AUTH__MODE": "jwt", "JWT_SECRET": SECRET}) as server:
        for _ in range(2):  # it may be asked again: nothing is left of the first time
            done = collab("smoke", server.url, "--token", token(), "--json")
            found = json.loads(done.stdout)
            assert done.exit_code == 0 and found["passed"], done.stdout
            assert [step["passed"] for step in found["steps"]] == [True] * STEPS
        shown = collab("smoke", server.url, "--token", token())
        assert shown.exit_code == 0 and shown.stdout.count("ok ") == STEPS
        kept = collab("export", "collab-smoke", "--server", server.url, "--token", token())
        assert not any(json.loads(kept.stdout).values())
        assert not server.complaints()


@pytest.mark.parametrize(
    ("given", "why"), [(lambda: "nonsense", "does not let us in"), (lambda: token("read"), "read the room, not write")]
)
def test_who_may_not_write(collab, given, why):
    with Server(env={"COLLAB_AUTH__MODE": "jwt", "JWT_SECRET": SECRET}) as server:
        done = collab("smoke", server.url, "--token", given(), "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and not found["passed"] and len(found["steps"]) == 3
    assert why in found["steps"][-1]["said"]


def test_nobody_there(collab):
    done = collab("smoke", "ws://127.0.0.1:1", "--json")
    assert done.exit_code == 1 and [step["passed"] for step in json.loads(done.stdout)["steps"]] == [True, False]


def test_what_is_no_address(collab):
    assert collab("smoke", "http://127.0.0.1").exit_code == 2


def test_in_the_clear_to_the_outside(collab):
    done = collab("smoke", "ws://collab.example.com", "--json")
    (step,) = json.loads(done.stdout)["steps"]
    assert done.exit_code == 1 and "in the clear" in step["said"]


@pytest.mark.parametrize(
    ("trusted", "days", "said"),
    [(True, 20, "TLSv1.3, 20 days left"), (False, 20, "CERTIFICATE_VERIFY_FAILED"), (True, 5, "renew it")],
)
def test_over_tls(collab, tmp_path: Path, monkeypatch, trusted, days, said):
    folders = [tmp_path / name for name in ("ours", "another")]
    for folder in folders:
        folder.mkdir()
    ours, another = map(Authority, folders)
    ours.issue(tmp_path, days=days + 0.1)
    monkeypatch.setenv("SSL_CERT_FILE", str((ours if trusted else another).file))
    env = {"COLLAB_SERVER__CERTFILE": str(tmp_path / "fullchain.pem")}
    with Server(env=env | {"COLLAB_SERVER__KEYFILE": str(tmp_path / "privkey.pem")}, health=None) as server:
        done = collab("smoke", f"wss://localhost:{server.port}", "--json")
    found = json.loads(done.stdout)
    assert said in found["steps"][0]["said"]
    assert found["passed"] == (trusted and days == 20) == (done.exit_code == 0), found
