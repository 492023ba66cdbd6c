"""Calls that write: enroll, feedback, corrections, forgetting, calibration."""

import json
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import BaseModel, Field

from likewise.gallery import curation
from likewise.gallery.quality import content_of
from likewise.safety import bounds
from likewise.serve import schemas
from likewise.serve.asking import Images, plainly, received
from likewise.serve.context import Idempotent, admin, write
from likewise.serve.problems import ProblemError, responses
from likewise.serve.schemas import plain_text

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["write"], dependencies=[write])
router.responses = responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 504)

METADATA = 16_384  # characters of one image's metadata
Text = Annotated[str, Field(max_length=200)]


def reply(response: Response, job: Idempotent, answer: dict[str, object]) -> dict[str, object]:
    """Errors: Problem 409 for a repeated write whose answer is erased."""
    if job.replayed:
        response.headers["Idempotent-Replayed"] = "true"
        if "erased" in answer and isinstance(answer["erased"], str):
            raise ProblemError(409, f"this write has been done already; {answer['erased']}")
    return answer


def texts(name: str, given: list[str], count: int) -> list[str]:
    """One text for all images, or one each. Errors: Problem 422."""
    if len(given) not in (1, count):
        raise ProblemError(422, f"{name}: give one for all images or one each; got {len(given)} for {count} images")
    try:
        return [plain_text(text) for text in given] * (count if len(given) == 1 else 1)
    except ValueError as error:
        raise ProblemError(422, f"{name}: {error}") from None


def parsed(metadata: list[str]) -> list[dict[str, object]]:
    """Errors: Problem 422 for what is no JSON object of plain values."""
    records = []
    for text in metadata:
        if len(text) > METADATA:
            raise ProblemError(422, f"metadata: at most {METADATA:,} characters an image, got {len(text):,}")
        try:
            records.append(bounds.parsed_json(text, "metadata"))
            json.dumps(records[-1], allow_nan=False).encode()
        except ValueError as error:
            raise ProblemError(
                422, str(error)[:300] if str(error).startswith("metadata") else "metadata: no NaN"
            ) from None
    return records


@router.post("/enroll", response_model=schemas.Added, summary="Enroll images; the same image is enrolled once")
def enroll(
    request: Request,
    response: Response,
    job: Idempotent,
    image: Images,
    label: Annotated[list[Text], Form(min_length=1, description="one class for all images, or one each")],
    id: Annotated[list[Text], Form(description="none, or your own id of each image")] = [],  # noqa: B006
    metadata: Annotated[list[str], Form(description="none, or a JSON object of each image")] = [],  # noqa: B006
    gate: Annotated[str, Form(pattern="^(off|warn|strict)$", description="off, warn or strict")] = "warn",
) -> dict[str, object]:
    labels, count = texts("label", label, len(image)), len(image)
    for name, given in (("id", id), ("metadata", metadata)):
        if given and len(given) != count:
            raise ProblemError(422, f"{name}: give none or one for each image; got {len(given)} for {count} images")
    ids = texts("id", id, count) if id else None
    known = parsed(metadata) if metadata else None
    with received(request, job.served, image) as paths:

        def add() -> dict[str, object]:
            done = job.served.gallery.enroll(paths, labels, ids=ids, metadata=known, gate=gate)
            place = {str(path): i for i, path in enumerate(paths)}
            findings = [
                {
                    "image": place.get(f.source, 0),
                    "reason": job.served.plain(f.reason),
                    "enrolled": f.enrolled,
                }
                for f in done.findings
            ]
            return {"added": done.added, "unchanged": done.unchanged, "findings": findings}

        contents = [content_of(path) for path in paths]
        # each image is enrolled once by its content, so that a repeated call does no harm
        return reply(response, job, job.once([contents, labels, ids, known, gate], add, within=False))


@router.post(
    "/feedback", response_model=schemas.Rejected, summary='"Not this one": an image is not of a class, or not an id'
)
def feedback(
    request: Request,
    response: Response,
    job: Idempotent,
    image: Annotated[UploadFile, File()],
    label: Annotated[str, Form(max_length=200)] = "",
    id: Annotated[str, Form(max_length=200)] = "",
) -> dict[str, object]:
    if bool(label) == bool(id):
        raise ProblemError(400, "say what the image is not: either a label or an id")
    if label:
        job.served.known_class(label)
    else:
        job.served.known_id(id)
    with received(request, job.served, [image]) as paths:

        def mark() -> dict[str, object]:
            job.served.gallery.reject(paths[0], label=label, id=id)
            return {"rejected": label or id}

        return reply(response, job, job.once([content_of(paths[0]), label, id], mark, within=False))


@router.post("/classes/rename", response_model=schemas.Moved, summary="Give a class another name")
def rename(response: Response, job: Idempotent, body: schemas.RenameBody) -> dict[str, object]:
    def do() -> dict[str, object]:
        job.served.known_class(body.label)
        if body.to in job.served.classes().images:
            raise ProblemError(409, f"there is a class {body.to!r} already; merge the two")
        return {"moved": job.served.gallery.rename(body.label, body.to)}

    return change(response, job, body, do)


@router.post("/classes/merge", response_model=schemas.Moved, summary="Move all of a class into another")
def merge(response: Response, job: Idempotent, body: schemas.MergeBody) -> dict[str, object]:
    def do() -> dict[str, object]:
        job.served.known_class(body.label)
        job.served.known_class(body.into)
        return {"moved": job.served.gallery.merge(body.label, body.into)}

    return change(response, job, body, do)


@router.post(
    "/classes/remove", response_model=schemas.Removed, summary="Remove all images of a class; undo brings them back"
)
def remove_class(response: Response, job: Idempotent, body: schemas.LabelBody) -> dict[str, object]:
    def do() -> dict[str, object]:
        job.served.known_class(body.label)
        state = job.served.gallery.state()
        return {"removed": job.served.gallery.remove([row.id for row in state.rows if row.label == body.label])}

    return change(response, job, body, do)


@router.post(
    "/classes/forget", dependencies=[admin], response_model=schemas.Forgotten, summary="Erase a class for good"
)
def forget(response: Response, job: Idempotent, body: schemas.LabelBody) -> dict[str, object]:
    gallery = job.served.gallery

    def do() -> dict[str, object]:
        job.served.known_class(body.label)
        with gallery.store.begin():
            return {"removed": curation.drop(gallery, body.label), "erased": True}

    def after(answer: dict[str, object]) -> None:
        answer["erased"] = curation.erase(gallery)

    with plainly(job.served):
        return reply(response, job, job.once(body.model_dump(), do, after=after))


@router.post("/images/move", response_model=schemas.Moved, summary="Move images to a class, new or not")
def move(response: Response, job: Idempotent, body: schemas.MoveBody) -> dict[str, object]:
    def do() -> dict[str, object]:
        for id_ in body.ids:
            job.served.known_id(id_)
        return {"moved": job.served.gallery.split(body.ids, body.label)}

    return change(response, job, body, do)


@router.post("/images/remove", response_model=schemas.Removed, summary="Remove images; undo brings them back")
def remove(response: Response, job: Idempotent, body: schemas.IdsBody) -> dict[str, object]:
    def do() -> dict[str, object]:
        for id_ in body.ids:
            job.served.known_id(id_)
        return {"removed": job.served.gallery.remove(body.ids)}

    return change(response, job, body, do)


@router.post("/undo", response_model=schemas.Undone, summary="Undo the last enrollment or correction")
def undo(response: Response, job: Idempotent) -> dict[str, object]:
    def do() -> dict[str, object]:
        if job.served.gallery.store.last_step() is None:
            raise ProblemError(409, "there is nothing to undo")
        return {"undone": job.served.gallery.undo()}

    with plainly(job.served):
        return reply(response, job, job.once(None, do, after=job.refresh))


@router.post("/calibrate", dependencies=[admin], summary="Find and store the threshold of a promised false-accept rate")
def calibrate(response: Response, job: Idempotent, body: schemas.CalibrateBody) -> dict[str, object]:
    with plainly(job.served):
        done = job.once(body.model_dump(), lambda: job.served.gallery.calibrate(body.far).as_json(), within=False)
    return reply(response, job, done)


@router.post("/vacuum", dependencies=[admin], response_model=schemas.Erased, summary="Erase what was removed")
def vacuum(response: Response, job: Idempotent) -> dict[str, object]:
    with plainly(job.served):
        return reply(response, job, job.once(None, lambda: {"erased": job.served.gallery.vacuum()}, within=False))


def change(
    response: Response, job: Idempotent, body: BaseModel, do: Callable[[], dict[str, object]]
) -> dict[str, object]:
    """A correction, done once, and searched from then on."""
    with plainly(job.served):
        return reply(response, job, job.once(body.model_dump(), do, after=job.refresh))
