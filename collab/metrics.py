"""Every metric, defined once. Times are in seconds, sizes in bytes; no label ever holds a room, a client or a user."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .errors import CollabError, TooLarge, TooMany

MESSAGE_TYPES = (
    "sync_step1",
    "sync_step2",
    "update",
    "awareness",
    "query_awareness",
    "auth",
    "denied",
    "saved",
    "stateless",
    "close",
    "echo",
    "ping",
    "invalid",
)
TRANSPORTS = ("asgi", "takeover")
LABELS = ("direction", "type")
OUTCOMES = ("accepted", "refused")
API_OUTCOMES = ("done", "unauthorized", "refused", "failed")
# What may be reached: fields of the `limits` section, and origins.
LIMITS = (
    "auth_concurrency",
    "auth_seconds",
    "awareness_bytes",
    "awareness_ids_per_connection",
    "bytes_per_second",
    "connections",
    "connections_per_address",
    "connections_per_room",
    "connections_per_user",
    "document_bytes",
    "documents_per_address",
    "documents_per_connection",
    "documents_per_user",
    "message_bytes",
    "messages_per_second",
    "new_connections_per_second",
    "new_connections_per_second_per_address",
    "origin",
    "processor",
    "rooms_created_per_user",
    "sessions_per_document",
    "unauthenticated",
)
# What is said to be too large or too many, where nobody else counts it.
_LIMIT_OF = {
    "a message": "message_bytes",
    "an awareness state": "awareness_bytes",
    "clients in this room": "connections_per_room",
    "documents on one connection": "documents_per_connection",
    "sessions of one document on one connection": "sessions_per_document",
    "the document": "document_bytes",
}
UNEXPECTED = "Unexpected"


def _tree(root: type[CollabError]) -> list[type[CollabError]]:
    """The errors of `collab.errors`; what others derive from them is counted under its parent."""
    children = [child for child in root.__subclasses__() if child.__module__ == root.__module__]
    return [root, *(error for child in children for error in _tree(child))]


KINDS = (*(error.__name__ for error in _tree(CollabError)), UNEXPECTED)
# 4205 and 4408 are Hocuspocus' own (docs/reference/protocol.md, 1.8).
CODES = sorted({str(error.close_code) for error in _tree(CollabError)} | {"4205", "4408"})

# 50 us to 10 s: a commit takes 100 us on a good disk, a full one takes seconds.
SECONDS = (50e-6, 1e-4, 25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


def value(metric: Counter | Gauge) -> int:
    """What a counter, or a gauge of whole numbers, is now."""
    return int(next(sample.value for family in metric.collect() for sample in family.samples))


class Traffic:
    """Messages of one type in one direction. Plain numbers, not `Counter`s: a busy room counts a million a second."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0

    def add(self, size: int, times: int = 1) -> None:
        """`times` messages of `size` bytes each."""
        self.messages += times
        self.bytes += size * times


class Distribution:
    """How often a value fell between which bounds. Plain numbers, for the same reason; `observe` is a fifth of a us."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """The value was seen so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """How many values were seen."""
        return sum(self.counts)


class Metrics:
    """The metrics of one app. Each has a registry of its own, so that several apps fit into one process.

    A metric with a label is a dict here, with a child ready for every value the label can have: `received["update"]`.
    A gauge whose value somebody else knows is given a function, once: `rooms["open"].set_function(...)`.
    """

    def __init__(self, *, version: str = "unknown") -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"collab_{name}", text, registry=registry)

        def counters(name: str, label: str, values: Iterable[str], text: str) -> dict[str, Counter]:
            parent = Counter(f"collab_{name}", text, [label], registry=registry)
            return {value: parent.labels(value) for value in values}

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"collab_{name}", text, registry=registry)

        def gauges(name: str, label: str, values: Iterable[str], text: str) -> dict[str, Gauge]:
            parent = Gauge(f"collab_{name}", text, [label], registry=registry)
            return {value: parent.labels(value) for value in values}

        def histogram(name: str, text: str, bounds: tuple[float, ...] = SECONDS) -> Distribution:
            distribution = Distribution(bounds)
            registry.register(_Histogram(f"collab_{name}", text, distribution))
            return distribution

        # Clients
        self.connections = gauges("connections", "transport", TRANSPORTS, "Clients connected, by what carries them.")
        self.fast_path = gauge("fast_path", "1 when connections are taken over where they can be, else 0.")
        self.connections_max = gauge("connections_max", "How many clients may be connected, by the settings.")
        self.lagging_clients = gauge(
            "lagging_clients", "Clients in rooms that are owed a difference, having been too slow for each change."
        )
        self.queue_bytes = gauge("queue_bytes", "Bytes that wait in rooms for clients which are slow to read.")
        self.attempts = counters("connection_attempts", "outcome", OUTCOMES, "Connections that clients began.")
        self.refused = counters("refused", "code", CODES, "Clients that were refused or cut off, by close code.")
        self.errors = counters("errors", "kind", KINDS, "Errors, by their class in docs/reference/errors.md.")
        self.limited = counters("limited", "limit", LIMITS, "What clients wanted and did not get, by the limit.")
        self.received = {kind: Traffic() for kind in MESSAGE_TYPES}
        self.sent = {kind: Traffic() for kind in MESSAGE_TYPES}

        self.api_requests = counters(
            "api_requests", "outcome", API_OUTCOMES, "Requests to the admin API: done; without access; refused; failed."
        )

        # Rooms
        self.rooms = gauges("rooms", "state", ("open", "idle"), "Rooms in memory: with someone in them, or kept warm.")
        self.rooms_opened = counter("rooms_opened", "Rooms loaded from the store.")
        self.rooms_closed = counter("rooms_closed", "Rooms dropped from memory.")
        self.open_seconds = histogram("open_seconds", "Time to load a room from the store, in seconds.")
        self.apply_seconds = histogram("apply_seconds", "Time to apply the updates of one tick, in seconds.")
        self.broadcast_seconds = histogram("broadcast_seconds", "Time to tell all peers of one tick, in seconds.")
        self.held_updates = gauge("held_updates", "Updates that wait for earlier ones which are missing.")
        self.gaps = counter("gaps", "Updates that came before one they build on.")
        self.resyncs = counters(
            "resyncs",
            "peer",
            ("client", "journal"),
            "Queues given up for a difference between states, by whose it was.",
        )
        self.ack_seconds = histogram(
            "ack_seconds", "Time from taking an update in until it is acknowledged as saved, in seconds."
        )
        self.updates_refused = counter("updates_refused", "Updates that will never be taken in.")
        self.presence_ids = gauge("presence_ids", "Client ids that presence is kept for.")
        self.panics = counter("panics", "Panics of the CRDT library that were caught.")

        # The store
        self.commit_seconds = histogram("commit_seconds", "Time of one commit, in seconds.")
        self.commit_rows = histogram("commit_rows", "Number of updates in one commit.", ROWS)
        self.journal_wait_seconds = histogram(
            "journal_wait_seconds", "Time from taking an update in until it is committed, in seconds."
        )
        self.journal_lag_updates = gauge("journal_lag_updates", "Updates taken in and not yet committed.")
        self.journal_lag_bytes = gauge("journal_lag_bytes", "Bytes of updates taken in and not yet committed.")
        self.journals_behind = gauge("journals_behind", "Rooms whose journal is owed a difference between states.")
        self.store_up = gauge("store_up", "1 when the store took the last write or check, else 0.")
        self.store_failures = counter("store_failures", "Store operations that failed.")
        self.compactions = counter("compactions", "Rooms compacted.")
        self.snapshots = counter("snapshots", "Snapshots made, by hand or by the server itself.")
        self.snapshots_deleted = counter("snapshots_deleted", "Snapshots that were too old or too many.")
        self.rows_forgotten = counter("rows_forgotten", "Edits that were too old to be kept.")

        self.disk_bytes = gauge("disk_bytes", "Size of the disk that the store is on; NaN if the store is no file.")
        self.disk_free_bytes = gauge("disk_free_bytes", "What is free of it.")
        self.last_backup = gauge(
            "last_backup_timestamp_seconds", "When this process last made a backup, since the epoch; 0: it has not."
        )

        # Webhooks
        self.hook_deliveries = counters(
            "hook_deliveries",
            "outcome",
            ("delivered", "failed", "dead", "lost"),
            "Events for webhooks: delivered; attempts that failed; given up; lost before the store had them.",
        )
        self.hooks = gauges("hooks", "state", ("waiting", "dead"), "Events for webhooks that wait, or were given up.")
        self.hooks_oldest_seconds = gauge("hooks_oldest_seconds", "Age of the oldest event that waits; 0: none does.")
        self.hook_seconds = histogram("hook_seconds", "Time until a receiver has answered, or not, in seconds.")

        # The process
        self.memory_limit_bytes = gauge("memory_limit_bytes", "Memory this process may have: its container's or all.")
        self.tasks = gauge("tasks", "Tasks of the event loop; clients on the fast path have none.")
        self.restarts = gauge("restarts", "How often the server was started again after it had died.")
        self.last_death = Info(
            "collab_last_death", "How the server before this one died, if it did.", registry=registry
        )
        self.quarantined = gauges(
            "quarantined", "kind", ("room", "update", "compaction"), "What is set aside, having ended the server twice."
        )
        self.draining = gauge("draining", "1 while the server is shutting down, else 0.")
        self.loop_stall_seconds = histogram("loop_stall_seconds", "How late the event loop woke up, in seconds.")
        Info("collab_build", "What runs here.", registry=registry).info(
            {"version": version, "python": platform.python_version()}
        )
        registry.register(_Messages(self))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def count_error(self, error: BaseException) -> None:
        """One more error of the nearest class that has a name here, and of the limit that it is about."""
        if isinstance(error, TooLarge | TooMany) and (limit := _LIMIT_OF.get(error.what)) is not None:
            self.limited[limit].inc()
        self.errors[
            next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in self.errors), UNEXPECTED)
        ].inc()

    def render(self) -> tuple[bytes, str]:
        """The body of `/metrics`, in Prometheus' text format, and its content type."""
        return generate_latest(_WithoutTimes(self.registry)), CONTENT_TYPE_LATEST


class _Messages(Collector):
    """Makes counters of the plain numbers in `Metrics.received` and `Metrics.sent`."""

    def __init__(self, metrics: Metrics) -> None:
        self.traffic = {"received": metrics.received, "sent": metrics.sent}

    def collect(self) -> Iterator[Metric]:
        messages = CounterMetricFamily("collab_messages", "Messages, by direction and type.", labels=LABELS)
        sizes = CounterMetricFamily("collab_message_bytes", "Bytes of messages, by direction and type.", labels=LABELS)
        for direction, kinds in self.traffic.items():
            for kind, traffic in kinds.items():
                messages.add_metric([direction, kind], traffic.messages)
                sizes.add_metric([direction, kind], traffic.bytes)
        yield messages
        yield sizes


class _Histogram(Collector):
    """Makes a histogram of a `Distribution`."""

    def __init__(self, name: str, text: str, distribution: Distribution) -> None:
        self.name, self.text, self.distribution = name, text, distribution

    def collect(self) -> Iterator[Metric]:
        totals = accumulate(self.distribution.counts)
        bounds = [*map(floatToGoString, self.distribution.bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, totals), strict=True))
        yield HistogramMetricFamily(self.name, self.text, buckets=buckets, sum_value=self.distribution.sum)


class _WithoutTimes(CollectorRegistry):
    """The registry without the `_created` series, which double the page. (The library's switch is global.)"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self.register(registry)

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
