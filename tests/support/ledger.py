"""Who wrote what, and who has it: the book that durability tests are audited against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable


class Ledger:
    """Edit ids and the stages they reached, e.g. "sent", "committed", "seen by anna".

    An id says where it came from and is unique: `ledger.new("writer3")` gives "writer3-0", "writer3-1", ...
    """

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()
        self._stages: dict[str, set[str]] = defaultdict(set)

    def new(self, writer: str) -> str:
        """The next edit id of a writer."""
        id_ = f"{writer}-{self._made[writer]}"
        self._made[writer] += 1
        self._stages["made"].add(id_)
        return id_

    def mark(self, stage: str, *ids: str) -> None:
        self._stages[stage].update(ids)

    def ids(self, stage: str) -> set[str]:
        return set(self._stages[stage])

    def missing(self, found: Iterable[str], stage: str = "made") -> list[str]:
        """The ids that reached `stage` and are not among `found`, sorted."""
        return sorted(self._stages[stage] - set(found))

    def counts(self) -> dict[str, int]:
        return {stage: len(ids) for stage, ids in self._stages.items()}

    def require(self, found: Collection[str], stage: str) -> None:
        """Fail unless everything that reached `stage` is among `found`."""
        lost = self.missing(found, stage)
        assert not lost, f"{len(lost)} of {len(self._stages[stage])} {stage} edits are missing: {lost[:10]}"
