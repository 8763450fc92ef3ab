"""What was revoked before its time: tokens by id, and subjects with all that was issued to them up to a moment."""

from __future__ import annotations

from ..errors import TooMany
from . import Grant


class Revocations:
    """Bounded lists of what no longer counts. Times are seconds since the epoch, and arguments.

    An entry is kept until nothing that it covers could count any more. When there is no room for another one it is
    refused: forgetting an older one would let somebody in again.

    Args:
        size: How many subjects, and how many tokens, there may be at once.
    """

    def __init__(self, size: int = 100_000) -> None:
        self.size = size
        self._tokens: dict[str, float] = {}
        self._subjects: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._tokens) + len(self._subjects)

    def revoke_token(self, token_id: str, until: float) -> None:
        """The token with this `jti` counts no more; the entry may go after `until`, when the token has expired anyway.

        Raises:
            TooMany: The list is full.
        """
        if token_id not in self._tokens and len(self._tokens) >= self.size:
            raise TooMany("revoked tokens", self.size)
        self._tokens[token_id] = max(until, self._tokens.get(token_id, until))

    def revoke_subject(self, subject: str, before: float, until: float) -> None:
        """All that was issued to the subject up to `before` counts no more; the entry may go after `until`.

        `iat` has whole seconds, so a token made in the very second of `before` is covered, too.

        Raises:
            TooMany: The list is full.
        """
        if subject not in self._subjects and len(self._subjects) >= self.size:
            raise TooMany("revoked subjects", self.size)
        earlier = self._subjects.get(subject, (before, until))
        self._subjects[subject] = (max(before, earlier[0]), max(until, earlier[1]))

    def covers(self, grant: Grant) -> bool:
        """Whether the grant counts no more. One that does not say when it was issued is covered by its subject."""
        if grant.token_id is not None and grant.token_id in self._tokens:
            return True
        if grant.subject is None or grant.subject not in self._subjects:
            return False
        return grant.issued is None or grant.issued <= self._subjects[grant.subject][0]

    def forget(self, now: float) -> None:
        """Let go of the entries whose time has come."""
        self._tokens = {token_id: until for token_id, until in self._tokens.items() if until >= now}
        self._subjects = {subject: times for subject, times in self._subjects.items() if times[1] >= now}
