"""What stands in a room: read in every format, written as edits. A write is answered once it is committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ...content.edits import appending, of_state, replacing
from ...content.formats import Format
from ...content.patches import Operation, patching
from ...desk import Change, Desk
from ...errors import Conflict
from ...room import RoomCore
from ...wire import vet
from .asked import Asks, RoomName
from .audit import Audit
from .tags import demand, demand_none, same, tag

PROSEMIRROR = "application/vnd.collab.prosemirror+json"
TYPES = {
    Format.json: "application/json",
    Format.yjs: "application/octet-stream",
    Format.prosemirror: PROSEMIRROR,
    Format.html: "text/html; charset=utf-8",
    Format.markdown: "text/markdown; charset=utf-8",
    Format.text: "text/plain; charset=utf-8",
}
BARE = {media_type.partition(";")[0]: format for format, media_type in TYPES.items()}
SENT = BARE | {"application/json": Format.prosemirror}
"""What a body is taken for, by its type; only these formats can be written."""
WRITABLE = (Format.yjs, Format.prosemirror, Format.text)
OPERATIONS = 100
"""How many one patch may have."""
INERT = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""For documents, which are somebody else's: opened in a browser they can do nothing."""

Field_ = Annotated[
    str | None,
    Query(
        alias="field", min_length=1, max_length=512, description="Root that holds the text; else the one that is there."
    ),
]
Format_ = Annotated[Format | None, Query(alias="format", description="Goes before the header.")]
IfMatch = Annotated[
    str | None, Header(max_length=65_536, description="Only if the document has one of these ETags, else 412.")
]
IfNoneMatch = Annotated[str | None, Header(max_length=65_536, description="`*`: only if the room is empty, else 409.")]


class Written(BaseModel):
    """An edit that is committed."""

    bytes: int = Field(description="Size of the edit as an update.")
    etag: str = Field(description="The document's ETag a moment after it.")


class Patch(BaseModel):
    """Small edits, made one after the other in one transaction, or not at all."""

    operations: Annotated[
        list[Annotated[Operation, Field(discriminator="op")]], Field(min_length=1, max_length=OPERATIONS)
    ]


class Seeded(BaseModel):
    """What became of a template."""

    seeded: bool = Field(description="Whether it is what the room begins with; no: there was something already.")
    etag: str


def _body(*types: str) -> dict[str, Any]:
    """The body in OpenAPI: read by hand, since it is not always JSON."""
    schemas = {
        "application/octet-stream": {"type": "string", "format": "binary"},
        "text/plain": {"type": "string"},
        "application/json": {"type": "object", "properties": {"type": {"const": "doc"}}, "required": ["type"]},
    }
    return {"requestBody": {"required": True, "content": {name: {"schema": schemas[name]} for name in types}}}


UPDATE = _body("application/octet-stream")
CONTENT = _body("application/json", "text/plain", "application/octet-stream")
READ: dict[int | str, dict[str, Any]] = {
    200: {"content": {media_type: {} for media_type in BARE}, "description": "The document."},
    304: {"description": "It is what it was."},
}


class Document:
    """The operations on documents of one server."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk = desk
        self._audit = audit
        self.router = APIRouter(tags=["document"])
        add = self.router.add_api_route
        path = "/rooms/{name}/document"
        add(path, self.read, methods=["GET"], summary="Read", response_class=Response, responses=READ)
        add(path, self.replace, methods=["PUT"], summary="Replace what a root holds", openapi_extra=CONTENT)
        add(path, self.append, methods=["POST"], summary="Append", openapi_extra=CONTENT)
        add(path, self.patch, methods=["PATCH"], summary="Edit maps, arrays and texts")
        add("/rooms/{name}/updates", self.update, methods=["POST"], summary="Merge a Yjs update", openapi_extra=UPDATE)
        add("/rooms/{name}/template", self.seed, methods=["PUT"], summary="Seed an empty room", openapi_extra=CONTENT)

    async def read(
        self,
        request: Request,
        name: RoomName,
        format: Format_ = None,
        field: Field_ = None,
        if_none_match: Annotated[str | None, Header(max_length=65_536, description="304 if it is still this.")] = None,
    ) -> Response:
        """In the format of the query, or of `Accept`. Without either it is JSON: all roots by name."""
        format = format or _accepted(request)
        async with self._desk.room(name) as opened:
            headers = {
                "etag": tag(opened.core),
                "cache-control": "no-cache",
                "content-security-policy": INERT,
                "vary": "Accept",
            }
            state = opened.core.difference(b"\x00")
        if same(if_none_match, headers["etag"]):
            return Response(status_code=304, headers=headers)
        if format is Format.yjs:
            body = state
        else:
            body = await self._desk.aside(len(state), partial(of_state, state, format, field))
        return Response(body, media_type=TYPES[format], headers=headers)

    async def replace(
        self,
        request: Request,
        name: RoomName,
        admin: Asks,
        response: Response,
        format: Format_ = None,
        field: Field_ = None,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Written:
        """Puts the body in the place of what stands in one root, as an edit: who types there meanwhile goes on.

        The body is ProseMirror JSON, plain text, or a Yjs update whose XML is then written anew.
        """
        body = await request.body()
        change = partial(replacing, format=_sent(request, format), body=body, field=field)
        check = _check(if_match, if_none_match)
        return await self._write("document.put", name, admin, response, change, check, len(body))

    async def append(
        self,
        request: Request,
        name: RoomName,
        admin: Asks,
        response: Response,
        format: Format_ = None,
        field: Field_ = None,
        if_match: IfMatch = None,
    ) -> Written:
        """Puts the body (as for PUT) behind what stands there. A Yjs update is merged."""
        body, format = await request.body(), _sent(request, format)
        change: Change = partial(appending, format=format, body=body, field=field)
        if format is Format.yjs:
            change = partial(vet.as_it_is, body)
        return await self._write("document.append", name, admin, response, change, _check(if_match, None), len(body))

    async def patch(
        self, name: RoomName, patch: Patch, admin: Asks, response: Response, if_match: IfMatch = None
    ) -> Written:
        """A path begins with a root, and leads by keys and indices to a shared map, array or text."""
        change = partial(patching, operations=patch.operations)
        return await self._write("document.patch", name, admin, response, change, _check(if_match, None))

    async def update(
        self, request: Request, name: RoomName, admin: Asks, response: Response, if_match: IfMatch = None
    ) -> Written:
        """The body is one Yjs update (v1), looked at as any client's is. All that it builds on has to be there."""
        body = await request.body()
        change, check = partial(vet.as_it_is, body), _check(if_match, None)
        return await self._write("document.update", name, admin, response, change, check, len(body))

    async def seed(
        self,
        request: Request,
        name: RoomName,
        admin: Asks,
        format: Format_ = None,
        field: Field_ = None,
    ) -> Seeded:
        """Writes the body (as for PUT) into the room if nobody ever wrote there; else nothing happens.

        However many ask at once, and whoever comes in meanwhile: it is there once.
        """
        body, format = await request.body(), _sent(request, format)
        change: Change = partial(replacing, format=format, body=body, field=field)
        if format is Format.yjs:
            change = partial(vet.as_it_is, body)
        seeded = True
        try:
            await self._desk.edit(name, change, author=admin.name, new=True, check=_empty, size=len(body))
        except _NotEmpty:
            seeded = False
        else:
            await self._audit.note(admin, "document.seed", name)
        async with self._desk.room(name, new=True) as opened:
            return Seeded(seeded=seeded, etag=tag(opened.core))

    async def _write(
        self,
        what: str,
        name: str,
        admin: Asks,
        response: Response,
        change: Change,
        check: Callable[[RoomCore], None] | None,
        size: int = 0,
    ) -> Written:
        written = await self._desk.edit(name, change, author=admin.name, new=True, check=check, size=size)
        await self._audit.note(admin, what, name, bytes=written)
        async with self._desk.room(name, new=True) as opened:
            etag = tag(opened.core)
        response.headers["etag"] = etag
        return Written(bytes=written, etag=etag)


class _NotEmpty(Conflict):
    """Somebody wrote there before."""


def _empty(core: RoomCore) -> None:
    if core.clocks:
        raise _NotEmpty


def _check(if_match: str | None, if_none_match: str | None) -> Callable[[RoomCore], None] | None:
    if if_match is None and if_none_match is None:
        return None

    def check(core: RoomCore) -> None:
        demand(if_match, core)
        demand_none(if_none_match, core)

    return check


def _sent(request: Request, format: Format | None) -> Format:
    """What a body is."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found = format or SENT.get(media_type)
    if found not in WRITABLE:
        raise HTTPException(
            415,
            "this cannot be written: send ProseMirror JSON (application/json), text (text/plain) or a Yjs update "
            "(application/octet-stream), or say with ?format= what it is",
        )
    return found


def _accepted(request: Request) -> Format:
    """The format that `Accept` likes most, of those that there are; JSON goes before the others."""
    header = request.headers.get("accept", "*/*")
    best, liked = None, 0.0
    for place, part in enumerate(header.split(",")[:50]):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            quality = min(max(float(weight), 0.0), 1.0)
        except ValueError:
            quality = 0.0
        match name.split("/"):
            case ["*", "*"] | ["application", "*"]:
                format = Format.json
            case ["text", "*"]:
                format = Format.text
            case _:
                format = BARE.get(name)  # type: ignore[assignment]
        if format is not None and quality - place / 1000 > liked:
            best, liked = format, quality - place / 1000
    if best is None:
        raise HTTPException(406, f"the document can be had as {', '.join(BARE)}, or by ?format=")
    return best
