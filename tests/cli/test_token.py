"""`collab token`: what it prints is what the server takes."""

from __future__ import annotations

import json
import time

import pytest
from pydantic import SecretStr

from collab.auth import Grant, Knock, Level
from collab.auth.modes import authorizer
from collab.errors import Forbidden
from collab.settings.access import AuthSettings

SECRET = "a secret of this test, 32 bytes and more"
ANA = ("token", "--sub", "ana")


def test_a_token_that_the_server_takes(collab):
    options = ("--room", "team/*=write", "--room", "a=b=read", "--expires", "15m", "--name", "Ana", "--color", "#36f")
    result = collab(*ANA, *options, "--no-create", JWT_SECRET=SECRET, JWT_ISSUER="me", COLLAB_AUTH__JWT_AUDIENCE="x,y")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1 and SECRET not in result.output
    authorize = authorizer(AuthSettings(jwt_secret=SecretStr(SECRET), jwt_issuer="me", jwt_audience="x"))
    grant = authorize(Knock("team/board", result.stdout.strip()))
    assert isinstance(grant, Grant) and grant.expires is not None
    assert (grant.level, grant.subject, grant.may_create) == (Level.WRITE, "ana", False)
    assert grant.user == {"name": "Ana", "color": "#36f"}
    assert 0 <= time.time() + 900 + 30 - grant.expires < 60
    other = authorize(Knock("a=b", result.stdout.strip()))
    assert isinstance(other, Grant) and other.level is Level.READ
    with pytest.raises(Forbidden):
        authorize(Knock("team", result.stdout.strip()))


def test_json_and_level_apart(collab):
    result = collab(*ANA, "--room", "a", "--room", "b", "--level", "read", "--json", JWT_SECRET=SECRET)
    told = json.loads(result.stdout)
    assert told["claims"]["rooms"] == {"a": "read", "b": "read"}
    assert told["claims"]["exp"] - told["claims"]["iat"] == 3_600
    assert {"iss", "aud", "user", "create"} & told["claims"].keys() == set()
    assert told["token"].count(".") == 2


def test_without_a_secret(collab):
    result = collab(*ANA, "--room", "a=read")
    assert result.exit_code == 2
    assert "COLLAB_AUTH__JWT_SECRET" in result.stderr


def test_a_short_secret(collab):
    result = collab(*ANA, "--room", "a=read", JWT_SECRET="hush")
    assert result.exit_code == 2
    assert "openssl rand" in result.stderr and "hush" not in result.output


@pytest.mark.parametrize(
    "options",
    [
        ("--room", "a"),
        ("--room", "a=owner"),
        ("--room", "=read"),
        ("--room", "a*=read"),
        ("--room", "a", "--level", "owner"),
        ("--room", "a=read", "--expires", "0s"),
        ("--room", "a=read", "--expires", "soon"),
        ("--room", "a=read", "--expires", "9999d"),
        (),
    ],
)
def test_refused(collab, options):
    result = collab(*ANA, *options, JWT_SECRET=SECRET)
    assert result.exit_code == 2
    assert result.stdout == ""
