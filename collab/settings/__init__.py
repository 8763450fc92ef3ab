"""Every setting: its value, where that came from, and what is wrong with it.

A value is looked for in this order: command-line option, `COLLAB_SECTION__FIELD`, the variable's older name (if it has
one), default. An empty variable counts as not set, except an empty secret, which is refused. Nothing is read here but
the environment and whether the certificate files can be opened, so what is wrong is found before anything starts.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from pydantic import PrivateAttr, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ..errors import SettingsError
from .access import AdminSettings, AuthSettings
from .hooks import HookSettings
from .limits import LimitSettings
from .sections import (
    HistorySettings,
    LivenessSettings,
    LogSettings,
    RoomSettings,
    Section,
    ServerSettings,
    StoreSettings,
)
from .values import MASK, mask_url, parse_size, show_size

PREFIX = "COLLAB_"

# What deployments set before this server had names of its own.
OLDER_NAMES = {
    "server.host": "WS_HOST",
    "server.port": "WS_PORT",
    "server.debug": "DEBUG",
    "auth.jwt_secret": "JWT_SECRET",
    "auth.jwt_secret_file": "JWT_SECRET_FILE",
    "auth.jwt_issuer": "JWT_ISSUER",
}
# Options not called after their field alone.
OPTIONS = {"store.url": "--store", "log.level": "--log-level", "log.format": "--log-format"}

PLAINLY = {
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "float_parsing": "it should be a number",
    "bool_parsing": "it should be yes or no (also: true, false, on, off, 1, 0)",
    "string_too_short": "it should not be empty",
}


class Problem(NamedTuple):
    """One thing wrong: the setting's dotted name (None when no setting is meant) and a sentence for the user."""

    name: str | None
    sentence: str


class InvalidSettings(SettingsError):
    """What `Settings` raises: everything that is wrong, one line each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(problem.sentence for problem in self.problems)


class Effective(NamedTuple):
    """One setting as it stands: dotted name, value with secrets masked, where it came from, what it means."""

    name: str
    value: str
    source: str
    description: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one field without looking at any value."""

    name: str
    info: FieldInfo

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def field(self) -> str:
        return self.name.partition(".")[2]

    @property
    def variable(self) -> str:
        return PREFIX + self.name.replace(".", "__").upper()

    @property
    def option(self) -> str:
        return OPTIONS.get(self.name, "--" + self.field.replace("_", "-"))

    @property
    def description(self) -> str:
        return self.info.description or ""

    @property
    def is_size(self) -> bool:
        return any(getattr(mark, "func", None) is parse_size for mark in self.info.metadata)

    @property
    def is_secret(self) -> bool:
        return "SecretStr" in str(self.info.annotation)

    @property
    def unit(self) -> str:
        """What its value is counted in, or looks like."""
        if self.is_size or self.field.endswith("_bytes"):
            return "bytes"
        if self.field.endswith("_seconds"):
            return "seconds"
        kind = str(self.info.annotation)
        for mark, unit in (("bool", "yes or no"), ("int", "number"), ("Path", "file")):
            if mark in kind:
                return unit
        return "text"

    def find(self, sections: Mapping[str, Any], *, options: bool) -> tuple[object, str]:
        """The value as given, and what the user calls the place it was given in."""
        given = sections.get(self.section, {})
        if isinstance(given, Section):
            given = given.model_dump(exclude_unset=True)
        if self.field in given:
            return given[self.field], self.option if options else f"Settings({self.name})"
        for variable in filter(None, (self.variable, OLDER_NAMES.get(self.name))):
            if os.environ.get(variable) or (self.is_secret and variable in os.environ):
                return os.environ[variable], variable
        return self.info.default, "default"

    def show(self, value: object) -> str:
        """The value as one could write it, with anything secret masked."""
        if value is None:
            return "(not set)"
        if self.is_secret:
            return MASK
        if self.is_size and isinstance(value, int):
            return show_size(value)
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, bool):
            return str(value).lower()
        return mask_url(str(value)) if self.name.endswith("url") else str(value)


class Settings(BaseSettings):
    """All settings, from arguments and the environment: `Settings(server={"port": 80})`. They never change.

    Raises:
        InvalidSettings: Something is wrong; its text has one line for each problem.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    history: HistorySettings = HistorySettings()
    rooms: RoomSettings = RoomSettings()
    limits: LimitSettings = LimitSettings()
    liveness: LivenessSettings = LivenessSettings()
    log: LogSettings = LogSettings()
    auth: AuthSettings = AuthSettings()
    admin: AdminSettings = AdminSettings()
    hooks: HookSettings = HookSettings()

    def __init__(self, *, _options: bool = False, **sections: Any) -> None:
        sources = {setting.name: setting.find(sections, options=_options)[1] for setting in every_setting()}
        problems = _unknown_variables() + _empty_secrets(sections, options=_options)
        try:
            super().__init__(**sections)
        except ValidationError as error:
            problems += [_problem(details, sources) for details in error.errors(include_url=False)]
        if problems:
            raise InvalidSettings(problems) from None
        for name in ("log.level", "log.format"):
            if self.server.debug and sources[name] == "default":
                sources[name] = sources["server.debug"]
        self._sources = sources

    def source(self, name: str) -> str:
        """What the user calls the place that the setting `name` ("server.port") was given in, or `default`."""
        return self._sources[name]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Not `env_settings`: it takes names in any case, and JSON for a whole section, which nobody could then explain.
        found: dict[str, dict[str, object]] = {}
        for setting in every_setting():
            value, source = setting.find({}, options=False)
            if source != "default":
                found.setdefault(setting.section, {})[setting.field] = value
        return init_settings, InitSettingsSource(settings_cls, init_kwargs=dict(found))

    @model_validator(mode="before")
    @classmethod
    def _debug_says_more(cls, given: dict[str, Any]) -> dict[str, Any]:
        server, log = given.get("server", {}), given.get("log", {})
        try:
            debug = (
                server.debug
                if isinstance(server, ServerSettings)
                else _bool.validate_python(server.get("debug", False))
            )
        except ValidationError:
            return given
        if debug and isinstance(log, dict):
            return given | {"log": {"level": "debug", "format": "console"} | log}
        return given


_bool = TypeAdapter(bool)


@cache
def every_setting() -> tuple[Setting, ...]:
    """All settings, in the order they are documented in."""
    return tuple(
        Setting(f"{section}.{field}", info)
        for section, outer in Settings.model_fields.items()
        if isinstance(outer.annotation, type) and issubclass(outer.annotation, Section)
        for field, info in outer.annotation.model_fields.items()
    )


def load_settings(overrides: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """The settings of this process; `overrides` are command-line options by section and field (None: not given).

    Raises:
        InvalidSettings: Something is wrong; its text has one line for each problem.
    """
    return Settings(_options=True, **_given(overrides))


def explain(settings: Settings) -> list[Effective]:
    """Every setting with its value and where that came from; secrets and passwords are masked."""
    return [
        Effective(
            setting.name,
            setting.show(getattr(getattr(settings, setting.section), setting.field)),
            settings.source(setting.name),
            setting.description,
        )
        for setting in every_setting()
    ]


def survey(overrides: Mapping[str, Mapping[str, object]] | None = None) -> tuple[list[Effective], list[Problem]]:
    """What `explain` tells, and all problems; when there are any the values are shown as they were given."""
    try:
        return explain(load_settings(overrides)), []
    except InvalidSettings as error:
        rows = []
        for setting in every_setting():
            value, source = setting.find(_given(overrides), options=True)
            rows.append(Effective(setting.name, setting.show(value), source, setting.description))
        return rows, error.problems


def _given(overrides: Mapping[str, Mapping[str, object]] | None) -> dict[str, dict[str, Any]]:
    return {
        section: {field: value for field, value in fields.items() if value is not None}
        for section, fields in (overrides or {}).items()
    }


def _unknown_variables() -> list[Problem]:
    known = {setting.variable: setting for setting in every_setting()}
    problems = []
    for variable in sorted(os.environ):
        if not variable.upper().startswith(PREFIX) or variable in known:
            continue
        advice = "unset it (`collab doctor` lists all settings)"
        if re.fullmatch(r"COLLAB_(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP).*)?)", variable):
            advice = (
                "Kubernetes made it for a service of that name: set `enableServiceLinks: false`, or rename the service"
            )
        elif near := difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.75):
            advice = f"did you mean {near[0]}?"
        problems.append(Problem(None, f"{variable} is not a setting: {advice}"))
    return problems


def _empty_secrets(sections: Mapping[str, Any], *, options: bool) -> list[Problem]:
    problems = []
    for setting in filter(lambda setting: setting.is_secret, every_setting()):
        value, source = setting.find(sections, options=options)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and not text.strip():
            sentence = f"{source} is empty: give the secret, or unset it to say that there is none"
            problems.append(Problem(setting.name, sentence))
    return problems


def _problem(details: ErrorDetails, sources: Mapping[str, str]) -> Problem:
    """An error of pydantic as one sentence that names the variable as the user wrote it."""
    section, *rest = (str(part) for part in details["loc"])
    settings = {setting.name: setting for setting in every_setting()}
    cause = details.get("ctx", {}).get("error")
    wanted = str(cause) if cause else PLAINLY.get(details["type"], details["msg"].replace("Input should", "it should"))
    setting = settings.get(f"{section}.{rest[0]}") if rest else None
    if setting is not None:
        spelled = _spelled(setting, sources)
        return Problem(setting.name, f"{spelled} is {setting.show(str(details['input']))!r}, but {wanted}")
    if details["type"] == "extra_forbidden":
        return Problem(None, f"Settings({'.'.join([section, *rest])}) is not a setting: leave it out")
    for setting in settings.values():
        if setting.section == section:
            wanted = wanted.replace(f"{{{setting.field}}}", _spelled(setting, sources))
    return Problem(section, wanted)


def _spelled(setting: Setting, sources: Mapping[str, str]) -> str:
    return setting.variable if sources[setting.name] == "default" else sources[setting.name]
