"""What is revoked is covered, and nothing is forgotten too early."""

from __future__ import annotations

import pytest

from collab.auth import Grant, Level
from collab.auth.revocation import Revocations
from collab.errors import TooMany


def grant(subject=None, token_id=None, issued=None) -> Grant:
    return Grant(Level.WRITE, subject=subject, token_id=token_id, issued=issued)


def test_tokens():
    revoked = Revocations()
    revoked.revoke_token("t1", until=100)
    assert revoked.covers(grant("ana", "t1", 50))
    assert not revoked.covers(grant("ana", "t2", 50))
    assert not revoked.covers(grant("t1"))


def test_subjects_up_to_a_moment():
    revoked = Revocations()
    revoked.revoke_subject("ana", before=50, until=100)
    covered = [issued for issued in (None, 49, 50, 50.5, 51) if revoked.covers(grant("ana", issued=issued))]
    assert covered == [None, 49, 50]
    assert not revoked.covers(grant("ben", issued=1))
    assert not revoked.covers(grant(None, issued=1))


def test_a_second_revocation_takes_nothing_back():
    revoked = Revocations()
    revoked.revoke_subject("ana", before=50, until=100)
    revoked.revoke_subject("ana", before=40, until=90)
    revoked.revoke_token("t", until=100)
    revoked.revoke_token("t", until=90)
    revoked.forget(95)
    assert revoked.covers(grant("ana", issued=45)) and revoked.covers(grant(None, "t"))


def test_forgotten_when_nothing_can_count_any_more():
    revoked = Revocations()
    revoked.revoke_subject("ana", before=50, until=100)
    revoked.revoke_token("t", until=100)
    revoked.forget(100)
    assert len(revoked) == 2
    revoked.forget(100.1)
    assert len(revoked) == 0 and not revoked.covers(grant("ana", "t", 1))


def test_full_is_said_and_never_lets_somebody_in():
    revoked = Revocations(size=2)
    for number in range(2):
        revoked.revoke_token(f"t{number}", until=100)
        revoked.revoke_subject(f"s{number}", before=50, until=100)
    for call in (lambda: revoked.revoke_token("t9", 100), lambda: revoked.revoke_subject("s9", 50, 100)):
        with pytest.raises(TooMany):
            call()
    revoked.revoke_token("t1", until=200)
    revoked.revoke_subject("s1", before=60, until=200)
    assert revoked.covers(grant(None, "t0")) and revoked.covers(grant("s1", issued=55))
