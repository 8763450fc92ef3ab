"""Who is here, and where their cursor stands: the awareness states of one room. Synchronous; time is an argument.

A state is applied first and told to others only when its clock really moved: every y-websocket client sends back each
change it hears, and blind relaying turns one cursor move among 16 clients into 256 frames. A connection that leaves
takes the ids it introduced with it. Nothing here is ever stored.

Whose an id is: `claims.py`.

Source: y-protocols/awareness.js; docs/reference/protocol.md, 2.5.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

from .claims import LEFT, MAX_CLOCK, MAX_STEP, Claim, Claims, State
from .errors import TooLarge
from .wire.awareness import entry, is_gone, joined, newest, read_text
from .wire.states import parse_state, stamped

TOMBSTONE_SECONDS = 60.0
"""How long the clock of someone who left is remembered, so that a late echo does not bring them back."""
LEAST_ENTRIES = 10_000
"""So many states may stand in one message at least, however few a room shows: clients repeat all that is new to them,
and speak of those who went meanwhile."""


class Presence:
    """The awareness states of one room.

    Args:
        forget_seconds: A state that was not renewed for so long is gone (clients renew every 15 s).
        max_bytes: The largest state of one client, in bytes.
        max_ids: How many ids are known at once; further ones are not taken in.
        max_ids_each: How many one connection may introduce; further ones are not taken in.

    Attributes:
        surplus: How many ids were not taken in, as there were too many.
    """

    def __init__(
        self,
        *,
        forget_seconds: float = 30.0,
        max_bytes: int = 65_536,
        max_ids: int = 10_000,
        max_ids_each: int | None = None,
    ) -> None:
        self.forget_seconds = forget_seconds
        self.max_bytes = max_bytes
        self.max_ids = max_ids
        self.max_entries = max(max_ids, LEAST_ENTRIES)
        self.news_bytes = 2 * max_bytes
        self.max_ids_each = max_ids if max_ids_each is None else max_ids_each
        self.surplus = 0
        self._states: dict[int, State] = {}
        self._graves: dict[int, None] = {}
        self._claims = Claims(self._states, max_ids)
        self._owned: dict[object, int] = {}

    def enter(self, owner: object) -> None:
        """`owner` has come. What it says of somebody who went before that is no echo."""
        self._claims.enter(owner)

    def apply(self, update: bytes, owner: object, now: float) -> list[int]:
        """Take in an awareness update from `owner` (None is the server itself); returns the ids that really changed.

        Args:
            update: As y-protocols encodes it.
            owner: The connection, maybe a `Person`.
            now: Monotonic seconds.

        Raises:
            BadMessage: It is malformed, or a state is not JSON. Nothing was changed.
            TooLarge: A state is over `max_bytes`. Nothing was changed.
        """
        if owner is not None and not getattr(owner, "may_be_seen", True):
            return []
        stood = newest(update, self.max_entries)
        entries = self._read(update, stood, owner, now)
        self.alive(owner, now)
        if owner not in self._claims.home:
            self._claims.first_words(stood, owner)
            self._at_home(stood, owner)
        changed = []
        for client, clock, text in entries:
            known = self._states.get(client)
            if known is None:
                # An unknown client counts as clock 0, as in y-protocols: the first state `{}` of a client that has
                # nothing to say yet is not news, and other clients would not take it either.
                if clock == 0 or text is None or not self._has_place(owner):
                    continue
                self._states[client] = State(clock, text, LEFT, None, now)
                self._own(client, self._states[client], owner)
                self._states[client].second = False
            elif text is None:
                # Only the connection that introduced an id may remove it: a tab that fell asleep lets its peers time
                # out and says so with their own clock, which would blank them for everybody.
                if known.owner is not owner or known.json is None:
                    continue
                if clock < known.clock and (known.base is None or clock <= known.base):
                    continue
                if clock < known.clock:
                    known.base = clock
                known.clock = max(known.clock, clock)
                self._gone(client, known, now)
            elif clock > known.clock or self._counts(client, known, owner, clock):
                if not self._claims.may_say(known, owner):
                    self._claims.make(client, known, Claim(owner, clock, text), now)
                    continue
                self._set(client, known, owner, clock, text, now)
            else:
                continue
            changed.append(client)
        return changed

    def alive(self, owner: object, now: float) -> None:
        """`owner` said something. To be told of any message of a connection that was challenged."""
        self._claims.alive(owner, now)

    def leave(self, owner: object, now: float) -> list[int]:
        """Remove all states that `owner` introduced; returns the ids that changed."""
        self._claims.leave(owner)
        changed = []
        for client, state in self._states.items():
            if state.owner is not owner:
                continue
            claim, was_here = state.claim, state.json is not None
            self._claims.drop(client, state)
            state.owner = LEFT
            if claim is not None and claim.owner in self._claims.came:
                self._set(client, state, claim.owner, claim.clock, claim.json, now)
            elif was_here:
                self._gone(client, state, now)
            else:
                continue
            changed.append(client)
        self._owned.pop(owner, None)
        return changed

    def expire(self, now: float) -> list[int]:
        """Remove the states that were not renewed in time, renew the server's own; returns the ids that changed."""
        changed = []
        for client, claim in self._claims.settle(now):
            self._set(client, self._states[client], claim.owner, claim.clock, claim.json, now)
            changed.append(client)
        late, own = [], []
        for client, state in tuple(self._states.items()):
            age = now - state.seen
            if state.json is None:
                if age > TOMBSTONE_SECONDS:
                    self._forget(client)
            elif state.owner is not None:
                if age > self.forget_seconds:
                    late.append(client)
            elif age > self.forget_seconds / 2:
                state.clock, state.seen = state.clock + 1, now
                own.append(client)
        for client in late:
            self._gone(client, self._states[client], now)
        return changed + late + own

    # ------------------------------------------------------------------ whose is it

    def _at_home(self, stood: Mapping[int, tuple[int, int, int]], owner: object) -> None:
        """`owner` has said which id is its own.

        Tabs of one browser tell each other (BroadcastChannel), and pass that on: a tab may be the first to speak of
        another one's id, and even be ahead of it.
        """
        home = self._claims.home.get(owner)
        state = None if home is None else self._states.get(home)
        if (
            home is not None
            and state is not None
            and state.json is not None
            and state.owner in self._claims.came
            and self._claims.home.get(state.owner) not in (home, None)
            and state.subject == getattr(owner, "subject", None)
        ):
            self._claims.drop(home, state)
            self._own(home, state, owner)
            if stood[home][0] < state.clock:
                state.base = stood[home][0]
                self._overtake(home, state)

    def _counts(self, client: int, known: State, owner: object, clock: int) -> bool:
        """Whether it is news with a clock that is not higher: of one who is back, or of oneself."""
        if known.owner is owner and known.base is not None:
            return clock > known.base
        if known.owner is not owner and self._claims.own.get(owner) == client:
            return True
        return clock == known.clock and self._claims.is_back(known, owner)

    @property
    def foreign(self) -> int:
        """How often somebody said something new of another connection's id, and was not believed."""
        return self._claims.foreign

    # ------------------------------------------------------------------ the states

    def _set(self, client: int, state: State, owner: object, clock: int, text: str, now: float) -> None:
        behind = clock < state.clock or (clock == state.clock and state.json is not None)
        was_told = state.owner is owner and state.base is not None
        if owner is not None:
            state.base = clock if behind else None
        state.clock = state.clock + 1 if behind else clock
        state.json, state.seen = text, now
        self._graves.pop(client, None)
        self._claims.drop(client, state)
        if owner is not None:  # the server speaks for the owner and does not become it
            self._own(client, state, owner)
        if behind and not was_told:
            self._overtake(client, state)

    def _overtake(self, client: int, state: State) -> None:
        overtake = getattr(state.owner, "overtake", None)
        if overtake is not None:
            overtake(client, state.clock)

    def _own(self, client: int, state: State, owner: object) -> None:
        subject = getattr(owner, "subject", None)
        if state.owner is not owner:
            self._disown(state)
            state.second = subject is None or subject != state.subject
            state.owner = owner
            state.home = self._claims.home.get(owner) == client
            self._owned[owner] = self._owned.get(owner, 0) + 1
        state.subject = subject

    def _disown(self, state: State) -> None:
        left = self._owned.pop(state.owner, 0) - 1
        if left > 0:
            self._owned[state.owner] = left

    def _gone(self, client: int, state: State, now: float) -> None:
        state.json, state.seen, state.gone = None, now, self._claims.count
        self._graves[client] = None

    def _forget(self, client: int) -> None:
        state = self._states.pop(client)
        self._claims.bury(client, state)
        self._graves.pop(client, None)
        self._claims.drop(client, state)
        self._disown(state)

    def _has_place(self, owner: object) -> bool:
        """Whether `owner` may introduce one more id. Those who went make room for those who are here."""
        if self._owned.get(owner, 0) >= self.max_ids_each and owner is not None:
            self.surplus += 1
            return False
        if len(self._states) >= self.max_ids:
            if not self._graves:
                self.surplus += 1
                return False
            self._forget(next(iter(self._graves)))
        return True

    def ids(self) -> list[int]:
        """The ids of all who are here."""
        return [client for client, state in self._states.items() if state.json is not None]

    def states(self) -> dict[int, object]:
        """The states of all who are here, decoded."""
        return {client: json.loads(state.json) for client, state in self._states.items() if state.json is not None}

    def encode(self, ids: Iterable[int]) -> bytes:
        """The awareness update that tells the newest state of each of `ids` ("null" for who is gone)."""
        return self.tell(ids)[0]

    def tell(self, ids: Iterable[int]) -> tuple[bytes, dict[object, int]]:
        """`encode`, and how many bytes of it each connection said itself."""
        entries = []
        own: dict[object, int] = {}
        for client in ids:
            state = self._states.get(client)
            if state is not None:
                made = entry(client, state.clock, state.json)
                own[state.owner] = own.get(state.owner, 0) + len(made)
                entries.append(made)
        return joined(entries), own

    def withheld(self, owner: object, ids: Collection[int]) -> list[int]:
        """Those of `ids` whose states `owner` is not to be told, now or ever: they may be its own, shown by others."""
        claims = self._claims
        if owner in claims.met and claims.own.get(owner) not in ids:  # nearly always, for each client at each move
            return []
        return claims.withheld(owner, ids)

    def meet(self, owner: object) -> list[int]:
        """`owner` has said what it had to say first; returns the ids that were withheld from it until now."""
        ids = self._claims.withheld(owner, self.ids())
        self._claims.met.add(owner)
        own = self._claims.withheld(owner, ids)
        return [client for client in ids if client not in own]

    def _known(self, client: int, now: float) -> State | None:
        state = self._states.get(client)
        if state is None and (len(self._states) < self.max_ids or self._graves):
            state = self._claims.dig_up(client, now)
            if state is not None:
                if len(self._states) >= self.max_ids:
                    self._forget(next(iter(self._graves)))
                self._states[client] = state
                self._graves[client] = None
        return state

    def _read(
        self, update: bytes, stood: Mapping[int, tuple[int, int, int]], owner: object, now: float
    ) -> list[tuple[int, int, str | None]]:
        """What is new in `update`: client id, clock and state (None for "gone") of each.

        Of what is no news no state is read, and of news only so many are: a message has 16 MiB, and the loop waits.
        """
        user = None if owner is None else getattr(owner, "user", None)
        entries: list[tuple[int, int, str | None]] = []
        strangers, left = 0, self.news_bytes
        first = len(stood) == 1 and owner in self._claims.came and owner not in self._claims.home
        for client, (clock, begin, end) in stood.items():
            known = self._known(client, now)
            if (
                known is not None
                and self._says_nothing(client, known, clock, owner)
                and not (first and not self._claims.is_echo(known, clock, owner))
            ):
                if clock != known.clock or known.owner is not owner or not is_gone(update, begin, end):
                    continue
            if owner is not None and clock > max(MAX_CLOCK, 0 if known is None else known.clock + MAX_STEP):
                continue
            size = end - begin
            if size > self.max_bytes:  # not before: what comes back may be longer than what was sent
                raise TooLarge("an awareness state", size, self.max_bytes)
            if owner is not None and (known is None or known.owner is not owner):
                strangers += 1
            left -= size
            if owner is not None and (strangers > self.max_ids_each or left < 0):
                self.surplus += 1
                continue
            text = read_text(update, begin, end)
            if parse_state(text) is None:
                entries.append((client, clock, None))
            else:
                entries.append((client, clock, text if user is None else stamped(text, user)))
        return entries

    def _says_nothing(self, client: int, known: State, clock: int, owner: object) -> bool:
        """Whether its clock makes a state no news, whatever it is: nearly all are echoes."""
        return clock <= known.clock and not self._counts(client, known, owner, clock)
