"""Errors as the API answers them: problem+json (RFC 9457). Nothing that was sent is repeated."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from ...errors import CollabError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
WRONG = 20
"""How many wrong fields are named."""


class Wrong(BaseModel):
    """One field of a request that is wrong."""

    where: list[str | int] = Field(description="Path to the field: `query`, `path` or `body`, then names.")
    what: str


class Problem(BaseModel):
    """Why a request was not answered as it was meant."""

    type: str = Field(
        description="`urn:collab:error:` and the error's name (docs/reference/errors.md); else about:blank."
    )
    title: str
    status: int
    detail: str
    errors: list[Wrong] | None = None


class Answer(JSONResponse):
    """A problem as a response."""

    media_type = MEDIA_TYPE


def answer(
    status: int,
    detail: str,
    *,
    type: str = "about:blank",
    errors: list[Wrong] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """The response that says so."""
    problem = Problem(type=type, title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    headers = {"cache-control": "no-store"} | (headers or {})
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="collab admin"'
    if status in (429, 503):
        headers["retry-after"] = str(RETRY_SECONDS)
    return Answer(problem.model_dump(exclude_none=True), status, headers)


def of(error: CollabError, more: str = "") -> Answer:
    """What an error of ours is answered with, and what is to be said besides."""
    detail = _printable(f"{error}; {more}" if more else str(error))
    return answer(error.http_status, detail, type=f"urn:collab:error:{type(error).__name__}")


async def on_error(request: Request, error: Exception) -> Answer:
    """For FastAPI: an error of ours."""
    assert isinstance(error, CollabError)
    return of(error)


async def on_http(request: Request, error: Exception) -> Answer:
    """For FastAPI: what routing and our own routes say of the request."""
    assert isinstance(error, HTTPException)
    return answer(error.status_code, error.detail, headers=dict(error.headers or {}))


async def on_invalid(request: Request, error: Exception) -> Answer:
    """For FastAPI: the request is not of the form that it should have."""
    assert isinstance(error, RequestValidationError)
    found: list[dict[str, Any]] = list(error.errors())
    errors = [
        Wrong(where=[part if isinstance(part, int) else _printable(part) for part in one["loc"]], what=one["msg"])
        for one in found[:WRONG]
    ]
    return answer(422, "the request is not of the form that it should have", errors=errors)


def unforeseen() -> Answer:
    """What nobody foresaw. The log says what."""
    return answer(500, "something went wrong here; the log says what")


async def on_failure(request: Request, error: Exception) -> Answer:
    """For FastAPI, which raises it again: it is logged in access.py."""
    return unforeseen()


def _printable(text: str) -> str:
    """JSON can spell half of a character, UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "Refused; nothing was changed."},
    "5XX": {"model": Problem, "description": "It failed, or cannot be done now."},
}
"""What every operation may answer, too."""
