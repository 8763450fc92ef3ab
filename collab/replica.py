"""A room's replica of the shared document, and what is known of it without asking yrs: clocks, characters, depth.

Synchronous: no I/O, no asyncio, no clock. Asking the document costs the more the more clients ever wrote, so what it
has is kept in a dict and moved with each update. Three things that yrs does not survive or does not write down again
are watched beside it: characters that somebody cuts in two (`wire/halves.py`), shared types nested without end
(`wire/nesting.py`), and structs that are slipped in among the values of a key (`wire/keyed.py`).

Letters go into the document late: what they are is known without it, and to take them in one by one costs more than all
else that becomes of them, the longer their author's text is, the more. They wait in `Typed`, until there are many or
somebody looks at the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from pycrdt import Doc, Subscription, TransactionEvent

from .errors import BadMessage, BadUpdate
from .fence import Panic, fenced
from .wire import halves, vet
from .wire.keyed import Keyed
from .wire.keystroke import Typed
from .wire.nesting import Nesting
from .wire.seams import cuts_much, seams
from .wire.structs import Point, walk
from .wire.vet import Extent

_NONE: set[Point] = set()

LATE_UPDATES = 100
"""So many updates go into the document together, at most: a few milliseconds of work for whoever asks for it."""


class Hand(Protocol):
    """Who writes down what is in hand while the library works, for the case that the process ends there."""

    def hold(self, updates: Sequence[bytes]) -> int:
        """These are about to be applied; returns what `drop` is to be given."""

    def drop(self, place: int) -> None:
        """They have been."""


class _Nobody:
    """Nothing is written down."""

    def hold(self, updates: Sequence[bytes]) -> int:
        return 0

    def drop(self, place: int) -> None: ...


class _Recording:
    """See `Replica.recording`. A class, as a generator takes three times as long, once a tick."""

    __slots__ = ("_replica",)

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __enter__(self) -> list[bytes]:
        self._replica.applying = True
        return self._replica._events

    def __exit__(self, *exc: object) -> None:
        self._replica.applying = False
        self._replica._events = []


class Replica:
    """One document with its clocks.

    Args:
        doc: The document; nobody else may apply updates to it while `recording`.
        nesting: How deep its shared types are nested, if somebody knows.
        edited: Called when the application edited the document itself.
        keyed: Where it has values of keys, if somebody knows.

    Attributes:
        clocks: What it has, or is about to take in: client id -> next clock.
        version: Grows with every change of the document that was told (`told`).
        applying: Whether updates are applied now, so that what the document reports is not the application's.
        at_once: Whether nothing is taken in late, since somebody looks at the document all the time.
        hand: Who writes down what is in hand.
        pairs, nesting, keyed: Its characters of two code units; how deep it is nested; its values of keys.
    """

    def __init__(
        self, doc: Doc[Any], nesting: Nesting | None, edited: Callable[[], object], keyed: Keyed | None = None
    ) -> None:
        self.version = 0
        self.applying = False
        self.at_once = False
        self.hand: Hand = _Nobody()
        self._edited = edited
        self._late = Typed()
        self._outside: list[bytes] = []
        self._events: list[bytes] = []
        self._full: bytes | None = None
        self._subscription: Subscription | None = None
        self.clocks: dict[int, int]
        self.pairs: halves.Pairs
        self.nesting: Nesting
        self.keyed: Keyed
        self.replace(doc, nesting, keyed)

    def replace(self, doc: Doc[Any], nesting: Nesting | None = None, keyed: Keyed | None = None) -> None:
        """From now on this is the replica of `doc`. What the application wrote into the one before is forgotten."""
        self._late = Typed()
        self._observe(doc)
        whole = self.difference(b"\x00") if self.clocks else vet.EMPTY  # kept for whoever joins first
        self.pairs = halves.Pairs()
        with suppress(BadUpdate):  # what nobody may send, the owner of the document may have written
            self.pairs.add(whole, {})
        if nesting is None:
            nesting = Nesting(None if len(whole) > len(vet.EMPTY) else 0)
        self.nesting = nesting
        if keyed is None:
            keyed = Keyed()
            with suppress(BadMessage):
                keyed.add(walk(whole), {})
        self.keyed = keyed
        self._outside.clear()

    def _observe(self, doc: Doc[Any]) -> None:
        self.close()
        self._doc = doc
        self.clocks = vet.parse_state_vector(fenced(doc.get_state))
        self.version += 1
        self._full = None
        self._subscription = doc.observe(self._changed)

    def close(self) -> None:
        """Let go of the document."""
        if self._subscription is not None:
            self._doc.unobserve(self._subscription)
            self._subscription = None

    @property
    def doc(self) -> Doc[Any]:
        """The document, with all that was taken in. Another object after `mend` and `replace`.

        Raises:
            Panic: yrs failed at what it was to take in late.
        """
        self.catch_up()
        return self._doc

    @property
    def busy(self) -> bool:
        """Whether somebody holds a transaction."""
        return self._doc._txn is not None

    @property
    def looks(self) -> int:
        """How often the whole document was looked at, to tell how deep it is."""
        return self.nesting.looks

    # ------------------------------------------------------------------ what the document reports

    def recording(self) -> _Recording:
        """Within (`with`), what the document reports comes of updates that are applied here; it goes into a list."""
        return _Recording(self)

    def _changed(self, event: TransactionEvent) -> None:
        if (update := event.update) == vet.EMPTY:
            return
        if self.applying:
            self._events.append(update)
        else:
            self._outside.append(update)
            self._edited()

    def told(self) -> None:
        """What changed is being told: who asks from now on (`difference`) gets it as part of the whole."""
        self.version += 1
        self._full = None  # as large as the document, and of no more use

    @property
    def outside(self) -> tuple[bytes, ...]:
        """What the application wrote since `take_outside`, as updates."""
        return tuple(self._outside)

    def take_outside(self, begun: dict[int, int]) -> list[bytes]:
        """What the application wrote: it counts from now on. Notes in `begun` how the clocks were that it moved."""
        outside, self._outside = self._outside, []
        try:
            for update, extent in [(update, vet.parse(update)) for update in outside]:
                self.pairs.add(update, self.clocks)
                self.keyed.add(extent, self.clocks)
                if extent.types:
                    self.nesting.admit(update, self.clocks, self.doc.get_update)
                self._advance(extent, begun)
        except BadUpdate:  # what nobody may send, the owner of the document may write
            for client, clock in vet.parse_state_vector(fenced(self.doc.get_state)).items():
                self._advance(Extent(((client, 0, clock),), (), {}), begun)
        return outside

    # ------------------------------------------------------------------ what is here

    def state_vector(self, before: Mapping[int, int] | None = None) -> bytes:
        """What the document has, as a state vector; with the clocks in `before`, what it had when they were those."""
        if not before:
            return vet.state_vector(self.clocks)
        return vet.state_vector({client: clock for client, clock in {**self.clocks, **before}.items() if clock})

    def difference(self, state_vector: bytes) -> bytes:
        """One update with all that a document with `state_vector` lacks, and all deletions.

        Raises:
            Panic: yrs could not make it.
        """
        if state_vector != b"\x00":
            return fenced(self.doc.get_update, state_vector)
        if self._full is None:  # a join storm asks for the same thing again and again
            self._full = fenced(self.doc.get_update)
        return self._full

    def has(self, extent: Extent) -> bool:
        """Whether the document has all structs and all deletions of `extent` already.

        Raises:
            Panic: yrs could not tell.
        """
        if extent.missing(self.clocks) or any(end > self.clocks.get(client, 0) for client, _, end in extent.structs):
            return False
        if not extent.deletes:
            return True
        deleted: dict[int, list[tuple[int, int]]] = {}
        for client, start, end in vet.parse(fenced(self.doc.get_update, self.state_vector())).deletes:
            deleted.setdefault(client, []).append((start, end))
        return all(
            any(first <= start and end <= last for first, last in deleted.get(client, ()))
            for client, start, end in extent.deletes
        )

    # ------------------------------------------------------------------ applying

    def cuts(self, update: bytes) -> tuple[set[Point], bytes]:
        """Which characters of the document `update`, which fits it, cuts in two; they want to be mended first (`mend`).

        When there are none, the second is the update with those mended that it cuts of its own.
        """
        if not self.pairs.concern(update):
            return _NONE, update
        cut = self.pairs.cut(update, self.clocks)
        if not cut:
            return cut, update
        return {point for point in cut if point in self.pairs}, halves.mended(update, cut)

    def mend(self, points: set[Point], coming: Iterable[bytes]) -> list[bytes]:
        """Turn the characters at `points` into what Yjs makes of halves, and all others that `coming` updates cut.

        yrs cannot hold half a character, and what stands in a document cannot be changed: it is made anew, so `doc` is
        another object afterwards. Returns the updates, mended likewise.
        """
        updates = list(coming)
        theirs = set[Point]().union(*map(halves.pairs, updates))
        for update in updates:  # all at once, as this takes long in a large document
            cuts = halves.cuts(update, self.clocks)
            points = points | {point for point in cuts if point in self.pairs or point in theirs}
        doc: Doc[Any] = Doc(client_id=self.doc.client_id)
        doc.apply_update(halves.mended(self.doc.get_update(), points))
        self.pairs.forget(points)
        self._observe(doc)
        return [halves.mended(update, points) for update in updates]

    def apply(self, update: bytes, extent: Extent, begun: dict[int, int]) -> bool:
        """Take in `update`, which fits and cuts no character; returns whether a clock moved. Needs a transaction.

        Args:
            update, extent: A vetted update, and what it covers.
            begun: Gets the clocks that moved, as they were.

        Raises:
            BadUpdate: The document does not take it. Nothing of it was applied.
        """
        if vet.crowded(extent, self.clocks):
            raise BadUpdate(f"more than {vet.MAX_CLIENTS} clients have written in this document")
        if extent.types and not self.nesting.admit(update, self.clocks, self.doc.get_update):
            raise BadUpdate("shared types are nested too deep")
        if not self.keyed.fits(update, extent, self.clocks, self.doc.get_update):
            raise BadUpdate("something stands among the values of a key that is none")
        try:
            if (cuts := seams(extent, self.clocks, self.pairs)) is not None:
                self.doc.apply_update(cuts)
            self.doc.apply_update(update)
        except ValueError:  # nothing around it was harmed either
            raise BadUpdate("the document does not take this update") from None
        self.pairs.add(update, self.clocks)
        self.keyed.add(extent, self.clocks)
        return self._advance(extent, begun)

    def apply_plain(self, update: bytes, extent: Extent, begun: dict[int, int]) -> list[bytes] | None:
        """`apply`, in a transaction of its own, for what nine of ten ticks are: the next few letters of one client.

        Returns what the document reports; None when `update` wants a closer look, and nothing was done.

        Raises:
            Panic: yrs failed.
        """
        clocks = self.clocks
        if len(extent.structs) != 1 or extent.types or extent.keyed or cuts_much(extent) or self.pairs.concern(update):
            return None
        client, start, end = extent.structs[0]
        known = clocks.get(client, 0)
        if start != known or extent.missing(clocks) or (not known and vet.crowded(extent, clocks)):
            return None
        if not self.keyed.fits(update, extent, clocks, self.doc.get_update):
            return None
        self.applying = True
        try:
            fenced(self.doc.apply_update, update)
        except Panic as panic:
            if isinstance(panic.__cause__, ValueError):  # not taken; nothing around it was harmed
                return None
            raise
        finally:
            self.applying = False
            events, self._events = self._events, []
        self.keyed.add(extent, clocks)
        begun[client] = known
        clocks[client] = end
        return events

    def take_late(self, update: bytes, extent: Extent, begun: dict[int, int]) -> bool:
        """`apply` for what nine of ten updates are, the next few letters of one client: without the document, for now.

        The document would report just that update. Returns whether it is one of those; else nothing was done.

        Raises:
            Panic: yrs failed at what it was to take in now.
        """
        clocks = self.clocks
        if self.at_once or len(extent.structs) != 1:
            return False
        client, start, end = extent.structs[0]
        known = clocks.get(client, 0)
        if start != known or extent.missing(clocks) or extent.deletes or (not known and vet.crowded(extent, clocks)):
            return False
        if self.pairs.touched(update, extent) or self.keyed.touched(extent):
            return False
        if not self._late.add(update, client, start, end):
            return False
        begun.setdefault(client, known)
        clocks[client] = end
        if self._late.updates >= LATE_UPDATES:
            self.catch_up()
        return True

    def catch_up(self) -> None:
        """Take in what waits; raises `Panic`."""
        if not self._late:
            return
        update = self._late.joined()
        place = self.hand.hold((update,))
        self.applying = True
        try:
            fenced(self._doc.apply_update, update)  # when it fails they still wait, and whoever looks is told again
            self._late = Typed()
        finally:
            self.applying = False
            events, self._events = self._events, []
            self.hand.drop(place)
        there = {client: end for event in events for client, _, end in walk(event).structs}
        if there != {client: end for client, _, end in walk(update).structs}:
            self.clocks = vet.parse_state_vector(fenced(self._doc.get_state))  # what it has not taken in is asked for

    def _advance(self, extent: Extent, begun: dict[int, int]) -> bool:
        """All of `extent` is there now: move the clocks, note in `begun` how they were. Returns whether any moved."""
        moved = False
        for client, _, end in extent.structs:
            known = self.clocks.get(client, 0)
            if end > known:
                begun.setdefault(client, known)
                self.clocks[client] = end
                moved = True
        return moved

    def as_foreseen(self, news: list[Extent], begun: dict[int, int]) -> bool:
        """Whether the document reports (`news`) just the structs that the updates let expect."""
        if len(news) == 1 and len(begun) == 1 and len(news[0].structs) == 1:  # one author, most of the time
            client, start, end = news[0].structs[0]
            return begun.get(client) == start and self.clocks.get(client) == end
        ends: dict[int, int] = {}
        starts: dict[int, int] = {}
        for extent in news:
            for client, start, end in extent.structs:
                starts.setdefault(client, start)
                ends[client] = end
        return starts == begun and all(self.clocks.get(client) == end for client, end in ends.items())

    def surprised(self, news: list[Extent], begun: dict[int, int]) -> None:
        """What the document reports is not what the updates let expect. Its word counts."""
        self.clocks = vet.parse_state_vector(fenced(self.doc.get_state))
        begun.clear()
        begun.update({client: start for extent in reversed(news) for client, start, _ in extent.structs})
