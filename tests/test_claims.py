"""Whose an id is, by the books of the claims alone; how it looks in a room: tests/test_presence.py."""

from __future__ import annotations

from collab.claims import ASK_SECONDS, LEFT, MAX_CLOCK, PATIENCE_SECONDS, UNASKED_SECONDS, Claim, Claims, State


class Editor:
    """A connection, as `Person` describes it."""

    def __init__(self, subject: str | None = None) -> None:
        self.subject = subject
        self.user = None
        self.may_be_seen = True
        self.challenges = 0

    def challenge(self) -> None:
        self.challenges += 1


def held(owner: object, subject: str | None = None) -> State:
    return State(5, "{}", owner, subject, 0.0)


def test_who_may_speak_for_an_id():
    old, new, ana, ben = Editor(), Editor(), Editor("ana"), Editor("ben")
    claims = Claims({})
    for editor in (old, new, ana, ben):
        claims.enter(editor)
    assert claims.may_say(held(old), old) and claims.may_say(held(old), None), "itself, and the server"
    assert not claims.may_say(held(None), new), "the server's own is nobody else's"
    assert not claims.may_say(held(old), new) and not claims.may_say(held(old), ana)
    assert claims.may_say(held(LEFT), new) and claims.may_say(held(LEFT), ana)
    assert claims.may_say(held(LEFT, "ana"), ana) and claims.may_say(held(Editor("ana"), "ana"), ana)
    assert not claims.may_say(held(LEFT, "ana"), ben) and not claims.may_say(held(LEFT, "ana"), new)


def test_first_words():
    states = {7: held("old")}
    claims = Claims(states)
    for owner in ("old", "one", "two", "three", "four"):
        claims.enter(owner)
    claims.first_words({8: (1, 0, 0)}, "one")
    claims.first_words({9: (1, 0, 0)}, "one")
    claims.first_words({8: (1, 0, 0), 9: (1, 0, 0)}, "two")
    claims.first_words({7: (5, 0, 0)}, "three")
    claims.first_words({7: (6, 0, 0)}, "four")
    claims.first_words({}, "old")
    assert claims.home == {"one": 8, "two": None, "three": 7, "four": 7}
    assert claims.own == {"one": 8, "four": 7}, "the third may have heard of it"


def test_what_is_remembered():
    claims = Claims({}, 2)
    for client in range(1, 5):
        claims.bury(client, State(client, None, LEFT, "ana", 0, home=True))
    claims.bury(5, State(5, None, LEFT, "ana", 0))
    claims.bury(6, State(6, None, LEFT, None, 0, home=True))
    assert claims.dig_up(1, 9) is None and claims.dig_up(5, 9) is None and claims.dig_up(6, 9) is None
    state = claims.dig_up(4, 9)
    assert state is not None and (state.clock, state.subject, state.json, state.seen) == (4, "ana", None, 9)
    assert claims.dig_up(4, 9) is None
    claims.bury(6, State(MAX_CLOCK + 1, None, LEFT, None, 0))
    assert claims.dig_up(6, 9) is not None, "who comes back with more would not be believed"


def test_a_claim_is_settled_when_its_owner_stays_silent():
    old, new = Editor(), Editor()
    states = {7: held(old)}
    claims = Claims(states)
    claims.enter(old)
    claims.enter(new)
    claims.make(7, states[7], Claim(new, 6, "[]"), 0)
    assert old.challenges == 1 and claims.settle(PATIENCE_SECONDS) == []
    assert [(client, claim.owner) for client, claim in claims.settle(PATIENCE_SECONDS + 0.1)] == [(7, new)]
    claims.alive(old, 5)
    assert claims.settle(100) == [] and states[7].claim is None


def test_nobody_is_asked_again_and_again():
    old, new = Editor(), Editor()
    states = {7: held(old)}
    claims = Claims(states)
    claims.enter(old)
    claims.enter(new)
    for tenth in range(1_000):
        claims.make(7, states[7], Claim(new, 6 + tenth, "[]"), tenth / 10)
        claims.alive(old, tenth / 10)
    assert old.challenges == 100 / ASK_SECONDS and claims.foreign == 1_000


def test_a_claim_of_one_who_left_is_dropped():
    states = {7: held("old")}
    claims = Claims(states)
    claims.enter("old")
    claims.enter("new")
    claims.make(7, states[7], Claim("new", 6, "[]"), 0)
    claims.leave("new")
    assert claims.settle(UNASKED_SECONDS + 1) == [] and states[7].claim is None
