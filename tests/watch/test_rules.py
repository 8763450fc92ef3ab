"""What Prometheus, Alertmanager and Grafana are given: read by their own tools, and speaking only of what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from collab.metrics import Metrics as Counted
from tests.support.server import Server
from tests.watch.tools import DOCKER, ROOT, needs, panels, rules

CASES = yaml.safe_load((ROOT / "tests" / "watch" / "alerts.yml").read_text("utf-8"))["tests"]
ALERTS: list[dict[str, Any]] = rules("alert")
NAME = re.compile(r"\b(?:collab|process|python)_[a-z_]+[a-z]\b")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs("promtool")
def test_prometheus_takes_its_configuration(tmp_path):
    text = (DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8")
    (tmp_path / "token").write_text("secret")
    text = text.replace("/run/secrets/metrics_token", str(tmp_path / "token"))
    text = text.replace("/etc/prometheus/rules", str(DOCKER / "prometheus" / "rules"))
    (tmp_path / "prometheus.yml").write_text(text)
    out = run("promtool", "check", "config", "--lint-fatal", tmp_path / "prometheus.yml")
    assert "2 rule files found" in out


@needs("promtool")
def test_every_alert_fires_and_stays_silent_as_it_should(tmp_path, figure):
    for file in [*(DOCKER / "prometheus" / "rules").glob("*.yml"), ROOT / "tests" / "watch" / "alerts.yml"]:
        name = "cases.yml" if file.parent.name == "watch" else file.name
        shutil.copy(file, tmp_path / name)
    run("promtool", "test", "rules", tmp_path / "cases.yml")
    figure(f"{len(ALERTS)} alerts fire and stay silent as they should")


@needs("promtool")
def test_a_case_that_is_wrong_is_noticed(tmp_path):
    for file in (DOCKER / "prometheus" / "rules").glob("*.yml"):
        shutil.copy(file, tmp_path / file.name)
    text = (ROOT / "tests" / "watch" / "alerts.yml").read_text("utf-8").replace("0x60", "1x60", 1)
    (tmp_path / "cases.yml").write_text(text)
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "cases.yml"], capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert(alert):
    """Both kinds of case, what a reader needs, and a runbook entry that is there."""
    tries = [one for case in CASES for one in case["alert_rule_test"] if one["alertname"] == alert["alert"]]
    assert {bool(one["exp_alerts"]) for one in tries} == {True, False}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    entry = (ROOT / page).read_text("utf-8").split(f"\n## {alert['alert']}\n")
    assert anchor == alert["alert"].lower() and len(entry) == 2
    text = entry[1].split("\n## ")[0]
    assert all(f"**{word}**" in text for word in ("Symptom", "Meaning", "First steps", "Remedy"))


def test_the_runbook_has_no_entry_for_an_alert_that_is_gone():
    text = (ROOT / "docs" / "howto" / "runbook.md").read_text("utf-8")
    assert set(re.findall(r"^## (Collab\w+)$", text, re.M)) == {alert["alert"] for alert in ALERTS}


@needs("amtool")
def test_alertmanager_takes_its_configuration():
    file = DOCKER / "alertmanager" / "alertmanager.yml"
    assert "2 receivers" in run("amtool", "check-config", file)
    for severity, receiver in (("critical", "page"), ("warning", "ticket")):
        out = run("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert out.strip() == receiver


def test_every_metric_that_is_asked_for_is_on_the_page_of_a_real_server():
    with Server() as server:
        there = server.metrics().names()
    recorded = {rule["record"] for rule in rules("record")}
    for expr in [rule["expr"] for rule in rules()] + [panel.expr for panel in panels()]:
        names = set(NAME.findall(re.sub(r"\bcollab:[a-z_0-9:]+", "", expr)))
        assert names <= there, expr
        assert set(re.findall(r"\bcollab:[a-z_0-9:]+", expr)) <= recorded
        assert names or "collab:" in expr or re.search(r"\bup\b", expr), expr


def test_label_values_that_are_asked_for_exist():
    page = Counted().render()[0].decode()
    for expr in [rule["expr"] for rule in rules()] + [panel.expr for panel in panels()]:
        for label, values in re.findall(r'(\w+)=~?"([^"]+)"', expr):
            assert label == "job" or all(f'{label}="{value}"' in page for value in values.split("|")), expr


@pytest.mark.parametrize("file", sorted((DOCKER / "grafana" / "dashboards").glob("*.json")), ids=lambda f: f.stem)
def test_dashboard(file):
    board = json.loads(file.read_text("utf-8"))
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert board["uid"] == f"collab-{file.stem}" and board["title"].startswith("collab: ")
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 0
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["datasources"][0]["uid"]}
