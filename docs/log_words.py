"""What each event of the log means, and each of its fields. `docs/logs.py` finds them in the code, and compares."""

from __future__ import annotations

EVENTS = {
    "%d updates were not written into the store": (
        "A store that an application gave to a room of its own (`YRoom(ystore=...)`) did not take so many updates "
        "before the room had to stop. `collab serve` never writes it."
    ),
    "a proxy is not trusted": (
        "A request came with `X-Forwarded-For` or `Forwarded` from an address that is not in "
        "`COLLAB_SERVER__TRUSTED_PROXIES`. Said once."
    ),
    "access could not be decided": "The application's own `authorize` failed. The client was refused.",
    "access not looked at": "A fault here: whether a client may still stay was not looked at this time.",
    "admin refused": (
        "A request to the admin API without the right token. One line for each address and reason in ten seconds."
    ),
    "audit": "An admin changed something: the audit log, below. The details of the change stand beside these fields.",
    "audit not kept": (
        "A record of the audit log could not be written to the disk: the change was made, and answered with 503. "
        "Or, at the start, the folder cannot be used: then records are in memory only."
    ),
    "audit record not read": "A line of `audit.jsonl` is no record. It was left out; the line stays in the file.",
    "awareness observer failed": "A callback of the application on `room.awareness` failed.",
    "backup made": "A backup over the admin API was sent.",
    "beat failed": "What is done once a second for one client or room failed; for the others it was done.",
    "client joined": "A client has its seat in a room. One line for each address and room in ten seconds.",
    "client left": "A socket has ended, for whatever reason. One line for each address and close code in ten seconds.",
    "client vanished": (
        "A client said nothing for `COLLAB_LIVENESS__SILENT_SECONDS`, and answered no ping. It was cut off."
    ),
    "connection cut": (
        "A client took nothing of what was sent to it for `COLLAB_LIMITS__STALLED_SECONDS`, or a connection kept "
        "the server busy without a pause."
    ),
    "connection refused": (
        "A client was told to go, at the door or later. One line for each address and reason in ten seconds."
    ),
    "crashes will not be noted": (
        "The folder for notes about crashes cannot be used: the server runs, without the quarantine."
    ),
    "document panicked": (
        "The document library failed in a room. It is read anew from the store: `room reloaded` follows."
    ),
    "document refused": (
        "A Hocuspocus client was refused one document; its socket stays. One line for each address and reason in "
        "ten seconds."
    ),
    "drained": "All clients have gone and all is saved.",
    "draining": "The server stops, or an admin asked for it: clients are sent away one by one.",
    "entry of the quarantine not read": "A file in the folder of crashes is no entry. What it said is not heeded.",
    "fast path does not work here": (
        "The trial at the start failed, so hypercorn serves the sockets, at a higher price."
    ),
    "fast path works": "The trial at the start went well: sockets are taken over once they are accepted.",
    "fewer connections than set": (
        "The process may not open so many files as `COLLAB_LIMITS__CONNECTIONS` needs: raise `ulimit -n`."
    ),
    "frame not taken": "A fault here, while a frame of a client was read. That client was cut off.",
    "half an import erased": "The server had died during an import: the room that was half there was erased.",
    "half an import not erased yet": "The store does not answer: half a room waits to be erased, and is tried again.",
    "history not cleared away": "What is older than `COLLAB_HISTORY__KEEP_DAYS` could not be removed from one room.",
    "journal behind": (
        "The store is so slow that the edits that wait for it passed `COLLAB_STORE__JOURNAL_BYTES`: they are "
        "written as one difference. Nothing is lost."
    ),
    "journal difference failed": (
        "The document library failed while it made that difference: `lost` updates are not in the store. The room "
        "is read anew."
    ),
    "key set not fetched": "The JWKS did not come, or is none. The keys from before go on to count.",
    "no access control": "Nothing is set that tells who may come in.",
    "nobody decided about access": (
        "The webhook did not answer, or with something else than an answer. The client was refused (1013)."
    ),
    "not fit for production": "`COLLAB_SERVER__PRODUCTION` is on, and this setting is doubtful. One line for each.",
    "notes about earlier deaths not read": "The file about earlier crashes is no such thing. They count no more.",
    "poison rows left out": (
        "Rows of a room's log cannot be applied. The room is served without them; they stay in the store."
    ),
    "request failed": "A fault here, while an HTTP request was answered (500).",
    "revocations not followed": "The list of revoked access cannot be read. What was known before still counts.",
    "room compacted": "A checkpoint of a room was written.",
    "room not compacted": "It failed; the room is served as it is, and its log grows.",
    "room not opened": "A room could not be read from the store. Whoever wanted it was refused.",
    "room not reloaded": (
        "After the document library failed, the room could not be read anew. Its clients were sent away."
    ),
    "room not stored": "The store refuses the edits of this one room. They wait, and are tried again.",
    "room reloaded": "A room whose document failed is served again. `guilty` of the `suspects` were left out.",
    "rooms exported": "An export over the admin API was sent in full.",
    "scheduled snapshot not made": "One room has no snapshot of this time of day.",
    "scheduled snapshots failed": "The round of snapshots ended early. The next one is made in its time.",
    "scheduled snapshots made": "So many rooms had changed and have a snapshot of this time of day.",
    "server died": (
        "From the supervisor: the server has ended by itself, and is started again after `restart_seconds`. From "
        "the server that follows: which room and which step it had in hand then."
    ),
    "server given up": "The server died again and again; the supervisor ends with its exit code.",
    "server killed": "The server was told to stop and did not in time. What was not committed is lost.",
    "set aside": "A room or an update that ended the server again and again is not touched any more.",
    "shutdown timed out": "Something hung while the server stopped. The process ended all the same.",
    "snapshot left out": "A snapshot is damaged, and does not appear in lists.",
    "snapshot made": "A room has a new snapshot.",
    "snapshot not made": "The snapshot that is made by itself of a busy room failed.",
    "snapshots not thinned": "Snapshots that are too many could not be removed from one room.",
    "stateless message not handled": "The application's own `on_stateless` failed.",
    "store connection discarded": (
        "The database failed in a way after which a connection is not to be trusted. It is opened anew."
    ),
    "store failed": (
        "A commit failed: nothing is acknowledged, edits wait. Said once, until `store recovered`; each time, with "
        "level `error` and a traceback, when nobody foresaw the failure."
    ),
    "store not settled": (
        "The write-ahead log was not moved into the file at the end. The next start reads it: nothing is lost."
    ),
    "store recovered": "A commit went well again.",
    "store reopened": "The database is open again after `store connection discarded`.",
    "store thread died": "A fault here: nothing is stored any more until the server is started anew.",
    "sweep failed": "The round that clears away old history and snapshots ended early.",
    "telemetry dropped": (
        "The OpenTelemetry collector takes less than there is: a queue is full, and what does not fit is dropped. "
        "One line in ten minutes."
    ),
    "telemetry not sent": (
        "The OpenTelemetry collector did not take spans or log records. Said once, until `telemetry sent again`. "
        "The server works without it."
    ),
    "telemetry off": (
        "`OTEL_` variables ask for something that is not sent: its package is missing, or a value is not one of those "
        "that are known here. The server works without it."
    ),
    "telemetry on": "Spans, log records or both go to an OpenTelemetry collector.",
    "telemetry sent again": "The OpenTelemetry collector takes what is sent.",
    "outbox failed": "Deliveries to one URL wait for the store, which failed. Nothing is lost.",
    "outbox not looked after": "The outbox could not be counted or cleared; it is tried again within seconds.",
    "restores not looked for": (
        "The store failed for one room while it was looked whether the process before this one told of a restore."
    ),
    "trouble underneath": (
        "The event loop (`source` is `asyncio`) or the ASGI server (`hypercorn.error`) failed at something, as "
        "`reason` says in its words. One line for each class of error and place in ten seconds. With a traceback it is "
        "a fault worth reporting."
    ),
    "webhook failed": "An attempt to deliver an event failed; it is made again. One line for each URL and reason.",
    "webhook given up": (
        "An event is a dead letter: its receiver said 410, or failed for `COLLAB_HOOKS__GIVE_UP_HOURS`. Replay it with "
        "`collab hooks replay`. One line for each URL and reason in ten seconds."
    ),
    "webhook receiver is away": "Several attempts in a row found nobody there: one event at a time is tried now.",
    "webhook receiver is back": "It takes events again; all that waited is due at once.",
    "webhooks": "At the start: who is told, and of what.",
    "webhooks given up": "So many events waited for too long while their receiver was away, and are dead letters.",
    "webhooks not written down": (
        "Events that happened could not be put into the store. They are kept in memory and tried again; at the end of "
        "the process the next start finds all but those that tell who came and went."
    ),
    "work apart died": "A process that worked on a large document has died; the server has not.",
}
"""Event: what happened, and what to do where that is not plain."""

FIELDS = {
    "abandoned": "Clients of the process before this one, which never left: it is told that they have.",
    "advice": "What to change.",
    "attempts": "How often it was tried to deliver the event.",
    "bytes": "Size of what was made, or was worked on.",
    "cause": "Why: class of the error, signal (`SIGSEGV`) or exit code (`exit 1`).",
    "client": "Address of the client, after trusted proxies.",
    "clients": "Clients in the room, this one included.",
    "code": "Close code of the WebSocket, or how a process ended.",
    "connection": "Number of the connection in this process, as in `GET /connections` of the admin API.",
    "connections": "How many clients there are, or can be.",
    "consequence": "What that means.",
    "damaged": "Rooms that cannot be read, and are not in the export.",
    "damaged_snapshots": "Snapshots that cannot be read, and are not in the export.",
    "deaths": "How many in a row.",
    "error": "The error's sentence; in refusals and `connection cut` its class, as in [errors](errors.md).",
    "events": "How many events of webhooks; of `webhooks`, which kinds are told.",
    "exception": "The traceback, without the values of variables; only where nobody foresaw the error.",
    "failures": "Commits that failed before this one.",
    "file": "Path or name of the file.",
    "folder": "Path of the folder.",
    "guilty": "Updates that the document does not survive.",
    "happened": "Which kind of event a webhook tells, such as `document.changed`.",
    "id": "Id of the webhook's event, as its receiver sees it.",
    "keeps": "Which keys count now.",
    "kind": "`room`, `update` or `compaction`.",
    "lag": "Updates that wait for the store.",
    "limit": "The limit that was passed, in bytes.",
    "lost": "Updates that did not reach the store; of `telemetry sent again`, spans or log records that were dropped.",
    "of": "How many rooms there were.",
    "open_files": "How many files the process may open.",
    "path": "Path of the request, without its query; or of the store's file.",
    "peer": "The address that the request came from.",
    "problem": "What is doubtful about the setting, or keeps telemetry from being sent.",
    "reason": (
        "Why, in a sentence; of `snapshot made`: `manual`, `scheduled`, `activity`, `before restore`, `before import`."
    ),
    "restart_seconds": "The pause before the next start.",
    "room": "Name of the room; missing or null where there is none.",
    "rooms": "How many rooms.",
    "rows": "Numbers of the rows in the room's log.",
    "seconds": "How long it took, has lasted, or was waited for.",
    "set": "What the settings say.",
    "setting": "Name of the setting.",
    "signal": "What was sent: `traces` or `logs`.",
    "signals": "What is sent: `traces`, `logs` or both.",
    "snapshot": "Number of the snapshot.",
    "source": "The logger that reports it.",
    "stalled": "Clients that were cut off because they did not go by themselves.",
    "step": (
        "What was being done: `tick` (updates were applied), `load`, `reload`, `compaction` or `reading` (an export)."
    ),
    "suppressed": "How many of the same came before it and have no line. Missing when there were none.",
    "suspects": "Updates that were being applied when the document failed.",
    "untold": "Rooms with changes that the process before this one had not told.",
    "updates": "Digests (BLAKE2b) of the updates in hand, never their content.",
    "url": "Where a webhook goes, as it is set.",
    "urls": "Where webhooks go.",
    "what": "What was done, such as `document.put`.",
    "who": "Subject of the admin's token; `admin` for the server's own token, `local` without any.",
}
"""Field: what stands in it."""

ACCESS = (
    "client joined",
    "client left",
    "connection refused",
    "document refused",
    "client vanished",
    "connection cut",
    "admin refused",
)
"""Who came and went: what others call the access log."""

CHANGES = {
    "access.revoke": "the access of a user or of one token was ended",
    "connection.end": "a client was sent away",
    "document.append": "text was put at the end of a document",
    "document.patch": "a document was changed by a JSON patch",
    "document.put": "a document was replaced",
    "document.seed": "an empty room got its first content",
    "document.update": "a Yjs update was merged into a document",
    "export": "an export of all rooms was begun",
    "history.unsign": "a user's name was taken off what he made, in one room or in all",
    "hooks.replay": "dead letters of webhooks wait again",
    "hooks.test": "a test event was sent to every URL",
    "import": "an import has ended, in full or not",
    "quarantine.release": "a room that was set aside is served again",
    "room.allow": "a room that was deleted may be made again",
    "room.delete": "a room was erased",
    "room.duplicate": "a room was copied",
    "room.restore": "a room was brought back to what it was",
    "room.restore_into": "what a room was went into another room",
    "room.undo": "what one user did was undone",
    "server.backup": "a backup was made",
    "server.drain": "all clients are sent away",
    "server.log_level": "the least level of the log was changed",
    "snapshot.change": "label, note or pin of a snapshot were changed",
    "snapshot.create": "a snapshot was made",
    "snapshot.delete": "a snapshot was deleted",
}
"""What a record of the audit log tells of."""

DETAILS = {
    "author_sha256": "SHA-256 of the user's name: the name itself would be kept by this",
    "before": "the snapshot of what was there before; of a log level, the one before",
    "bytes": "of the update that was written, or of the backup",
    "changed": "which of `label`, `note` and `pinned`, never what they say",
    "connection": "number of the connection",
    "event_id": "id of the event",
    "events": "how many events",
    "into": "the other room",
    "jti": "`jti` of the token",
    "kinds": "what was set aside: `room`, `update` or `compaction`",
    "merged": "rooms that were merged into others",
    "of": "address of the client; of `room.undo`, whose work and since when",
    "problem": "why the import ended early; null when it did not",
    "room": "the room, if it is one",
    "rooms": "rooms that are in",
    "rows": "edits that were concerned",
    "skipped": "rooms that were left out",
    "snapshot": "number of the snapshot",
    "snapshots": "snapshots that were concerned",
    "subject": "whose access",
    "to": "the name of the copy; the moment or snapshot; the new level",
}
"""What stands in the details of a record."""
