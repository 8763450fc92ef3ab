"""nginx as docker/nginx configures it, in front of servers of a test: its own files, with other ports and places.

A certificate authority of the test's own signs what nginx shows; whoever trusts `Authority.file` checks it in earnest.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from tests.support.authority import NAME, Authority
from tests.support.node import missing
from tests.support.server import REPO, free_port

FILES = REPO / "docker" / "nginx"


def nginx_binary() -> str:
    """The nginx to run, or the end of the test when there is none."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        missing("nginx is not installed (apt-get install nginx-light)")
    return found


class Front:
    """nginx with the files of docker/nginx. Use as `with`.

    Args:
        folder: For its files; empty.
        servers: Ports of the servers behind it, on 127.0.0.1.
    """

    def __init__(self, folder: Path, servers: Sequence[int]) -> None:
        self.folder, self.servers = folder, servers
        self.http, self.https = free_port(), free_port()
        self.authority = Authority(folder)
        self.tls = folder / "tls"
        self.serial = self.authority.issue(self.tls)
        self._process: subprocess.Popen[bytes] | None = None
        self.main = self._write()

    @property
    def url(self) -> str:
        """What a y-websocket provider takes as its server URL."""
        return f"wss://{NAME}:{self.https}"

    def _write(self) -> Path:
        shutil.copytree(FILES, self.folder / "nginx")
        for file in (self.folder / "nginx").rglob("*"):
            if file.is_file():
                text = file.read_text()
                text = text.replace("/tmp/", f"{self.folder}/")  # before the folder's own name may be in it
                text = text.replace("/etc/nginx/conf.d", f"{self.folder}/nginx/conf.d")
                text = text.replace("/etc/nginx/tls", str(self.tls))
                text = re.sub(r"listen 8080\b", f"listen 127.0.0.1:{self.http}", text)
                text = re.sub(r"listen 8443\b", f"listen 127.0.0.1:{self.https}", text)
                text = re.sub(
                    r"^( *)server collab:1234(.*)$",
                    lambda line: "\n".join(f"{line[1]}server 127.0.0.1:{port}{line[2]}" for port in self.servers),
                    text,
                    flags=re.MULTILINE,
                )
                text = text.replace("/dev/stderr", f"{self.folder}/error.log")
                file.write_text(text.replace("/dev/stdout", f"{self.folder}/access.log"))
        return self.folder / "nginx" / "nginx.conf"

    def _command(self, *more: str) -> list[str]:
        return [nginx_binary(), "-p", str(self.folder), "-e", f"{self.folder}/error.log", "-c", str(self.main), *more]

    def check(self) -> str:
        """What `nginx -t` says.

        Raises:
            AssertionError: It does not take the files, or warns.
        """
        done = subprocess.run(self._command("-t"), capture_output=True, text=True)
        assert done.returncode == 0 and "[warn]" not in done.stderr and "[emerg]" not in done.stderr, done.stderr
        return done.stderr

    def __enter__(self) -> Front:
        self._process = subprocess.Popen(self._command("-g", "daemon off;" + " user root;" * (os.geteuid() == 0)))
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.https), 1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise AssertionError(f"nginx does not listen: {self.errors()}") from None
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)  # at once, with all its workers
            self._process.wait(10)

    def reload(self) -> None:
        """Read files and certificates anew, as `nginx -s reload`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def errors(self) -> str:
        file = self.folder / "error.log"
        return file.read_text() if file.exists() else ""

    def accesses(self) -> str:
        file = self.folder / "access.log"
        return file.read_text() if file.exists() else ""

    def trust(self) -> ssl.SSLContext:
        """Trusts the test's own authority, and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority.file))

    def shown(self, version: ssl.TLSVersion | None = None) -> tuple[int, str]:
        """The serial number of the certificate that new clients see, and the version of TLS.

        Raises:
            ssl.SSLError: They do not come to terms.
        """
        trust = self.trust()
        if version is not None:
            trust.minimum_version = trust.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", self.https), 5) as plain,
            trust.wrap_socket(plain, server_hostname=NAME) as secure,
        ):
            certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
            return certificate.serial_number, secure.version() or ""
