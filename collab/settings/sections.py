"""The fields of every section: default, unit and what each does. A unit stands in the name or in the description."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from .values import MiB, check_secret_file, parse_list, parse_networks, parse_origin, parse_size, parse_times


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Span = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One group of settings. A rule over several fields raises ValueError and writes the fields as `{field}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Section):
    """Where the server listens, and how it goes."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every IPv4 address."
    )
    port: int = Field(
        default=1234, ge=0, le=65_535, description="TCP port number to listen on; 0 lets the system choose one."
    )
    hocuspocus_path: str = Field(
        default="/hocuspocus",
        pattern=r"^/\S*$",
        description="Path, beside `/`, where Hocuspocus providers connect; their messages name the documents.",
    )
    certfile: Path | None = Field(
        default=None, description="File with the TLS certificate chain (PEM); needs `keyfile` too."
    )
    keyfile: Path | None = Field(default=None, description="File with the TLS private key (PEM); needs `certfile` too.")
    fast_path: bool = Field(
        default=True,
        description="Yes or no: take WebSockets over from hypercorn where that can be done, which is several times "
        "faster. No: the path that every ASGI server has.",
    )
    compression: bool = Field(
        default=True,
        description="Yes or no: agree to compress messages of 1 to 128 KiB (permessage-deflate) with clients that can, "
        "on the fast path.",
    )
    production: bool = Field(
        default=False,
        description="Yes or no: do without what is for trying out (the page /demo), and do not start with what is not "
        "safe: `collab doctor --production` tells.",
    )
    debug: bool = Field(
        default=False, description="Yes or no: log at level debug, for people, unless the log section says else."
    )
    drain_seconds: Seconds = Field(
        default=3.0, description="Time over which a stopping server spreads its goodbyes (1012)."
    )
    shutdown_seconds: Seconds = Field(
        default=20.0, description="Longest time a shutdown may take; then the process ends with a failure code."
    )
    backlog: Count = Field(default=2048, description="Number of TCP connections that may wait to be accepted.")
    supervisor: bool = Field(
        default=True,
        description="Yes or no: `collab serve` runs the server as a child and starts it again when it dies. No is for "
        "where something else does that.",
    )
    give_up_seconds: Seconds = Field(
        default=600.0,
        description="How long a server that dies again and again is started again; then its exit code is passed on.",
    )
    handshake_seconds: Seconds = Field(
        default=5.0,
        description="Time in which a client has to finish its TLS handshake, and then its request; a connection that "
        "asks for nothing is closed after it, too.",
    )
    tcp_timeout_seconds: Seconds = Field(
        default=30.0,
        lt=2_000_000,
        description="Time after which the system gives up a client that confirms nothing of what it was sent "
        "(TCP_USER_TIMEOUT, Linux).",
    )
    trusted_proxies: str | None = Field(
        default=None,
        description="Addresses or networks of your own reverse proxies, by commas (`10.0.0.0/8, 127.0.0.1`): what they "
        "say in X-Forwarded-For or Forwarded is believed, and nobody else.",
    )
    allowed_origins: str | None = Field(
        default=None,
        description="Pages that may connect and ask, by commas: `https://app.example.com`, `https://*.example.com`, "
        "`same` for the server's own host alone, `*` for all. Not set: all, or `same` where cookies give access.",
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="Token that /metrics asks for (`Authorization: Bearer ...`)."
    )
    metrics_token_file: Path | None = Field(
        default=None, description="File that holds that token instead; white space around it does not count."
    )
    internal_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on for `internal_port`."
    )
    internal_port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None,
        description="Second TCP port number, without TLS and without editors: /metrics is answered there only.",
    )
    switch_interval_seconds: Seconds = Field(
        default=0.0005,
        lt=1,
        description="How long a Python thread may keep the interpreter while another waits for it; at Python's own "
        "0.005 the thread that writes to the store starves beside a busy event loop.",
    )

    @field_validator("certfile", "keyfile")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise ValueError(f"it should be a file that this user can read ({error.strerror})") from None
        return path

    @field_validator("metrics_token_file")
    @classmethod
    def _holds_token(cls, path: Path | None) -> Path | None:
        return check_secret_file(path)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        parse_networks(value)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str | None) -> str | None:
        for origin in parse_list(value):
            if origin not in ("*", "same"):
                parse_origin(origin)
        return value

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.metrics_token is not None and self.metrics_token_file is not None:
            raise ValueError("{metrics_token} and {metrics_token_file} are both set: leave one out")
        if self.internal_port is not None and self.internal_port == self.port:
            raise ValueError(
                f"{{internal_port}} and {{port}} are both {self.port}: they are told apart by their numbers"
            )
        if self.certfile is not None and self.keyfile is None:
            raise ValueError("{certfile} is set but {keyfile} is not: set both for TLS, or none")
        if self.keyfile is not None and self.certfile is None:
            raise ValueError("{keyfile} is set but {certfile} is not: set both for TLS, or none")
        if self.shutdown_seconds <= self.drain_seconds:
            raise ValueError(
                f"{{shutdown_seconds}} ({self.shutdown_seconds:g}) must be longer than {{drain_seconds}} "
                f"({self.drain_seconds:g}): raise the first or lower the second"
            )
        return self


class StoreSettings(Section):
    """Where documents are kept."""

    url: str = Field(
        default="sqlite:///data/collab.db",
        min_length=1,
        description="URL of the store: `memory:`, `sqlite:///relative/path`, `sqlite:////absolute/path`.",
    )
    retry_seconds: Seconds = Field(
        default=0.2, description="Pause after the first write that failed; each next one is longer."
    )
    retry_max_seconds: Seconds = Field(default=5.0, description="Longest pause between two tries to write.")
    journal_bytes: Size = Field(
        default=64 * MiB,
        description="Bytes not yet written that are kept per room; past it the room is owed one merged update instead.",
    )
    checkpoint_rows: Count = Field(default=500, description="Number of log rows after which a room is compacted.")
    checkpoint_bytes: Size = Field(default=4 * MiB, description="Bytes of log after which a room is compacted.")

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.retry_max_seconds < self.retry_seconds:
            raise ValueError(
                f"{{retry_max_seconds}} ({self.retry_max_seconds:g}) must not be less than {{retry_seconds}} "
                f"({self.retry_seconds:g}): raise the first or lower the second"
            )
        return self


class HistorySettings(Section):
    """How long it can be seen what a room was.

    Snapshots that somebody made by hand or pinned stay until somebody deletes them.
    """

    keep_days: Span = Field(
        default=30.0,
        description="Days for which every single edit is kept with its author and time: how far back one can look. 0: "
        "edits go as soon as a checkpoint holds what they did.",
    )
    snapshot_edits: int = Field(
        default=1_000,
        ge=0,
        description="Number of edits after which a snapshot is made by itself, of large documents one edit per KiB; "
        "0: none.",
    )
    snapshot_minutes: Span = Field(
        default=30.0,
        description="Minutes after the first edit since the last snapshot, after which one is made by itself; 0: none.",
    )
    snapshot_at: str = Field(
        default="",
        description="Times of day (UTC), such as `03:00, 15:30`, at which a snapshot is made of each room that changed "
        "since its last one; a time that was slept through is made up for at the start.",
    )
    keep_snapshots: Count = Field(
        default=500, description="Number of snapshots made by the server itself that are kept of one room."
    )
    every_hours: Span = Field(
        default=24.0, description="Hours for which all of the server's own snapshots are kept; older ones are thinned."
    )
    hourly_days: Span = Field(default=7.0, description="Days for which one of these snapshots per hour is kept.")
    daily_days: Span = Field(default=31.0, description="Days for which one of these snapshots per day is kept.")
    weekly_weeks: Span = Field(default=52.0, description="Weeks for which one of these snapshots per week is kept.")
    sweep_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=60.0, description="Minutes between two looks for what is too old to be kept."
    )

    @field_validator("snapshot_at")
    @classmethod
    def _times(cls, value: str) -> str:
        parse_times(value)
        return value

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not self.every_hours / 24 <= self.hourly_days <= self.daily_days <= 7 * self.weekly_weeks:
            raise ValueError(
                "{every_hours}, {hourly_days}, {daily_days} and {weekly_weeks} must each last as long as the one before"
            )
        return self


class RoomSettings(Section):
    """How many rooms are in memory, and what one of them may hold."""

    max_open: Count = Field(default=10_000, description="Number of rooms that may be in memory with someone in them.")
    idle_count: int = Field(
        default=1_000, ge=0, description="Number of rooms that are kept in memory with nobody in them."
    )
    idle_bytes: Size = Field(
        default=256 * MiB, description="Bytes of documents that are kept in memory with nobody in them."
    )
    name_bytes: Count = Field(default=512, description="Longest room name, in bytes of UTF-8.")
    held_updates: Count = Field(
        default=1_000, description="Number of updates that one room keeps while they wait for earlier ones."
    )
    held_bytes: Size = Field(
        default=8 * MiB,
        description="Bytes of memory that updates take in one room while they wait for earlier ones.",
    )
    presence_ids: Count = Field(default=10_000, description="Number of client ids that one room keeps presence for.")
    presence_seconds: Annotated[float, Field(gt=15, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Time after which presence that was not renewed is forgotten; editors renew every 15 s.",
    )


class LivenessSettings(Section):
    """How a client that has gone is told from one that is quiet."""

    keepalive_seconds: Seconds = Field(
        default=20.0,
        lt=30,
        description="Time after which a client that heard nothing hears something; clients give up at 30.",
    )
    probe_seconds: Seconds = Field(
        default=15.0, description="Time after which a client that said nothing is asked to answer."
    )
    silent_seconds: Seconds = Field(default=42.0, description="Time after which a client that said nothing is cut off.")

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.silent_seconds <= 2 * self.probe_seconds:
            raise ValueError(
                f"{{silent_seconds}} ({self.silent_seconds:g}) must be more than twice {{probe_seconds}} "
                f"({self.probe_seconds:g}), so that one lost answer cuts nobody off: raise the first"
            )
        return self


class LogSettings(Section):
    """What is logged, and how it looks."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least level that is logged: `debug`, `info`, `warning` or `error`."
    )
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="How a line looks: `json`, `console` (for people), or `auto`: console on a terminal, else json.",
    )
