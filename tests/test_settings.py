"""Where values come from, what is said when they are wrong, and that every one of them is used."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from collab.settings import (
    OLDER_NAMES,
    PREFIX,
    InvalidSettings,
    Settings,
    every_setting,
    explain,
    load_settings,
    survey,
)
from collab.settings.sections import ServerSettings

COLLAB = Path(__file__).parents[1] / "collab"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith(PREFIX) or name in OLDER_NAMES.values():
            monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch):
    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def wrong(overrides=None) -> list[str]:
    """The lines of the error that loading ends with."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def sources(settings: Settings) -> dict[str, tuple[str, str]]:
    return {row.name: (row.value, row.source) for row in explain(settings) if row.source != "default"}


def test_defaults():
    settings = load_settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 1234)
    assert settings.store.url == "sqlite:///data/collab.db"
    assert settings.store.journal_bytes == 64 * 2**20
    assert settings.auth.jwt_secret is None
    assert sources(settings) == {}


def test_frozen():
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.server.port = 1
    with pytest.raises(ValidationError):
        settings.server = ServerSettings()


def test_variables(env):
    env(COLLAB_SERVER__PORT="80", COLLAB_STORE__JOURNAL_BYTES="1MiB", COLLAB_LIVENESS__PROBE_SECONDS="1.5")
    settings = load_settings()
    assert settings.server.port == 80
    assert settings.store.journal_bytes == 2**20
    assert sources(settings) == {
        "server.port": ("80", "COLLAB_SERVER__PORT"),
        "store.journal_bytes": ("1MiB", "COLLAB_STORE__JOURNAL_BYTES"),
        "liveness.probe_seconds": ("1.5", "COLLAB_LIVENESS__PROBE_SECONDS"),
    }


def test_older_names(env):
    env(WS_HOST="::1", WS_PORT="99", JWT_SECRET="hush", JWT_ISSUER="me")
    settings = load_settings()
    assert (settings.server.host, settings.server.port) == ("::1", 99)
    assert settings.auth.jwt_secret is not None
    assert settings.auth.jwt_secret.get_secret_value() == "hush"
    assert sources(settings) == {
        "server.host": ("::1", "WS_HOST"),
        "server.port": ("99", "WS_PORT"),
        "auth.jwt_secret": ("********", "JWT_SECRET"),
        "auth.jwt_issuer": ("me", "JWT_ISSUER"),
    }


def test_new_name_goes_before_the_older_one_and_an_option_before_both(env):
    env(WS_PORT="1", WS_HOST="older")
    assert load_settings().server.port == 1
    env(COLLAB_SERVER__PORT="2")
    assert sources(load_settings())["server.port"] == ("2", "COLLAB_SERVER__PORT")
    settings = load_settings({"server": {"port": 3, "host": None}, "store": {"url": "memory:"}})
    assert sources(settings) == {
        "server.host": ("older", "WS_HOST"),
        "server.port": ("3", "--port"),
        "store.url": ("memory:", "--store"),
    }


def test_the_winner_hides_what_is_wrong_with_the_others(env):
    env(WS_PORT="nonsense", COLLAB_SERVER__PORT="2")
    assert load_settings().server.port == 2


@pytest.mark.parametrize("variable", ["COLLAB_SERVER__PORT", "WS_PORT", "DEBUG", "JWT_ISSUER"])
def test_empty_is_not_set(env, variable):
    env(**{variable: ""})
    assert sources(load_settings()) == {}


@pytest.mark.parametrize("variable", ["COLLAB_AUTH__JWT_SECRET", "JWT_SECRET"])
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_secret_is_a_mistake_not_an_open_door(env, variable, value):
    env(**{variable: value})
    assert wrong() == [f"{variable} is empty: give the secret, or unset it to say that there is none"]


@pytest.mark.parametrize("yes", ["1", "true", "YES", "on"])
def test_debug_means_more_and_readable_logs(env, yes):
    env(DEBUG=yes)
    settings = load_settings()
    assert (settings.log.level, settings.log.format) == ("debug", "console")
    assert sources(settings)["log.level"] == ("debug", "DEBUG")


@pytest.mark.parametrize("no", ["0", "false", "No", "off"])
def test_no_debug(env, no):
    env(DEBUG=no)
    assert load_settings().log.level == "info"


def test_debug_leaves_alone_what_was_set(env):
    env(COLLAB_SERVER__DEBUG="yes", COLLAB_LOG__LEVEL="WARNING")
    settings = load_settings()
    assert (settings.log.level, settings.log.format) == ("warning", "console")
    assert sources(settings)["log.level"] == ("warning", "COLLAB_LOG__LEVEL")
    assert Settings(server=ServerSettings(debug=True)).log.format == "console"


def test_arguments(env):
    env(COLLAB_SERVER__PORT="2", COLLAB_SERVER__HOST="a")
    settings = Settings(server={"port": 3})
    assert (settings.server.host, settings.server.port) == ("a", 3)
    assert settings.source("server.port") == "Settings(server.port)"
    assert Settings(server=ServerSettings(port=4)).server.port == 4


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("COLLAB_FOO", "COLLAB_FOO is not a setting: unset it (`collab doctor` lists all settings)"),
        ("COLLAB_SERVER__PROT", "COLLAB_SERVER__PROT is not a setting: did you mean COLLAB_SERVER__PORT?"),
        ("COLLAB_SEVER__PORT", "COLLAB_SEVER__PORT is not a setting: did you mean COLLAB_SERVER__PORT?"),
        ("COLLAB_SERVER_PORT", "COLLAB_SERVER_PORT is not a setting: did you mean COLLAB_SERVER__PORT?"),
        ("COLLAB_SERVER__PORT__X", "COLLAB_SERVER__PORT__X is not a setting: did you mean COLLAB_SERVER__PORT?"),
        ("collab_server__port", "collab_server__port is not a setting: did you mean COLLAB_SERVER__PORT?"),
    ],
)
def test_unknown_variable(env, variable, says):
    env(**{variable: "1"})
    assert wrong() == [says]


@pytest.mark.parametrize("variable", ["COLLAB_SERVICE_HOST", "COLLAB_PORT", "COLLAB_PORT_1234_TCP_ADDR"])
def test_what_kubernetes_puts_there(env, variable):
    env(**{variable: "tcp://10.0.0.1:1234"})
    assert "enableServiceLinks: false" in wrong()[0]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("COLLAB_SERVER__PORT", "x", "COLLAB_SERVER__PORT is 'x', but it should be a whole number"),
        ("WS_PORT", "70000", "WS_PORT is '70000', but it should be less than or equal to 65535"),
        ("DEBUG", "app:*", "DEBUG is 'app:*', but it should be yes or no (also: true, false, on, off, 1, 0)"),
        ("COLLAB_LOG__FORMAT", "xml", "COLLAB_LOG__FORMAT is 'xml', but it should be 'auto', 'json' or 'console'"),
        (
            "COLLAB_LIMITS__MESSAGE_BYTES",
            "16 megs",
            "COLLAB_LIMITS__MESSAGE_BYTES is '16 megs', but it should be a size such as 65536, 64KiB, 16MiB or 1GB",
        ),
        (
            "COLLAB_LIVENESS__SILENT_SECONDS",
            "30",
            "COLLAB_LIVENESS__SILENT_SECONDS (30) must be more than twice COLLAB_LIVENESS__PROBE_SECONDS (15), "
            "so that one lost answer cuts nobody off: raise the first",
        ),
    ],
)
def test_bad_value(env, variable, value, says):
    env(**{variable: value})
    assert wrong() == [says]


def test_options_are_named_as_they_were_typed():
    assert wrong({"server": {"port": 99_999}}) == ["--port is '99999', but it should be less than or equal to 65535"]
    assert wrong({"store": {"url": ""}}) == ["--store is '', but it should not be empty"]
    assert wrong({"server": {"keyfile": __file__}}) == [
        "--keyfile is set but COLLAB_SERVER__CERTFILE is not: set both for TLS, or none"
    ]


def test_everything_wrong_is_said_at_once(env):
    env(COLLAB_FOO="1", WS_PORT="x", COLLAB_STORE__CHECKPOINT_ROWS="0", JWT_SECRET="")
    lines = wrong()
    assert [line.split()[0] for line in lines] == [
        "COLLAB_FOO",
        "JWT_SECRET",
        "WS_PORT",
        "COLLAB_STORE__CHECKPOINT_ROWS",
    ]


def test_unknown_arguments():
    with pytest.raises(InvalidSettings, match=r"^Settings\(server.prot\) is not a setting: leave it out$"):
        Settings(server={"prot": 1})
    with pytest.raises(InvalidSettings, match=r"^Settings\(zoo\) is not a setting: leave it out$"):
        Settings(zoo={})


def test_nothing_secret_is_told(env):
    env(
        COLLAB_STORE__URL="postgres://ann:hush@db/x?sslpassword=hush", JWT_SECRET="hush", COLLAB_FOO="hush", WS_PORT="x"
    )
    rows, problems = survey()
    assert "hush" not in repr((rows, problems))
    assert "hush" not in "\n".join(wrong())


def test_survey_without_problems():
    assert survey() == (explain(load_settings()), [])


def test_survey_with_problems_shows_the_others_too(env):
    env(WS_PORT="x", COLLAB_STORE__JOURNAL_BYTES="2MiB")
    rows, problems = survey({"store": {"url": "memory:", "retry_seconds": None}})
    shown = {row.name: (row.value, row.source) for row in rows}
    assert len(rows) == len(every_setting())
    assert shown["server.port"] == ("x", "WS_PORT")
    assert shown["store.journal_bytes"] == ("2MiB", "COLLAB_STORE__JOURNAL_BYTES")
    assert shown["store.url"] == ("memory:", "--store")
    assert shown["limits.message_bytes"] == ("16MiB", "default")
    assert [problem.name for problem in problems] == ["server.port"]


@pytest.mark.parametrize("setting", every_setting(), ids=lambda setting: setting.name)
def test_every_setting_describes_itself(setting):
    assert setting.description.endswith(".")
    assert setting.description[0].isupper()
    if setting.unit == "number":
        assert "number" in setting.description.lower()


def test_every_setting_can_be_set_by_its_variable(env):
    """What is shown for a default is what one may write."""
    defaults = {setting.variable: setting.show(setting.info.default) for setting in every_setting()}
    env(**{variable: shown for variable, shown in defaults.items() if shown != "(not set)"})
    assert [row.value for row in explain(load_settings())] == list(defaults.values())


def test_every_setting_is_read_somewhere():
    """A setting that nothing reads is a promise that nobody keeps."""
    read = {
        node.attr
        for path in COLLAB.rglob("*.py")
        if path.parent.name != "settings"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    unread = [setting.name for setting in every_setting() if setting.field not in read]
    assert unread == []
