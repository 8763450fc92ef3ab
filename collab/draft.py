"""A document on its way into memory: a checkpoint, and the rows of the log on top of it.

Nearly all rows of nearly all logs build on what came before them, cut no character and nest nothing deep, and most add
a letter behind the one before. Such rows are taken in as a room takes them in (`replica.take_late`): letters are joined
before yrs sees them. What is not so is for `recovery.py` to look at closely, from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint as let_others_run
from pycrdt import Doc

from . import vetting
from .errors import BadMessage, BadUpdate, DamagedRoom
from .fence import Panic, fenced
from .store import Row
from .wire import ahead, vet
from .wire.halves import Pairs
from .wire.keyed import Keyed
from .wire.keystroke import Typed
from .wire.nesting import Nesting
from .wire.seams import seams
from .wire.structs import Extent

SLICE = 200
"""Rows applied between two turns of the event loop: about a millisecond."""
SLICE_BYTES = 32 * 1024
"""And so many bytes of them."""


@dataclass(slots=True)
class Draft:
    """A document on its way, with what it has and how deep it goes."""

    doc: Doc[Any]
    clocks: dict[int, int]
    nesting: Nesting
    keyed: Keyed
    _pairs: Pairs = field(default_factory=Pairs)

    def take(self, update: bytes) -> None:
        """Apply what fits of `update`, as a room does: yrs can be killed by what it keeps waiting itself.

        Raises:
            BadUpdate: It nests shared types too deep.
        """
        extent = vet.parse(update)
        if extent.missing(self.clocks):
            update = vet.split(update, self.clocks)
            extent = vet.parse(update)
        if extent.types and not self.nesting.admit(update, self.clocks, self.doc.get_update):
            raise BadUpdate("it nests shared types too deep")
        with self.doc.transaction():
            self._apply(update, extent, None)
        self._advance(extent)

    def take_all(self, rows: list[tuple[int, Extent]], updates: list[bytes], poison: list[int]) -> None:
        """Apply `updates`; the number of one that nests shared types too deep joins `poison`."""
        with self.doc.transaction():
            for (number, extent), update in zip(rows, updates, strict=True):
                if extent.types and not self.nesting.admit(update, self.clocks, self.doc.get_update):
                    poison.append(number)
                else:
                    self._apply(update, extent, None)
                    self._advance(extent)

    def _apply(self, update: bytes, extent: Extent, pairs: Pairs | None) -> None:
        if (cuts := seams(extent, self.clocks, pairs)) is not None:
            self.doc.apply_update(cuts)
        self.doc.apply_update(update)

    async def take_plain(self, checkpoint: bytes | None, rows: Sequence[Row]) -> bool:
        """Take in the rows of a log, if there is nothing about them that wants a closer look.

        Args:
            checkpoint: What the draft was made from.
            rows: All that came after it.

        Returns whether that is so. If not, this draft is good for nothing.
        """
        if checkpoint is not None and rows:  # without rows nothing is cut
            await vetting.aside(len(checkpoint), self._pairs.merge, checkpoint)
        try:
            for updates in _slices(rows):
                long = {one: await vetting.extent(one) for one in updates if len(one) >= vetting.LONG}
                about = self._pairs, self.nesting, self.keyed
                for one, extent in long.items():  # it is all there is in this slice
                    await vetting.aside(len(one), ahead.look, *about, one, extent, self.clocks)
                if not fenced(self._take_plain, updates, long):
                    return False
                ahead.overlook(*about)
                await let_others_run()
            there = vet.parse_state_vector(fenced(self.doc.get_state))
        except (BadMessage, Panic):
            return False
        return there == self.clocks and self.can_be_written()

    def _take_plain(self, updates: Iterable[bytes], vetted: Mapping[bytes, Extent]) -> bool:
        typed, clocks, pairs, keyed = Typed(), self.clocks, self._pairs, self.keyed
        with self.doc.transaction():
            for update in updates:
                if (moved := typed.follow(update)) is not None:
                    clocks[moved[0]] = moved[1]
                    continue
                extent = (vetted and vetted.get(update)) or vet.parse(update)
                if extent.missing(clocks):
                    return False
                if len(extent.structs) == 1 and not extent.deletes:
                    client, start, end = extent.structs[0]
                    if start == clocks.get(client, 0) and not pairs.touched(update, extent):
                        if not keyed.touched(extent) and typed.add(update, client, start, end):
                            clocks[client] = end
                            continue
                if pairs.cut(update, clocks):
                    return False
                if typed:
                    self.doc.apply_update(typed.joined())
                    typed = Typed()
                if extent.types and not self.nesting.admit(update, self.clocks, self.doc.get_update):
                    return False
                self._apply(update, extent, pairs)
                pairs.add(update, clocks)
                self._advance(extent)
            if typed:
                self.doc.apply_update(typed.joined())
        return True

    def _advance(self, extent: Extent) -> None:
        self.keyed.add(extent, self.clocks)
        for client, _, end in extent.structs:
            self.clocks[client] = max(end, self.clocks.get(client, 0))

    def can_be_written(self) -> bool:
        """Whether yrs can encode what it has taken in: what cannot be told to a client is no document."""
        try:
            fenced(self.doc.get_update)
        except Panic:
            return False
        return True


def _slices(rows: Sequence[Row]) -> Iterator[list[bytes]]:
    """The updates of `rows`, so many at a time as take about a millisecond."""
    some: list[bytes] = []
    size = 0
    for row in rows:
        if some and (len(some) == SLICE or size + len(row.update) > SLICE_BYTES):
            yield some
            some, size = [], 0
        some.append(row.update)
        size += len(row.update)
    if some:
        yield some


async def from_checkpoint(room: str, checkpoint: bytes | None) -> Draft:
    """The draft of a room that has this checkpoint, or none, and no rows yet.

    Raises:
        DamagedRoom: It cannot be read, or builds on something that is not there.
    """
    doc: Doc[Any] = Doc()
    nesting, keyed = Nesting(), Keyed()
    if checkpoint is None:
        return Draft(doc, {}, nesting, keyed)
    try:
        extent = await vetting.extent(checkpoint)
        admit = partial(nesting.admit, checkpoint, {}, lambda: checkpoint)
        if extent.types and not await vetting.aside(len(checkpoint), admit):
            raise BadUpdate("it nests shared types too deep")
        fenced(doc.apply_update, checkpoint)
        clocks = vet.parse_state_vector(fenced(doc.get_state))
    except (BadMessage, Panic) as error:
        raise DamagedRoom(room, f"its checkpoint cannot be read ({error})") from error
    if not extent.within(clocks):
        raise DamagedRoom(room, "its checkpoint builds on something that is not there")
    keyed.add(extent, {})
    return Draft(doc, clocks, nesting, keyed)
