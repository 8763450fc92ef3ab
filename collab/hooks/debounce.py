"""When a room that changes is told of: once it has been quiet for a while, or has waited long enough."""

from __future__ import annotations


class Debounce:
    """The rooms that changed and were not told of.

    Args:
        quiet: Seconds for which a room stays as it is before it is due.
        longest: Seconds after its first change when it is due all the same.
    """

    def __init__(self, quiet: float, longest: float) -> None:
        self._quiet, self._longest = quiet, longest
        self._rooms: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def touch(self, room: str, now: float) -> None:
        """It changed just now (monotonic seconds). Called for each room of each commit."""
        known = self._rooms.get(room)
        if known is None:
            self._rooms[room] = [now, now]
        else:
            known[1] = now

    def due(self, now: float) -> list[str]:
        """Those that are due; they are taken out."""
        found = [
            room
            for room, (first, last) in self._rooms.items()
            if now - last >= self._quiet or now - first >= self._longest
        ]
        for room in found:
            del self._rooms[room]
        return found

    def all(self) -> list[str]:
        """All of them; they are taken out."""
        found = list(self._rooms)
        self._rooms.clear()
        return found
