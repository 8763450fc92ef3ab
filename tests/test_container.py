"""The image without a container engine: this plays the Dockerfile, line by line, and runs what comes out of it.

Its files are copied, its RUN lines run, its server is started with its environment, as another user where that is
allowed, asked by its HEALTHCHECK and stopped by its STOPSIGNAL. Only the base image is not there: the paths of the
image (/opt, /data and so on) lie below a temporary folder, and some Python of this machine stands in for Alpine's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.node import missing

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GRACE_SECONDS = 30


def read_stages(dockerfile: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, as (word, rest)."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = []
    for instruction in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if not instruction:
            continue
        word, _, rest = instruction.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


CONSOLE, BUILD, FINAL = read_stages(ROOT / "Dockerfile")
SAYS = dict(FINAL)
NPM = shutil.which("npm") is not None or "CI" in os.environ
"""Whether the pages can be built; without it the image is played as if its stage were not there."""
UID = int(SAYS["USER"].split(":")[0])


@dataclass
class Image:
    """What a build left behind, below `root`."""

    root: Path
    user: int | None  # None: the one who runs the tests
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})

    def here(self, text: str) -> str:
        """The text with every path of the image put below `root`."""
        return re.sub(r"(?<!\w)/(?=(opt|dist|src|data|console)\b)", f"{self.root}/", text)

    def set_env(self, env: dict[str, str], assignments: str) -> None:
        for assignment in shlex.split(assignments):
            name, _, value = assignment.partition("=")
            env[name] = self.here(value).replace("$PATH", env["PATH"])

    def popen(self, command: list[str], **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [shutil.which(command[0], path=self.env["PATH"]) or command[0], *command[1:]],
            cwd=self.here(SAYS["WORKDIR"]),
            env=self.env | env,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: list[str], **env: str) -> tuple[int, str]:
        process = self.popen(command, **env)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def healthcheck(self, **env: str) -> int:
        return self.run(json.loads(SAYS["HEALTHCHECK"].partition(" CMD ")[2]), **env)[0]


def find_python(user: int | None) -> str:
    """A Python that the user can run: one in a home folder of root's cannot be."""
    candidates = (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3")
    for candidate in filter(os.path.exists, candidates):
        fit = [candidate, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(fit, user=user, group=user, cwd="/", capture_output=True).returncode == 0:
                return candidate
        except PermissionError:
            continue
    missing(f"no Python >= 3.11 with venv here that user {user} may run (Debian: apt-get install python3-venv)")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    user = UID if os.geteuid() == 0 else None
    python = find_python(user)
    with tempfile.TemporaryDirectory(prefix="collab-image-") as folder:
        image = Image(Path(folder), user)
        image.root.chmod(0o755)  # the other user has to get in
        subprocess.run([python, "-m", "venv", image.root / "base"], check=True)
        build_env = os.environ | {"PATH": f"{image.root}/base/bin:{os.environ['PATH']}"}
        cwd = image.root
        for word, rest in [*(CONSOLE if NPM else []), *BUILD]:
            if word == "ENV":
                image.set_env(build_env, rest)
            elif word == "WORKDIR":
                cwd = Path(image.here(rest))
                cwd.mkdir(parents=True)
            elif word == "COPY" and (NPM or "--from=console" not in rest):
                copy(image.here(rest), cwd)
            elif word == "RUN":
                done = subprocess.run(image.here(rest), shell=True, cwd=cwd, env=build_env, capture_output=True)
                assert done.returncode == 0, f"RUN {rest}\n{done.stdout.decode()}{done.stderr.decode()}"
        shutil.rmtree(image.root / "src")  # the final stage has the environment only
        shutil.rmtree(image.root / "base")
        shutil.rmtree(image.root / "console", ignore_errors=True)
        for word, rest in FINAL:
            if word == "ENV":
                image.set_env(image.env, rest)
        yield image


@pytest.fixture
def data(image: Image) -> Iterator[Path]:
    """A fresh volume that belongs to the server's user."""
    folder = Path(image.here(SAYS["VOLUME"]))
    folder.mkdir()
    if image.user is not None:
        os.chown(folder, image.user, image.user)
    yield folder
    shutil.rmtree(folder)


def copy(words: str, cwd: Path) -> None:
    *sources, target = words.removeprefix("--from=console ").split()
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = ["__pycache__", "node_modules"] + ([] if Path(source).is_absolute() else ["dist"])
            shutil.copytree(ROOT / source, cwd / target, ignore=shutil.ignore_patterns(*ignored), dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, cwd / target)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def served(image: Image, port: int, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The image's command; ready when /health says so. 127.0.0.2 answers only if it listens on every address."""
    command = json.loads(SAYS["ENTRYPOINT"]) + json.loads(SAYS["CMD"])
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.{2 if sys.platform == 'linux' else 1}:{port}/health"
    deadline = time.monotonic() + 60
    with image.popen(command, **env) as process:
        try:
            while True:
                assert process.poll() is None, process.communicate()[0]
                try:
                    with local.open(url, timeout=5) as answer:
                        assert answer.status == 200
                        assert isinstance(json.load(answer), dict)
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        process.kill()
                        pytest.fail(f"{url}: {error}\n{process.communicate()[0]}")
                    time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("variable", ["WS_PORT", "COLLAB_SERVER__PORT"])
def test_the_image_serves_where_its_user_says_and_stops_when_told(image: Image, data: Path, variable: str) -> None:
    port = free_port()
    env = {variable: str(port)}
    assert image.healthcheck(**env) != 0
    with served(image, port, **env) as server:
        assert image.healthcheck(**env) == 0
        server.send_signal(getattr(signal, SAYS["STOPSIGNAL"]))
        output, _ = server.communicate(timeout=GRACE_SECONDS)
        assert server.returncode == 0, output
    assert image.healthcheck(**env) != 0
    assert (data / "collab.db").stat().st_uid == (os.geteuid() if image.user is None else image.user)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to root")
def test_a_volume_that_belongs_to_root_is_explained(image: Image, data: Path) -> None:
    os.chown(data, 0, 0)
    code, output = image.run(["collab", "serve"], WS_PORT=str(free_port()))
    assert code == 2, output
    assert str(data) in output and str(UID) in output


def test_the_installed_package_is_whole(image: Image, data: Path) -> None:
    code, output = image.run(["python", "-m", "collab", "--help"])
    assert (code, "serve" in output) == (0, True), output
    package = next(image.root.glob("opt/collab/lib/python3*/site-packages/collab"))
    for source in (ROOT / "collab").rglob("*"):
        if source.is_file() and not {"__pycache__", "console"} & set(source.parts):
            assert (package / source.relative_to(ROOT / "collab")).is_file(), f"{source} is not in the wheel"
    assert not list(package.rglob("node_modules")) and not list(package.rglob("*.ts"))


@pytest.mark.skipif(not NPM, reason="npm, which builds the pages, is not installed")
def test_the_demo_editor_and_the_console_are_in_the_image(image: Image, data: Path) -> None:
    port = free_port()
    with served(image, port, WS_PORT=str(port), COLLAB_ADMIN__TOKEN="0f3a9b7c5d1e8264" * 4):
        local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        scripts: list[str] = []
        for page in ("demo", "console"):
            with local.open(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                scripts += re.findall(r'src="\.(/assets/[^"]+)"', answer.read().decode())
        assert len(scripts) == 4
        for script in scripts:
            with local.open(f"http://127.0.0.1:{port}{script}", timeout=5) as answer:
                assert answer.status == 200


def test_the_build_may_read_all_that_it_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [rest for word, rest in CONSOLE + BUILD if word == "COPY" and not rest.startswith("--from")]
    assert {source.split("/")[0] for rest in copied for source in rest.split()[:-1]} == allowed


def test_the_server_is_not_root_and_its_port_is_left_to_the_user() -> None:
    assert UID > 0
    assert SAYS["EXPOSE"] == "1234"
    environment = " ".join(rest for word, rest in FINAL if word == "ENV")
    assert "COLLAB_SERVER__" not in environment and "WS_PORT" not in environment


def test_compose_runs_the_image_so_that_nothing_is_lost() -> None:
    service = COMPOSE["services"]["collab"]
    assert (ROOT / "docker" / service["build"] / "Dockerfile").is_file()
    assert [port.split(":")[-1] for port in service["ports"]] == ["1234"]
    volume, _, target = service["volumes"][0].partition(":")
    assert volume in COMPOSE["volumes"] and target == SAYS["VOLUME"]
    assert service["stop_grace_period"] == f"{GRACE_SECONDS}s"
    assert service["restart"] == "unless-stopped"
    assert {"interval", "timeout", "retries"} <= service["healthcheck"].keys()


def read_lock(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_locks_hold_what_the_project_asks_for() -> None:
    server, everything = read_lock("requirements.lock"), read_lock("requirements-dev.lock")
    assert server.items() <= everything.items()
    for lock, wanted in (
        (server, PROJECT["project"]["dependencies"]),
        (everything, PROJECT["dependency-groups"]["dev"]),
    ):
        for requirement in map(Requirement, wanted):
            assert lock[requirement.name] in requirement.specifier, f"{requirement}: run `make lock`"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_hashes_and_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^-|file:| @ ", text, re.MULTILINE)
    assert all(
        re.search(rf"^{package}(\[.*\])?==.*\\\n +--hash=sha256:", text, re.MULTILINE) for package in read_lock(name)
    )


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_alpine_has_a_wheel_of_every_part(machine: str, full: bool, tmp_path: Path) -> None:
    if not full:
        pytest.skip("fetches every wheel: --full")
    version = re.findall(r"python:(3\.\d+)-alpine", SAYS["FROM"])[0]
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    fetch += ["--python-version", version, "--dest", str(tmp_path), "-r", str(ROOT / "requirements.lock")]
    fetch += ["--platform", f"musllinux_1_2_{machine}", "--platform", f"musllinux_1_1_{machine}"]
    done = subprocess.run(fetch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
