"""What every part of access control shares."""

from __future__ import annotations

from collab.auth import Grant, Knock, Level, everyone


def test_levels_include_the_ones_below():
    assert sorted(Level) == [Level.NONE, Level.READ, Level.COMMENT, Level.WRITE, Level.ADMIN]


def test_a_knock_does_not_show_its_token():
    assert "t0ken" not in repr(Knock("r", "t0ken")) + str(Knock("r", "t0ken"))
    assert repr(Knock("r", "t0ken")) != repr(Knock("r"))


def test_everyone_may_write():
    assert everyone(Knock("r")) == Grant(Level.WRITE)
