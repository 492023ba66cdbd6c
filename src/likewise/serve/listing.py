"""Calls that list: galleries, info, classes, images, the map; and health and metrics."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from likewise.gallery import attachments, naming
from likewise.safety import bounds
from likewise.serve import schemas
from likewise.serve.context import Chosen, admin, read
from likewise.serve.problems import ProblemError, responses
from likewise.serve.tokens import Token

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["list"])
router.responses = responses(400, 401, 403, 404, 422, 429, 503, 504)

Cursor = Annotated[str, Query(max_length=2000, description="`next` of the previous page")]
Limit = Annotated[int, Query(ge=1, le=500)]

Place = TypeVar("Place", str, int)  # what a cursor holds
Entry = TypeVar("Entry")


@router.get("/health", response_model=schemas.Health, summary="Whether stores, indexes and models answer")
def health(request: Request) -> JSONResponse:
    reasons = {name: served.ready() for name, served in request.app.state.galleries.items()}
    whole = not any(reasons.values())
    lines = {name: {"ready": not detail, "detail": detail} for name, detail in reasons.items()}
    return JSONResponse({"status": "ready" if whole else "not ready", "galleries": lines}, 200 if whole else 503)


@router.get("/metrics", dependencies=[read], summary="Numbers in Prometheus' text format", response_class=Response)
def metrics(request: Request) -> Response:
    items = {name: len(served.gallery) for name, served in request.app.state.galleries.items()}
    text = request.app.state.telemetry.text(items)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/galleries", response_model=schemas.Galleries, summary="The galleries that are served")
def galleries(request: Request, token: Token = read) -> dict[str, object]:
    lines = [
        {"name": name, "items": len(served.gallery), "classes": len(served.classes().names)}
        for name, served in request.app.state.galleries.items()
    ]
    return {"galleries": lines, "scope": token.scope}


@router.get("/info", dependencies=[read], response_model=schemas.Info, summary="What a gallery is")
def info(request: Request, served: Chosen) -> dict[str, object]:
    record = served.gallery.info()
    names = ("items", "dim", "sim", "fingerprint", "private", "thumbnails", "rule", "index", "promise", "classes")
    limits = request.app.state.settings.limits
    return {
        "gallery": served.name,
        **{name: record[name] for name in names},
        "pair_threshold": naming.pair_threshold(served.gallery),
        "limits": {name: getattr(limits, name) for name in ("images", "image_bytes", "image_pixels")},
    }


@router.get(
    "/classes", dependencies=[read], response_model=schemas.ClassPage, summary="Classes in order of their names"
)
def classes(
    served: Chosen,
    cursor: Cursor = "",
    limit: Limit = 100,
    q: Annotated[str, Query(max_length=200, description="part of the name")] = "",
) -> dict[str, object]:
    known = served.classes()
    names = [name for name in known.names if q.casefold() in name.casefold()] if q else known.names
    after = start(cursor, str)
    page, more = cut([name for name in names if after is None or name > after], limit, lambda name: name)
    lines = [{"label": name, "images": known.images[name], "example": known.example[name]} for name in page]
    return {"classes": lines, "next": more, "total": len(names)}


@router.get(
    "/images", dependencies=[read], response_model=schemas.ImagePage, summary="Images in the order of enrollment"
)
def images(
    served: Chosen,
    cursor: Cursor = "",
    limit: Limit = 100,
    label: Annotated[str, Query(max_length=200, description="of this class only")] = "",
) -> dict[str, object]:
    state = served.gallery.state()
    after = start(cursor, int) or 0
    rows = [row for row in state.rows if row.seq > after and (not label or row.label == label)]
    page, more = cut(rows, limit, lambda row: row.seq)
    small = served.thumbnails([row.content for row in page])
    lines = [
        {
            "id": row.id,
            "label": row.label,
            "group": row.group,
            "metadata": bounds.parsed_json(row.metadata, f"the metadata of {row.id}"),
            "thumbnail": row.content in small,
        }
        for row in page
    ]
    total = served.classes().images[label] if label else len(state.rows)
    return {"images": lines, "next": more, "total": total}


@router.get(
    "/images/thumbnail",
    dependencies=[read],
    summary="A JPEG of at most 160 pixels a side",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not Modified"}},
)
def thumbnail(request: Request, served: Chosen, id: Annotated[str, Query(max_length=200)]) -> Response:
    served.known_id(id)
    state = served.gallery.state()
    content = state.rows[state.place[id]].content
    image = attachments.thumbnail(served.gallery.store, content)
    if not image:
        raise ProblemError(404, f"there is no thumbnail of {id!r}")
    etag = f'"{content[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(image, media_type="image/jpeg", headers=headers)


@router.get("/map", dependencies=[read], response_model=schemas.Map, summary="The gallery in two dimensions")
def map_(served: Chosen) -> dict[str, object]:
    return served.map()


@router.get("/audit", dependencies=[admin], response_model=schemas.Audit, summary="The last writes, the latest first")
def audit(served: Chosen, limit: Limit = 100) -> dict[str, object]:
    return {"audit": served.gallery.store.audit(limit)}


def start(cursor: str, kind: type[Place]) -> Place | None:
    """What a page begins behind; None for the first. Errors: Problem 400 for a cursor that none of ours is."""
    if not cursor:
        return None
    try:
        position = bounds.parsed_json(base64.urlsafe_b64decode(cursor.encode("ascii")), "the cursor", kind)
    except (ValueError, binascii.Error):
        position = None
    if position is None or type(position) is not kind or (isinstance(position, int) and not 0 <= position < 2**63):
        raise ProblemError(400, "the cursor is not from this service; use `next` of the previous page")
    return position


def cut(entries: Sequence[Entry], limit: int, place: Callable[[Entry], str | int]) -> tuple[list[Entry], str | None]:
    """A page, and the cursor of the one after it."""
    page = list(entries[:limit])
    if len(entries) <= limit:
        return page, None
    return page, base64.urlsafe_b64encode(json.dumps(place(page[-1])).encode()).decode()
