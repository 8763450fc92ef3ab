"""Every error of the project, in one tree. Each knows its three doors: close code, HTTP status, exit code.

CollabError                          close 1011  HTTP 500  exit 1
├── BadMessage                             4400       400       1
│   └── BadUpdate                          4400       400       1
├── BadRoomName                            4400       400       1
├── Unauthorized                           4401       401       1
├── Forbidden                              4403       403       1
├── NoSuchRoom                             4404       404       1
├── NoSuchSnapshot(room, id)               4404       404       1
├── Conflict                               4409       409       1
│   └── Stale                              4412       412       1
├── Forgotten(room, seq, oldest)           4410       410       1
├── TooLarge(what, size, limit)            4413       413       1
├── TooDeep(what, limit)                   4422       422       1
├── DamagedRoom(room, what)                4423       423       4
├── DamagedSnapshot(room, id, what)        4423       423       4
├── Quarantined(room, why)                 4423       423       4
├── TooMany(what, limit)                   1013       429       1
│   └── TooManyDocuments(what, limit)      1013       429       1
├── SlowPeer(queued, limit)                1013       503       1
├── Unavailable(what)                      1013       503       3
│   ├── StoreLocked(path)                  1013       503       3
│   └── Unconfirmed(what, seconds)         1013       503       3
├── Crashed(how)                           1011       500       1
├── Refused                                1011       500       1
├── Draining                               1012       503       1
└── SettingsError(problem)                 1011       500       2
    └── NewerSchema(found)                 1011       500       2

Close codes 4400 to 4499 mean "do not come back until the application acts"; 1011, 1012 and 1013 mean
"come back later" (docs/reference/protocol.md, "Close codes"). Errors hold numbers and names, ``__str__`` makes the
sentence. No error text ever contains a token or a piece of a document.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CollabError(Exception):
    """Base of all errors here; never raised itself."""

    close_code: ClassVar[int] = 1011
    http_status: ClassVar[int] = 500
    exit_code: int = 1

    @property
    def retry(self) -> bool:
        """Whether coming back later can help (close codes outside 4400 to 4499)."""
        return not 4400 <= self.close_code <= 4499

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes (`collab.apart`) it stays what it is, whatever its `__init__` asks for."""
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[CollabError], args: tuple[Any, ...], fields: dict[str, Any]) -> CollabError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


class BadMessage(CollabError):
    """A frame breaks the protocol."""

    close_code = 4400
    http_status = 400


class BadUpdate(BadMessage):
    """The bytes are not a Yjs update (v1) that is fit to be applied."""


class BadRoomName(CollabError):
    """The room's name is empty, too long, or not text that can be told apart from every other name."""

    close_code = 4400
    http_status = 400


class Unauthorized(CollabError):
    """No token, or one that is bad or expired."""

    close_code = 4401
    http_status = 401


class Forbidden(CollabError):
    """The token does not cover this room or this action."""

    close_code = 4403
    http_status = 403


class NoSuchRoom(CollabError):
    """The room is not known, or it was deleted."""

    close_code = 4404
    http_status = 404

    def __init__(self, room: str) -> None:
        super().__init__(room)
        self.room = room

    def __str__(self) -> str:
        return f"there is no room {self.room!r}"


class Conflict(CollabError):
    """What is asked for does not go with what is there. Nothing was changed."""

    close_code = 4409
    http_status = 409


class Stale(Conflict):
    """The document is not what it was when whoever asks last saw it. Nothing was changed."""

    close_code = 4412
    http_status = 412

    def __str__(self) -> str:
        return "the document has changed since you saw it: read it again"


class NoSuchSnapshot(CollabError):
    """The room has no snapshot with this number, or it was deleted."""

    close_code = 4404
    http_status = 404

    def __init__(self, room: str, id: int) -> None:
        super().__init__(room, id)
        self.room, self.id = room, id

    def __str__(self) -> str:
        return f"room {self.room!r} has no snapshot {self.id}"


class Forgotten(CollabError):
    """A moment was asked for (a row's number) that the history kept of a room does not reach back to."""

    close_code = 4410
    http_status = 410

    def __init__(self, room: str, seq: int, oldest: int) -> None:
        super().__init__(room, seq, oldest)
        self.room, self.seq, self.oldest = room, seq, oldest

    def __str__(self) -> str:
        return f"the history of room {self.room!r} begins at edit {self.oldest}; edit {self.seq} is not kept any more"


class TooLarge(CollabError):
    """Something is larger than its limit (sizes in bytes, or in what `unit` says)."""

    close_code = 4413
    http_status = 413

    def __init__(self, what: str, size: int, limit: int, *, unit: str = "bytes") -> None:
        super().__init__(what, size, limit)
        self.what, self.size, self.limit, self.unit = what, size, limit, unit

    def __str__(self) -> str:
        return f"{self.what} of {self.size} {self.unit} is over the limit of {self.limit}"


class TooDeep(CollabError):
    """Something is nested deeper than its limit (levels). It stays so however often it is tried."""

    close_code = 4422
    http_status = 422

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what, limit)
        self.what, self.limit = what, limit

    def __str__(self) -> str:
        return f"{self.what} are nested too deep: the limit is {self.limit} levels"


class DamagedRoom(CollabError):
    """What the store holds of one room cannot be trusted. It is refused, never served as an empty room."""

    close_code = 4423
    http_status = 423
    exit_code = 4

    def __init__(self, room: str, what: str) -> None:
        super().__init__(room, what)
        self.room, self.what = room, what

    def __str__(self) -> str:
        return f"room {self.room!r} is damaged in the store: {self.what}"


class DamagedSnapshot(CollabError):
    """What the store holds of one snapshot is not what was kept. The room and its other snapshots are not concerned."""

    close_code = 4423
    http_status = 423
    exit_code = 4

    def __init__(self, room: str, id: int, what: str) -> None:
        super().__init__(room, id, what)
        self.room, self.id, self.what = room, id, what

    def __str__(self) -> str:
        return f"snapshot {self.id} of room {self.room!r} is damaged in the store: {self.what}"


class Quarantined(CollabError):
    """Reading this room ended the server, and did again. It is set aside until somebody releases it; it is not lost."""

    close_code = 4423
    http_status = 423
    exit_code = 4

    def __init__(self, room: str, why: str) -> None:
        super().__init__(room, why)
        self.room, self.why = room, why

    def __str__(self) -> str:
        return f"room {self.room!r} is set aside: {self.why}"


class TooMany(CollabError):
    """A limit on how many there may be at once was reached."""

    close_code = 1013
    http_status = 429

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what, limit)
        self.what, self.limit = what, limit

    def __str__(self) -> str:
        return f"too many {self.what}: the limit is {self.limit}"


class TooManyDocuments(TooMany):
    """There are too many documents of one connection, user or address: this one is refused, and the others stay."""


class SlowPeer(CollabError):
    """A socket took nothing for too long (sizes in bytes)."""

    close_code = 1013
    http_status = 503

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(queued, limit)
        self.queued, self.limit = queued, limit

    def __str__(self) -> str:
        return f"the client reads too slowly: {self.queued} bytes are waiting, the limit is {self.limit}"


class Unavailable(CollabError):
    """Something the server needs is down; it will be tried again."""

    close_code = 1013
    http_status = 503
    exit_code = 3

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} is not available right now"


class StoreLocked(Unavailable):
    """Another process holds the store. Two would both acknowledge and split the rooms."""

    def __init__(self, path: str) -> None:
        super().__init__("the store")
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} is in use by another process (a running server?); stop that one first"


class Unconfirmed(Unavailable):
    """A server was sent an edit and did not say in time (seconds) that it is saved. It may be."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"{self.what} did not confirm within {self.seconds:g} s that the edit is saved; "
            "look whether it is there before you try again"
        )


class Crashed(CollabError):
    """A process that worked on a large document died. Nothing was changed."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how

    def __str__(self) -> str:
        return f"the process that worked on this document died ({self.how}); nothing was changed"


class Refused(CollabError):
    """A running server does not do what a command asked of it. The sentence and the exit code are the server's."""

    def __init__(self, what: str, exit_code: int = 1) -> None:
        super().__init__(what)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


class Draining(CollabError):
    """The server is shutting down; another one will answer soon."""

    close_code = 1012
    http_status = 503

    def __str__(self) -> str:
        return "the server is restarting"


class SettingsError(CollabError):
    """A setting is wrong. Found before anything opens; the text says what to change."""

    exit_code = 2


class NewerSchema(SettingsError):
    """The database was written by a newer version; this one does not touch it."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path, self.found = path, found

    def __str__(self) -> str:
        return (
            f"{self.path} was written by a newer version of collab (it has the migration {self.found!r}); "
            "run that version, or restore a backup made with this one"
        )
