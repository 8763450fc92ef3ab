"""Sizes and URLs as people write them, and as they are shown again."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

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
    """The URL with its password, and what looks like one in its query, replaced."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return MASK
    if password:
        url = re.sub(r"(//[^/?#]*?:)[^/?#]*(?=@)", rf"\1{MASK}", url, count=1)
    return re.sub(r"(?i)([?&][^=&#]*(?:pass|pwd|secret|token|key)[^=&#]*=)[^&#]*", rf"\1{MASK}", url)
