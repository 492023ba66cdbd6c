"""Bodies and answers, as OpenAPI describes them."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "Added", "Answers", "Audit", "CalibrateBody", "Class", "ClassPage", "Erased", "Far", "Forgotten", "Galleries",
    "Health", "Hits", "IdsBody", "Image", "ImagePage", "Info", "Label", "LabelBody", "Map", "MergeBody", "MoveBody",
    "Moved", "Problem", "Rejected", "Removed", "RenameBody", "Undone", "Vectors", "Verdict", "plain_text",
]  # fmt: skip


def plain_text(text: str) -> str:
    """Errors: ValueError for control characters, or nothing but spaces."""
    if not text.strip():
        raise ValueError("is text that is not empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("is text without control characters")
    return text


Label = Annotated[str, Field(min_length=1, max_length=200, examples=["heron"]), AfterValidator(plain_text)]
Id = Annotated[str, Field(min_length=1, max_length=200, examples=["0b1f"]), AfterValidator(plain_text)]
Far = Annotated[float, Field(gt=0, lt=1, examples=[0.01], description="promised false-accept rate")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LabelBody(Body):
    label: Label


class RenameBody(Body):
    label: Label
    to: Label


class MergeBody(Body):
    label: Label
    into: Label


class IdsBody(Body):
    ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class MoveBody(IdsBody):
    label: Label


class CalibrateBody(Body):
    far: Far = 0.01


class Problem(BaseModel):
    """application/problem+json (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no class 'heron' in the gallery birds"])
    request_id: str


class GalleryHealth(BaseModel):
    ready: bool
    detail: str


class Health(BaseModel):
    status: str = Field(examples=["ready"])
    galleries: dict[str, GalleryHealth]


class GalleryLine(BaseModel):
    name: str
    items: int
    classes: int


class Galleries(BaseModel):
    galleries: list[GalleryLine]
    scope: str = Field(description="what the caller's token may do", examples=["write"])


class Info(BaseModel):
    gallery: str
    items: int
    classes: int
    dim: int
    sim: str
    fingerprint: str
    private: bool
    thumbnails: bool
    rule: str
    index: str
    promise: dict[str, object] | None = Field(description="the threshold of `identify`, its promised and measured rate")
    pair_threshold: dict[str, object] | None = Field(description="the threshold for two images")
    limits: dict[str, int] = Field(description="what a request may hold: images, image_bytes, image_pixels")


class Vectors(BaseModel):
    fingerprint: str
    dim: int
    vectors: list[list[float]]


class Hit(BaseModel):
    id: str
    label: str
    similarity: float
    probability: float | None
    metadata: dict[str, object]
    thumbnail: bool


class Hits(BaseModel):
    hits: list[Hit]


class Neighbour(BaseModel):
    id: str
    label: str
    similarity: float


class AnswerOut(BaseModel):
    label: str | None = Field(description="null: unknown", examples=["heron"])
    best: str | None
    similarity: float | None
    probability: float | None
    threshold: float | None
    runner_up: str | None
    margin: float | None
    why: str
    neighbours: list[Neighbour]


class Answers(BaseModel):
    answers: list[AnswerOut]


class Verdict(BaseModel):
    same: bool
    probability: float | None
    prior: float | None
    similarity: float
    threshold: float
    label: str | None = None
    far: float | None = None
    far_interval: list[float] | None = None
    threshold_interval: list[float | None] | None = None
    target: str | None = None
    pairs: int | None = None
    note: str = ""


class FindingOut(BaseModel):
    image: int = Field(description="which of the uploads, from 0")
    reason: str
    enrolled: bool


class Added(BaseModel):
    added: list[str]
    unchanged: list[str]
    findings: list[FindingOut]


class Rejected(BaseModel):
    rejected: str


class Class(BaseModel):
    label: str
    images: int
    example: str = Field(description="id of one of its images")


class ClassPage(BaseModel):
    classes: list[Class]
    next: str | None
    total: int


class Image(BaseModel):
    id: str
    label: str
    group: str
    metadata: dict[str, object]
    thumbnail: bool


class ImagePage(BaseModel):
    images: list[Image]
    next: str | None
    total: int


class Moved(BaseModel):
    moved: int


class Removed(BaseModel):
    removed: int


class Forgotten(BaseModel):
    removed: int
    erased: bool


class Erased(BaseModel):
    erased: bool


class Undone(BaseModel):
    undone: str


class AuditLine(BaseModel):
    at: float
    verb: str
    items: int
    label: str


class Audit(BaseModel):
    audit: list[AuditLine]


class Map(BaseModel):
    points: list[Annotated[list[int | float], Field(min_length=3, max_length=3)]]
    ids: list[str]
    classes: list[str]
    total: int
    shown: int
