"""`collab doctor`: what it shows, what it finds, what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from collab.settings import every_setting
from collab.store import open_store

# Of nobody and for nobody: one key, a certificate from 2020 to 2119 and one from 2020 to 2020.
KEY = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICd8y7nJtiubj9R+pGUVjIGTi7C8zAqvIXlBf9r0rGn0oAoGCCqGSM49
AwEHoUQDQgAEvgBCikOLTjvsbBHMb+rO9ixPul+WqMrci33bT03NqUeuENOWurYs
qr4QqzKigHzIAxSUpjeLnlQat2amUtTySQ==
-----END EC PRIVATE KEY-----
"""
GOOD = """\
-----BEGIN CERTIFICATE-----
MIIBVzCB/qADAgECAhRJm5T/5kAkC5c46xvyHXCqEnQDYTAKBggqhkjOPQQDAjAU
MRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEw
MDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABL4AQopDi0477GwRzG/qzvYsT7pflqjK3It9209NzalHrhDTlrq2LKq+
EKsyooB8yAMUlKY3i55UGrdmplLU8kmjLDAqMAkGA1UdEwQCMAAwHQYDVR0OBBYE
FIqggk1kQhMev8Ndit9ozi7tuL7mMAoGCCqGSM49BAMCA0gAMEUCIQC6eeAK2cu5
125cYK1O0RWopcyvZkS/M4Wm2y86rBTb4gIgb6wtQeJt4y+5h4B+uvOH2oN2ew+d
OlAMjro2RgT+N7w=
-----END CERTIFICATE-----
"""
EXPIRED = """\
-----BEGIN CERTIFICATE-----
MIIBVDCB/KADAgECAhRCvCcNL0kPmE/L+Xc6t09m028VwzAKBggqhkjOPQQDAjAU
MRIwEAYDVQQDDAlsb2NhbGhvc3QwHhcNMjAwMTAxMDAwMDAwWhcNMjEwMTAxMDAw
MDAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMB
BwNCAAS+AEKKQ4tOO+xsEcxv6s72LE+6X5aoytyLfdtPTc2pR64Q05a6tiyqvhCr
MqKAfMgDFJSmN4ueVBq3ZqZS1PJJoywwKjAJBgNVHRMEAjAAMB0GA1UdDgQWBBSK
oIJNZEITHr/DXYrfaM4u7bi+5jAKBggqhkjOPQQDAgNHADBEAiBXr61uJypxmrhV
FFornUbxSmJQPojvTBV7gtMLsICOtwIgbemghsFL4eXXMIPI7ZvB9x3LvtLRx4Gq
gI6ZhQD9pW8=
-----END CERTIFICATE-----
"""


@pytest.fixture
def port() -> str:
    """The number of a port that is free now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return str(server.getsockname()[1])


@pytest.fixture
def doctor(collab, port):
    """Runs `collab doctor --json` on a port that is free; gives the exit code, the JSON and the problems by setting."""

    def run(*arguments: str, **variables: str):
        arguments = ("doctor", "--json", *arguments)
        result = collab(*arguments, **{"COLLAB_SERVER__PORT": port, "COLLAB_LIMITS__CONNECTIONS": "10"} | variables)
        told = json.loads(result.stdout)
        return result.exit_code, told, {line["name"]: line["problem"] for line in told["problems"]}

    return run


def test_fine(doctor, tmp_path):
    code, told, problems = doctor()
    assert (code, told["ok"], problems) == (0, True, {})
    assert [row["name"] for row in told["settings"]] == [setting.name for setting in every_setting()]
    assert list(tmp_path.iterdir()) == []


def test_values_and_sources(doctor, port):
    code, told, problems = doctor("--store", "memory:", WS_HOST="127.0.0.1")
    shown = {row["name"]: (row["value"], row["source"]) for row in told["settings"]}
    assert code == 0
    assert shown["server.port"] == (port, "COLLAB_SERVER__PORT")
    assert shown["server.host"] == ("127.0.0.1", "WS_HOST")
    assert shown["store.url"] == ("memory:", "--store")
    assert shown["limits.message_bytes"] == ("16MiB", "default")
    assert all(row["description"] for row in told["settings"])


def test_table(collab, port):
    result = collab("doctor", "--port", port, COLLAB_LIMITS__CONNECTIONS="10")
    assert result.exit_code == 0
    assert "Nothing is wrong." in result.stdout
    for setting in every_setting():
        assert setting.name in result.stdout


def test_table_with_what_is_wrong(collab):
    result = collab("doctor", WS_PORT="x", COLLAB_FOO="1", JWT_SECRET="hush")
    assert result.exit_code == 2
    (line,) = [line for line in result.stdout.splitlines() if "server.port " in line]
    assert "wrong" in line
    assert "WS_PORT" in line
    assert "WS_PORT is 'x', but it should be a whole number" in result.stdout
    assert "COLLAB_FOO is not a setting" in result.stdout
    assert "hush" not in result.stdout


def test_settings_that_are_wrong(doctor):
    code, told, problems = doctor(COLLAB_STORE__JOURNAL_BYTES="1 mile", COLLAB_FOO="1")
    assert (code, told["ok"]) == (2, False)
    assert set(problems) == {"store.journal_bytes", None}
    assert len(told["settings"]) == len(every_setting())


def test_a_rule_over_several(collab):
    result = collab("doctor", COLLAB_LIVENESS__SILENT_SECONDS="30")
    assert result.exit_code == 2
    assert sum("wrong" in line and "liveness." in line for line in result.stdout.splitlines()) == 3


def test_secrets_are_masked_and_weak_ones_told(doctor):
    code, told, problems = doctor(JWT_SECRET="hush")
    assert code == 1
    assert "at least 32" in problems["auth"]
    assert "hush" not in json.dumps(told)


def test_an_open_door(doctor):
    code, _, problems = doctor(COLLAB_SERVER__HOST="0.0.0.0")
    assert code == 1
    assert "COLLAB_AUTH__MODE=open" in problems["auth"]


def test_password_in_the_url(doctor):
    code, told, problems = doctor(COLLAB_STORE__URL="postgres://ann:hush@db/x")
    assert code == 1
    assert "no store is known" in problems["store.url"]
    assert "hush" not in json.dumps(told)


# ----------------------------------------------------------------------------------------------------------- the store


def test_a_store_that_is_fine(doctor):
    async def make() -> None:
        async with open_store("sqlite:///a.db"):
            pass

    asyncio.run(make())
    assert doctor("--store", "sqlite:///a.db")[0] == 0


def test_a_store_in_use(doctor):
    async def hold():
        async with open_store("sqlite:///a.db"):
            return await asyncio.to_thread(doctor, "--store", "sqlite:///a.db")

    code, _, problems = asyncio.run(hold())
    assert code == 1
    assert "in use by another process" in problems["store.url"]


def test_a_newer_store(doctor):
    test_a_store_that_is_fine(doctor)
    with closing(sqlite3.connect("a.db")) as db, db:
        db.execute("UPDATE _sqlite_migrations SET name = '999_newer' WHERE name LIKE '001%'")
    code, _, problems = doctor("--store", "sqlite:///a.db")
    assert code == 1
    assert "written by a newer version" in problems["store.url"]


def test_a_file_that_is_no_store(doctor, tmp_path):
    (tmp_path / "a.db").write_text("Dear diary, today I was not a database, and tomorrow I shall not be one." * 20)
    code, _, problems = doctor("--store", "sqlite:///a.db")
    assert code == 1
    assert "a.db" in problems["store.url"]


@pytest.mark.parametrize("path", ["file/a.db", "missing/and/again/a.db"])
def test_a_folder_that_cannot_be_made(doctor, tmp_path, monkeypatch, path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, problems = doctor("--store", f"sqlite:///{path}")
    assert code == 1
    assert "may not write to" in problems["store.url"]


# ------------------------------------------------------------------------------------------------------- the machine


def test_port_in_use(doctor, port):
    with closing(socket.create_server(("127.0.0.1", int(port)))):
        code, _, problems = doctor()
    assert code == 1
    assert problems["server.port"].startswith("COLLAB_SERVER__PORT: cannot listen on 127.0.0.1")
    assert "another process listens there" in problems["server.port"]


def test_no_such_address(doctor):
    assert "this machine has no such address" in doctor("--host", "192.0.2.1")[2]["server.host"]
    assert "--host is 'no such host'" in doctor("--host", "no such host")[2]["server.host"]


def test_files(doctor, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    code, _, problems = doctor(COLLAB_LIMITS__CONNECTIONS="1000")
    assert code == 1
    assert "may open only 1024 files: raise that (ulimit -Hn 1064)" in problems["limits.connections"]
    assert doctor(COLLAB_LIMITS__CONNECTIONS="900")[0] == 0


def test_serve_raises_the_limit_that_doctor_trusts_in():
    """Doctor compares with the hard limit; the soft one, 1,024 on most machines, is the server's to raise."""
    source = (Path(__file__).parents[2] / "collab" / "web" / "server.py").read_text("utf-8")
    assert "setrlimit" in source


# --------------------------------------------------------------------------------------------------- the certificate


@pytest.fixture
def pem(tmp_path):
    def write(name: str, text: str) -> str:
        path: Path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_good_certificate(doctor, pem):
    assert doctor("--certfile", pem("cert", GOOD), "--keyfile", pem("key", KEY))[0] == 0


def test_expired_certificate(doctor, pem):
    code, _, problems = doctor("--certfile", pem("cert", EXPIRED), "--keyfile", pem("key", KEY))
    assert code == 1
    assert problems["server.certfile"].endswith("certificate has expired; renew it")


def test_certificate_that_expires_soon(doctor, pem, monkeypatch):
    monkeypatch.setattr("collab.cli.doctor.SOON_DAYS", 100 * 366)
    _, _, problems = doctor("--certfile", pem("cert", GOOD), "--keyfile", pem("key", KEY))
    assert "expires in" in problems["server.certfile"]


def test_certificate_and_key_that_do_not_belong_together(doctor, pem):
    code, _, problems = doctor("--certfile", pem("cert", GOOD), "--keyfile", pem("key", GOOD))
    assert code == 1
    assert "cannot be used together" in problems["server.certfile"]


def test_certificate_that_cannot_be_read(doctor, pem):
    code, _, problems = doctor("--certfile", "/no/such/file", "--keyfile", pem("key", KEY))
    assert code == 2
    assert problems["server.certfile"] == (
        "--certfile is '/no/such/file', but it should be a file that this user can read (No such file or directory)"
    )
