"""The application: galleries, calls, the page."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files

import anyio.to_thread
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from likewise.malloc import return_memory
from likewise.serve import asking, listing, problems, schemas, writing
from likewise.serve.guard import Guard
from likewise.serve.served import Served, close_all, open_all
from likewise.serve.settings import Settings
from likewise.serve.telemetry import Telemetry
from likewise.serve.tokens import Tokens

__all__ = ["LINE", "SETTINGS", "create_app", "from_environment"]

log = logging.getLogger("likewise.serve")

SETTINGS = "LIKEWISE_SERVE"  # where worker processes find their settings
LINE = "%(asctime)s %(name)s %(message)s"
PAGE = str(files("likewise.serve") / "page")
DESCRIPTION = "Search, identify, verify and enroll images. Answers name a class, or say unknown (label null)."


def create_app(settings: Settings, galleries: dict[str, Served] | None = None) -> FastAPI:
    """The ASGI application of some settings. galleries: already open; None opens those of the settings.

    Errors: ValueError for a gallery, a model or a token file that cannot be read.
    """
    telemetry = Telemetry()
    tokens = Tokens(settings.token_file) if settings.token_file else None
    opened = open_all(settings, telemetry) if galleries is None else galleries

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.limits.threads
        try:
            yield
        finally:
            close_all(opened)

    app = FastAPI(
        title="Likewise",
        version=version("likewise"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings, app.state.telemetry = settings, telemetry
    app.state.tokens, app.state.galleries = tokens, opened
    problems.install(app)
    for router in (asking.router, listing.router, writing.router):
        app.include_router(router)
    app.add_middleware(Guard, settings=settings, telemetry=telemetry)
    _describe_problems(app)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(os.path.join(PAGE, "index.html"), headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def _describe_problems(app: FastAPI) -> None:
    """The one form of errors, in OpenAPI."""
    plain = app.openapi

    def described() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = plain()
            schema["components"]["schemas"]["Problem"] = schemas.Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def from_environment() -> FastAPI:
    """The application of a worker process."""
    logging.basicConfig(level=logging.INFO, format=LINE)
    return_memory()
    try:
        return create_app(Settings.of_json(os.environ[SETTINGS]))
    except ValueError as error:  # the parent read the same when it started: try again, it may be back
        log.error("%s", error)
        raise SystemExit(1) from None
