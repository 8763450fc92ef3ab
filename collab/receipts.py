"""What a client was promised an answer for: "this is saved". The ack rule, for one seat.

An update is acknowledged when the store has committed the position of the journal that covers it, never before. The
room says when it took an update in whole (`settled`); a duplicate then waits for the journal's current position. What
the room let go (`adrift`), or what the journal had to give up, is not forgotten: its sender is asked for all that is
lacking, and its answer settles these, too, if the question was asked after they were let go.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .metrics import Distribution
from .wire.messages import SAVED, Echo, Message, Saved


class Claims:
    """What a client said that it has; in little space when that are many clients, which it may choose itself.

    Args:
        clocks: Client id -> next clock.
    """

    __slots__ = ("_clients", "_clocks")

    def __init__(self, clocks: Mapping[int, int]) -> None:
        self._clients = array("Q", sorted(clocks))
        self._clocks = array("I", [clocks[client] for client in self._clients])

    def has(self, client: int, end: int) -> bool:
        """Whether it has all of `client` before the clock `end`."""
        at = bisect_left(self._clients, client)
        return at < len(self._clients) and self._clients[at] == client and end <= self._clocks[at]


class Ledger(Protocol):
    """A journal, as far as receipts know it: positions that grow, and when they are committed."""

    @property
    def accepted(self) -> int:
        """The newest position."""

    def when(self, position: int, call: Callable[[bool], None]) -> None:
        """Call with True once `position` is committed, with False when it never will be; at once if it is known."""


@dataclass(slots=True, eq=False)
class Receipt:
    """One update, or one question, that the client waits to hear of.

    Args:
        receipts: Whose it is.
        number: Its place in the order that the client sent things in.
        at: When it came (monotonic seconds).
        echo: What to say in the end, when it is y-sweet's question; else it is an update.
        count: In which of its counts the client counts an acknowledgement for it; None: in none.
        covers: What was let go before the question that this answers: the answer has all of that.
    """

    receipts: Receipts
    number: int
    at: float
    echo: bytes | None = None
    count: int | None = None
    covers: Sequence[Receipt] = ()

    def settled(self) -> None:
        """The document has it in whole."""
        self.receipts.settle(self)

    def adrift(self) -> None:
        """It was let go."""
        self.receipts.lose(self)

    def landed(self, committed: bool) -> None:
        """The store has it, or never will."""
        self.receipts.land((self,), committed)


@dataclass(slots=True)
class _Question:
    """A sync step 1 that the client was sent; `count` and `covers` as its answer's receipt will have them."""

    count: int | None
    covers: list[Receipt]


class Receipts:
    """The receipts of one seat.

    Hocuspocus clients count: plus one for each update that they send, and one for the answer (sync step 2) to the
    question that follows their own sync step 1; minus one for each acknowledgement. An answer to a question that the
    room had of its own is not counted there, so it is not acknowledged: one too many would say "saved" of an update
    that is still on its way. With each sync step 1 of theirs the count begins anew: what was sent before is not
    acknowledged any more, the answer to the question that follows stands for all of it.

    Args:
        ledger: The room's journal.
        say: Sends a message to the client.
        latency: Time from taking an update in until its acknowledgement, in seconds.
        clock: Gives monotonic seconds.

    Attributes:
        spoiled: Whether something that the client sent was refused.
    """

    def __init__(
        self, ledger: Ledger, say: Callable[[Message], None], latency: Distribution, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._say = say
        self._latency = latency
        self._clock = clock
        self._next = 0
        self._count = 0
        self._questions: deque[_Question] = deque()
        self._open: dict[int, Receipt] = {}
        self._adrift: list[Receipt] = []
        self._echoes: list[Receipt] = []
        self._closed = False
        self.spoiled = False

    def restart(self) -> None:
        """The client sent a sync step 1: its count begins anew."""
        self._count += 1

    def asks(self, *, own: bool, covers: bool = True) -> None:
        """The client is sent a sync step 1: in answer to its own, or because the room has a question (`own`).

        With `covers` the state vector has nothing of what is adrift now, so the answer will have it.
        """
        self._questions.append(_Question(None if own else self._count, list(self._adrift) if covers else []))

    @property
    def greeting(self) -> bool:
        """Whether the client has still to answer the question that followed its own sync step 1."""
        return any(question.count == self._count for question in self._questions)

    @property
    def asked(self) -> bool:
        """Whether the client has any question still to answer."""
        return bool(self._questions)

    def update(self, now: float, *, counted: bool = True) -> Receipt:
        """A receipt for an update that came just now."""
        return self._made(Receipt(self, self._next, now, count=self._count if counted else None))

    def answer(self, now: float) -> Receipt:
        """A receipt for a sync step 2 that came just now: the answer to the oldest open question, if there is one."""
        question = self.answered() or _Question(self._count, [])
        return self._made(Receipt(self, self._next, now, count=question.count, covers=question.covers))

    def answered(self) -> _Question | None:
        """The oldest open question, which is open no longer."""
        return self._questions.popleft() if self._questions else None

    def echo(self, data: bytes, now: float) -> Receipt:
        """A receipt for a question whether all that came before is saved."""
        return self._made(Receipt(self, self._next, now, echo=data))

    def owed(self, now: float) -> None:
        """Something that the client sent before it wanted to know was not taken in yet: its next answer has it."""
        receipt = self.update(now)
        self.lose(receipt)
        for question in self._questions:
            question.covers.append(receipt)

    def refused(self, receipt: Receipt | None) -> None:
        """An update will never be saved: say so. From now on no echo would be the truth."""
        self.spoiled = True
        if receipt is not None:
            self._open.pop(receipt.number, None)
            if receipt.count == self._count:
                self._say(Saved(False))

    def _made(self, receipt: Receipt) -> Receipt:
        self._next += 1
        self._open[receipt.number] = receipt
        return receipt

    def settle(self, receipt: Receipt) -> None:
        """The document has what `receipt` is for, and the journal was told of it."""
        if self._closed:
            return
        if receipt.echo is None and not (receipt.covers or self._echoes):
            self._open.pop(receipt.number, None)
            self._ledger.when(self._ledger.accepted, receipt.landed)
            return
        settled = [receipt]
        if receipt.covers:
            covered = set(receipt.covers)
            settled += [lost for lost in self._adrift if lost in covered]
            self._adrift = [lost for lost in self._adrift if lost not in covered]
        waiting = {other for other in settled if other.echo is not None and self._earlier(other)}
        if waiting:
            self._echoes = sorted([*self._echoes, *waiting], key=lambda echo: echo.number)
        settled = [other for other in settled if other not in waiting]
        for other in settled:
            self._open.pop(other.number, None)
        while self._echoes and not self._earlier(self._echoes[0]):  # the oldest stands first
            echo = self._echoes.pop(0)
            self._open.pop(echo.number, None)
            settled.append(echo)
        self._ledger.when(self._ledger.accepted, lambda committed: self.land(settled, committed))

    def lose(self, receipt: Receipt) -> None:
        """What `receipt` is for has to come again."""
        if self._closed:
            return
        self._open.setdefault(receipt.number, receipt)
        self._adrift.append(receipt)

    def close(self) -> None:
        """Nobody is there any more who could be told."""
        self._closed = True
        self._questions.clear()
        self._open.clear()
        self._adrift.clear()
        self._echoes.clear()

    def _earlier(self, receipt: Receipt) -> bool:
        """Whether something that came before it is still open (the oldest stands first, but for what was lost)."""
        return any(number < receipt.number and other.echo is None for number, other in self._open.items())

    def land(self, receipts: Iterable[Receipt], committed: bool) -> None:
        """The store has what `receipts` are for, or never will."""
        if self._closed:
            return
        if not committed:
            for receipt in receipts:
                self.lose(receipt)
            return
        now = self._clock()
        for receipt in receipts:
            if receipt.echo is not None:
                self._say(Echo(receipt.echo))
            elif receipt.count == self._count:
                self._latency.observe(now - receipt.at)
                self._say(SAVED)
