"""Calls that ask: embed, search, identify, verify."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import Field

from likewise.gallery.decide import Answer
from likewise.gallery.store import StoreError
from likewise.serve import schemas
from likewise.serve.context import Chosen, read
from likewise.serve.problems import ProblemError, responses
from likewise.serve.served import Served
from likewise.serve.uploads import saved

__all__ = ["Images", "finite", "received", "router"]

router = APIRouter(prefix="/v1", tags=["ask"], dependencies=[read])
router.responses = responses(400, 401, 403, 404, 413, 415, 422, 429, 503, 504)

Images = Annotated[list[UploadFile], File(description="JPEG, PNG, WebP, GIF, BMP or TIFF")]
OneImage = Annotated[UploadFile | None, File(description="JPEG, PNG, WebP, GIF, BMP or TIFF")]
Where = Annotated[
    list[Annotated[str, Field(max_length=500)]],
    Form(max_length=16, description="conditions such as label=heron, year>=2000, site in pond,lake"),
]
OptionalFar = Annotated[
    float | None, Form(gt=0, lt=1, description="promised false-accept rate; default: the gallery's threshold")
]


@contextmanager
def received(request: Request, served: Served, uploads: Sequence[UploadFile]) -> Iterator[list[Path]]:
    """The uploads as files; what the gallery says against them is told without paths of this machine."""
    with saved(uploads, request.app.state.settings.limits) as paths, plainly(served):
        yield paths


@contextmanager
def plainly(served: Served) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except ValueError as error:
        raise ProblemError(400, served.plain(str(error))[:1000]) from None


def finite(number: float | None) -> float | None:
    return None if number is None or number in (float("inf"), float("-inf")) else float(number)


@router.post("/embed", response_model=schemas.Vectors, summary="Vectors of images")
def embed(request: Request, served: Chosen, image: Images) -> dict[str, object]:
    with received(request, served, image) as paths:
        vectors = served.gallery.embed(paths)
    return {"fingerprint": served.gallery.about["fingerprint"], "dim": served.gallery.dim, "vectors": vectors.tolist()}


@router.post("/search", response_model=schemas.Hits, summary="The nearest enrolled images of an image, or of an id")
def search(
    request: Request,
    served: Chosen,
    image: OneImage = None,
    id: Annotated[str, Form(max_length=200, description="search for images similar to an enrolled one")] = "",
    k: Annotated[int, Form(ge=1, le=100)] = 5,
    where: Where = [],  # noqa: B006 (FastAPI copies it)
) -> dict[str, object]:
    if (image is None) == (not id):
        raise ProblemError(400, "search takes either an image or an id")
    if image is None:
        served.known_id(id)
        with plainly(served):
            hits = served.gallery.search(None, k, id=id, where=where)
    else:
        with received(request, served, [image]) as paths:
            hits = served.gallery.search(paths[0], k, where=where)
    state = served.gallery.state()
    contents = {hit.id: state.rows[state.place[hit.id]].content for hit in hits if hit.id in state.place}
    small = served.thumbnails(list(contents.values()))
    return {"hits": [{**hit._asdict(), "thumbnail": contents.get(hit.id) in small} for hit in hits]}


@router.post("/identify", response_model=schemas.Answers, summary="The class of each image, or unknown")
def identify(
    request: Request,
    served: Chosen,
    image: Images,
    far: OptionalFar = None,
    where: Where = [],  # noqa: B006 (FastAPI copies it)
) -> dict[str, object]:
    with received(request, served, image) as paths:
        answers = served.gallery.identify_all(paths, far=far, where=where)
    return {"answers": [answer_out(answer) for answer in answers]}


def answer_out(answer: Answer) -> dict[str, object]:
    near = [{"id": n.id, "label": n.label, "similarity": n.similarity} for n in answer.neighbours]
    return {
        "label": answer.label,
        "best": answer.best,
        "similarity": finite(answer.similarity),
        "probability": answer.probability,
        "threshold": finite(answer.threshold),
        "runner_up": answer.runner_up,
        "margin": finite(answer.margin),
        "why": answer.why,
        "neighbours": near,
    }


@router.post(
    "/verify",
    response_model=schemas.Verdict,
    response_model_exclude_unset=True,
    summary="Whether an image shows a class, or two images show the same",
)
def verify(
    request: Request,
    served: Chosen,
    image: Images,
    label: Annotated[str, Form(max_length=200, description="with one image: the class")] = "",
    far: OptionalFar = None,
) -> dict[str, object]:
    if len(image) not in (1, 2) or (len(image) == 1) == (not label):
        raise ProblemError(400, "verify takes one image and a label, or two images")
    if label:
        served.known_class(label)
    with received(request, served, image) as paths:
        if label:
            return served.gallery.verify(paths[0], label, far=far)
        return served.gallery.compare(paths[0], paths[1])
