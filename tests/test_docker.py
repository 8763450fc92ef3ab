"""Every file under docker/, read by what will read it: nginx, the compose specification, the schemas of Kubernetes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from collab.settings import OLDER_NAMES, every_setting
from collab.settings.sections import ServerSettings
from tests.drills.front import Front

DOCKER = Path(__file__).parents[1] / "docker"
COMPOSE = sorted(DOCKER.glob("compose*.y*ml"))
MANIFESTS = sorted((DOCKER / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.33"
"""The version whose schemas the manifests are held against."""
TOLD = {setting.variable for setting in every_setting()} | set(OLDER_NAMES.values())
PRODUCTION = yaml.safe_load((DOCKER / "compose.production.yml").read_text())
SERVICES = PRODUCTION["services"]


def filled(text: str) -> str:
    """The file as compose reads it, with defaults for what is not set, and a word for what has to be."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "given", text)


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose(file):
    read = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(filled(file.read_text()))))
    read.validate()
    assert set(read.service_names()) == set(yaml.safe_load(file.read_text())["services"])


def test_compose_that_is_wrong_is_told():
    with pytest.raises(ValueError):
        PyCompose.from_yaml("services: {a: {image: x, restart: sometimes}}")


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_the_server_knows_every_variable(file):
    environment = yaml.safe_load(file.read_text())["services"]["collab"]["environment"]
    assert set(environment) <= TOLD, set(environment) - TOLD


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_in_production(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
    assert service["healthcheck"]["interval"] == "15s"
    assert set(service["deploy"]["resources"]) == {"limits", "reservations"}
    assert not service["image"].endswith(":latest")
    for secret in service.get("secrets", ()):
        assert secret in PRODUCTION["secrets"]


def test_only_the_ports_that_are_needed():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])


def test_the_server_believes_nginx_alone():
    collab, nginx = SERVICES["collab"], SERVICES["nginx"]
    trusted = collab["environment"]["COLLAB_SERVER__TRUSTED_PROXIES"]
    assert trusted == nginx["networks"]["front"]["ipv4_address"]
    assert collab["networks"]["front"]["ipv4_address"] != trusted


def test_nginx_lets_go_of_an_idle_connection_before_the_server_does():
    found = re.search(r"keepalive_timeout (\d+)s;", (DOCKER / "nginx/conf.d/collab.conf").read_text())
    assert found and int(found[1]) < ServerSettings().handshake_seconds


def test_no_secret_stands_in_a_file():
    for file in (*COMPOSE, *MANIFESTS, DOCKER / ".env.example"):
        for line in file.read_text().splitlines():
            assert not re.search(r"(SECRET|TOKEN|PASSWORD)\s*[:=]\s*\S", line) or "FILE" in line, line


def test_the_example_names_every_variable_of_compose():
    named = set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.production.yml").read_text())) - {"COLLAB_IMAGE"}
    assert named == used


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_kubernetes(file):
    if file.name == "kustomization.yaml":
        listed = yaml.safe_load(file.read_text())["resources"]
        assert {file.name, *listed} == {one.name for one in MANIFESTS}
        return
    for manifest in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_manifest_that_is_wrong_is_told():
    manifest = yaml.safe_load((DOCKER / "kubernetes" / "statefulset.yaml").read_text())
    manifest["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_kubernetes_variables():
    kustomization = yaml.safe_load((DOCKER / "kubernetes" / "kustomization.yaml").read_text())
    names = {literal.partition("=")[0] for literal in kustomization["configMapGenerator"][0]["literals"]}
    pod = yaml.safe_load((DOCKER / "kubernetes" / "statefulset.yaml").read_text())["spec"]["template"]["spec"]
    assert names | {one["name"] for one in pod["containers"][0]["env"]} <= TOLD


def test_kustomize_builds_it(tmp_path):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; Debian has none")
    made = subprocess.run(
        [kubectl, "kustomize", str(DOCKER / "kubernetes")], capture_output=True, text=True, check=True
    )
    kinds = {}
    for manifest in yaml.safe_load_all(made.stdout):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        kinds[manifest["kind"]] = manifest
    match = {"app.kubernetes.io/name": "collab"}
    assert kinds["StatefulSet"]["spec"]["selector"]["matchLabels"] == match
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == match
    assert kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == match
    assert kinds["Service"]["spec"]["selector"] == match


def test_the_hook_of_certbot(tmp_path):
    """Run in earnest, but for docker and chown: the certificate is where nginx reads it, for nobody else to read."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("docker", "chown"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/told\n')
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copy(DOCKER / "renewed", tmp_path)
    for name in ("fullchain", "privkey"):
        (tmp_path / f"{name}.pem").write_text(name)
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    subprocess.run([tmp_path / "renewed"], check=True, env={"PATH": path, "RENEWED_LINEAGE": str(tmp_path)})
    for name in ("fullchain", "privkey"):
        kept = tmp_path / "tls" / f"{name}.pem"
        assert (kept.read_text(), kept.stat().st_mode & 0o777) == (name, 0o400)
    assert (tmp_path / "told").read_text().splitlines()[-1].endswith("exec -T nginx nginx -s reload")


def test_nginx(tmp_path):
    """`nginx -t` on the files themselves, with other ports, places and certificates."""
    assert "test is successful" in Front(tmp_path, [1234, 1235]).check()
