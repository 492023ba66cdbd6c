"""Errors as application/problem+json (RFC 9457): a status, one sentence, and the request's id."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from likewise.gallery.store import DamagedError, StoreError

__all__ = ["MEDIA", "ProblemError", "install", "problem", "responses"]

MEDIA = "application/problem+json"
RETRY = {"Retry-After": "1"}


class ProblemError(Exception):
    """An answer other than what was asked for."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def body(status: int, detail: str, request_id: str) -> dict[str, object]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }


def problem(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    request_id = request.scope.get("state", {}).get("request_id", "")
    return JSONResponse(body(status, detail, request_id), status, headers, media_type=MEDIA)


def install(app: FastAPI) -> None:
    """Handlers for all that is raised; what was not foreseen is 500 without a word of its inside."""

    @app.exception_handler(ProblemError)
    async def ours(request: Request, error: ProblemError) -> JSONResponse:
        return problem(request, error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = f"there is nothing at {request.url.path[:200]}; the calls are listed in /openapi.json"
        if error.status_code == 405:
            detail = f"{request.url.path[:200]} does not take {request.method}"
        return problem(request, error.status_code, detail, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def of_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "header"))
        return problem(request, 422, f"{place or 'the body'}: {first['msg']}"[:500])

    @app.exception_handler(StoreError)
    async def of_store(request: Request, error: StoreError) -> JSONResponse:
        if isinstance(error, DamagedError):
            return problem(request, 500, "the gallery is damaged; run `likewise gallery check` on the server")
        return problem(request, 503, "the gallery cannot be reached or written now; try again", RETRY)

    @app.exception_handler(ValueError)
    async def of_call(request: Request, error: ValueError) -> JSONResponse:
        return problem(request, 400, str(error)[:1000])

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return problem(request, 500, "the server failed; its log has the reason under this request's id")


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """For OpenAPI: problems that a call may answer."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA: {"schema": schema}}}
        for status in statuses
    }
