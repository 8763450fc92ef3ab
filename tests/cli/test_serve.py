"""`collab serve`, up to the moment it would listen; the server itself is tested in tests/web and tests/faults."""

from __future__ import annotations

import pytest


@pytest.fixture
def started(monkeypatch):
    """The settings that a server was started with."""
    seen = []

    def run(settings):
        seen.append(settings)
        return 0

    monkeypatch.setattr("collab.web.server.run", run)
    monkeypatch.setattr("collab.log.configure", lambda level, format: None)
    return seen


def test_options_win_over_the_environment(collab, started):
    result = collab("serve", "--port", "4321", COLLAB_SERVER__PORT="1", WS_HOST="127.0.0.9")
    assert result.exit_code == 0
    [settings] = started
    assert settings.server.port == 4321
    assert settings.server.host == "127.0.0.9"
    assert settings.source("server.port") == "--port"


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {"COLLAB_SERVER__PROT": "1"}, "COLLAB_SERVER__PORT"),
        ([], {"COLLAB_LIMITS__MESSAGE_BYTES": "lots"}, "COLLAB_LIMITS__MESSAGE_BYTES"),
        (["--port", "70000"], {}, "--port"),
        (["--certfile", "nothing.pem"], {}, "--certfile"),
    ],
)
def test_wrong_settings_end_before_anything_opens(collab, started, tmp_path, arguments, variables, said):
    result = collab("serve", *arguments, **variables)
    assert result.exit_code == 2
    assert said in result.stderr
    assert started == [] and list(tmp_path.iterdir()) == []
