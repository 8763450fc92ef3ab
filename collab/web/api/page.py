"""`/api/docs`: the operations as one page that loads nothing, not even a script."""

from __future__ import annotations

from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid #8886; padding: 0.5rem 0 1rem; }
h3 { font: 600 1rem ui-monospace, monospace; margin: 0.5rem 0; overflow-wrap: anywhere; }
b { display: inline-block; min-width: 4.5rem; }
table { border-collapse: collapse; } td { padding: 0.1rem 1rem 0.1rem 0; vertical-align: top; }
code { font-family: ui-monospace, monospace; }
"""


def page(schema: dict[str, Any], link: str) -> str:
    """The page for an OpenAPI document.

    Args:
        schema: The document.
        link: Where it is.
    """
    info = schema["info"]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style><h1>{escape(info['title'])}</h1>",
        f"<p>{escape(info['description'])}</p>",
        f'<p>For machines: <a href="{escape(link)}">openapi.json</a></p>',
    ]
    tag = None
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            first = operation.get("tags", [""])[0]
            if first != tag:
                tag = first
                parts.append(f"<h2>{escape(tag.capitalize())}</h2>")
            parts.append(_operation(method, path, operation, schema))
    return "".join(parts) + "</html>"


def _operation(method: str, path: str, operation: dict[str, Any], schema: dict[str, Any]) -> str:
    rows = [
        (f"{one['name']}", f"in the {one['in']}", one.get("description", "")) for one in operation.get("parameters", [])
    ]
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("body", media_type, _fields(body.get("schema", {}), schema)))
    for status, response in operation["responses"].items():
        for media_type, body in response.get("content", {"": {}}).items():
            text = response["description"] + " " + _fields(body.get("schema", {}), schema)
            rows.append((status, media_type, text.strip()))
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    about = escape(operation.get("description", ""))
    return (
        f"<article><h3><b>{method.upper()}</b> {escape(path)}</h3>"
        f"<p>{escape(operation['summary'])}. {about}</p><table>{lines}</table></article>"
    )


def _fields(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """The names of what is in a body."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found = document.get("components", {}).get("schemas", {}).get(name, schema)
    return ", ".join(found.get("properties", {}))
