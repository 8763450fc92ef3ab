"""Sizes and URLs as people write them, and as they are shown again."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

MASK = "********"
KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": KiB, "mib": MiB, "gib": GiB, "tib": KiB * GiB}


def parse_size(value: object) -> object:
    """Bytes from `65536`, `64KiB`, `1.5 MiB` or `1GB`. (pydantic's ByteSize takes `16,777,216` for 16 bytes.)"""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+|\d*\.\d+)\s*([a-zA-Z]*)\s*", value, re.ASCII)
    if match is None or match[2].lower() not in UNITS:
        raise ValueError("it should be a size such as 65536, 64KiB, 16MiB or 1GB")
    unit = UNITS[match[2].lower()]
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def show_size(size: int) -> str:
    """The size in the largest binary unit that divides it: `64MiB`."""
    for name, unit in (("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def mask_url(url: str) -> str:
    """The URL with its password, and what looks like one in its query, replaced; rather too much of it than too little.

    A password may hold what ends a host's name, a "/" for one, if whoever wrote it forgot to encode that.
    """
    try:
        urlsplit(url)
    except ValueError:
        return MASK
    url = re.sub(r"(//[^/?#@:]*:).*(?=@)", rf"\1{MASK}", url, count=1, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&#]*(?:pass|pwd|secret|token|key)[^=&#]*=)[^&#]*", rf"\1{MASK}", url)


def check_secret_file(path: Path | None) -> Path | None:
    """The path itself, when this user can read something from it but white space; else raises ValueError."""
    if path is not None:
        try:
            if not path.read_bytes().strip():
                raise ValueError("it should be a file that holds the secret, and this one is empty")
        except OSError as error:
            raise ValueError(f"it should be a file that this user can read ({error.strerror})") from None
    return path


def read_secret(secret: SecretStr | None, file: Path | None) -> str | None:
    """A secret that a setting holds, or the file that another one names; white space around it does not count there."""
    if secret is not None:
        return secret.get_secret_value()
    return None if file is None else file.read_bytes().strip().decode("utf-8", "replace")


def parse_list(text: str | None) -> list[str]:
    """The words between commas."""
    return [word for word in (part.strip() for part in (text or "").split(",")) if word]


def parse_networks(text: str | None) -> list[IPv4Network | IPv6Network]:
    """Networks from `10.0.0.0/8, 127.0.0.1, ::1`; raises ValueError."""
    try:
        return [ip_network(word) for word in parse_list(text)]
    except ValueError as error:
        raise ValueError(f"it should be addresses or networks such as 10.0.0.0/8, by commas ({error})") from None


def parse_times(text: str | None) -> tuple[int, ...]:
    """Times of day from `03:00, 15:30`: minutes after midnight, in order; raises ValueError."""
    found = set[int]()
    for word in parse_list(text):
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", word, re.ASCII)
        if match is None:
            raise ValueError(f"it should be times of day such as 03:00 or 15:30, by commas, not {word!r}")
        found.add(60 * int(match[1]) + int(match[2]))
    return tuple(sorted(found))


def parse_origin(text: str) -> tuple[str, str, int]:
    """Scheme, host in small letters and port of an origin (RFC 6454) such as `https://app.example.com`.

    The host may begin with `*.`. Raises ValueError for anything that a browser would not send, with that exception.
    """
    match = re.fullmatch(r"(https?)://((?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", text.lower())
    if match is None:
        raise ValueError("it should be origins such as https://app.example.com or https://*.example.com, by commas")
    return match[1], match[2], int(match[3] or (443 if match[1] == "https" else 80))
