"""The fields of the section `hooks`: who is told what happens, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from .access import safe_url
from .sections import Count, Seconds, Section, Span
from .values import check_secret_file, parse_list

EVENTS = (
    *("document.changed", "document.restored", "snapshot.made"),
    *("room.created", "room.deleted", "client.joined", "client.left"),
)


def wanted(events: str) -> tuple[str, ...]:
    """The names that the setting `events` means."""
    words = parse_list(events)
    return tuple(name for name in EVENTS if "all" in words or name in words)


class HookSettings(Section):
    """Webhooks: docs/howto/webhooks.md."""

    urls: str | None = Field(
        default=None,
        description="URLs that are told what happens (POST), by commas; https, or this machine. Not set: nobody is.",
    )
    secret: SecretStr | None = Field(
        default=None, description="Secret that what is told is signed with, of at least 32 bytes."
    )
    secret_file: Path | None = Field(
        default=None, description="File that holds that secret instead; white space around it does not count."
    )
    events: str = Field(
        default="all",
        description=f"What is told, by commas: `all`, or some of {', '.join(f'`{name}`' for name in EVENTS)}.",
    )
    debounce_seconds: Span = Field(
        default=2.0, description="How long a document stays as it is before it is told that it changed."
    )
    max_wait_seconds: Span = Field(
        default=10.0, description="How long a change waits at most where people type without a pause."
    )
    timeout_seconds: Seconds = Field(default=10.0, description="Longest time until a receiver has answered.")
    concurrency: Count = Field(
        default=10, description="Number of requests that may be open to each URL; those of one room follow each other."
    )
    retry_seconds: Seconds = Field(
        default=1.0,
        description="Pause after the first failure; it doubles with each that follows, and varies a little.",
    )
    retry_max_seconds: Seconds = Field(default=60.0, description="Longest such pause.")
    give_up_hours: Seconds = Field(
        default=24.0, description="Hours after the first failure when an event is given up, and kept as a dead letter."
    )
    keep_dead_days: Seconds = Field(default=30.0, description="Days for which dead letters are kept.")

    @field_validator("urls")
    @classmethod
    def _safe_urls(cls, urls: str | None) -> str | None:
        for url in parse_list(urls):
            safe_url(url)
        if len(set(parse_list(urls))) < len(parse_list(urls)):
            raise ValueError("it should name each URL once")
        return urls

    @field_validator("secret_file")
    @classmethod
    def _holds_secret(cls, path: Path | None) -> Path | None:
        return check_secret_file(path)

    @field_validator("events")
    @classmethod
    def _known_events(cls, events: str) -> str:
        words = parse_list(events)
        if not words or any(word != "all" and word not in EVENTS for word in words):
            raise ValueError(f"it should be `all`, or some of {', '.join(EVENTS)}, by commas")
        return events

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("{secret} and {secret_file} are both set: leave one out")
        if self.urls and self.secret is None and self.secret_file is None:
            raise ValueError(
                "{urls} is set, so {secret} or {secret_file} must be: receivers have to tell us from others"
            )
        if self.max_wait_seconds < self.debounce_seconds:
            raise ValueError("{max_wait_seconds} should not be less than {debounce_seconds}")
        return self
