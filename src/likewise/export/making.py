"""A run's model becomes RUN/export/: model.onnx, model.int8.onnx where wanted, the card and the checksums.

What is written was run first: on real pictures it gives the vectors that the run's own model gives, or there is no
export. The folder appears whole or not at all.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.data.images import Images
from likewise.evaluate import Embeddings, evaluate
from likewise.experiment.build import load_images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.export.card import card
from likewise.export.session import BYTES, SUMS, Session, extra, sha256
from likewise.models import Embedder
from likewise.models.inputs import at_once
from likewise.safety import bounds

__all__ = ["LIMIT", "ExportError", "Exported", "export"]

LIMIT = 1e-4  # largest difference from the run's own vectors, in units of their length where that is above 1
COMPARED = 256  # pictures that parity is checked on
CALIBRATED = 256  # training pictures that int8 ranges come from
MEASURED = 5_000  # pictures of each part that int8 is scored on
TARGETS = ("onnx",)
OPSET = 18


class ExportError(ValueError):
    """The export was made and is not the model: nothing of it is kept, and the command fails."""

    exit_code = 1


@dataclass(frozen=True)
class Exported:
    """What was written, and how near it is to the run's model. int8: score -> (before, after)."""

    folder: Path
    difference: float
    compared: int
    int8: dict[str, tuple[dict, dict]]

    def to_dict(self) -> dict[str, Any]:
        said = {name: {"fp32": before, "int8": after} for name, (before, after) in self.int8.items()}
        return {"folder": str(self.folder), "difference": self.difference, "compared": self.compared, "int8": said}


def export(path: str | os.PathLike, *, to: str = "onnx", int8: bool = False) -> Exported:
    """Write RUN/export/ anew. Errors: ValueError for another target or a run without data; ExportError beyond LIMIT."""
    if to not in TARGETS:
        raise ValueError(f"--to is {' or '.join(TARGETS)}, got {to!r}")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        extra(name)
    run = Run.open(path)
    held, recipe, model = run.metrics(), run.recipe, Embedder.load(run.model)
    images = load_images(recipe)
    with folder_of(run) as made:
        write_onnx(model, images, made / "model.onnx", about(run, model, images))
        session = Session(made / "model.onnx", say=unsaid)
        compared = spaced(images, COMPARED)
        difference = parity(model, session, compared)
        quantised = quantise(made, session, images, recipe) if int8 else {}
        files = [(file.name, sha256(file)) for file in sorted(made.glob("*.onnx"))]
        facts = {"dim": model.dim, "input": session.about["input"], "inside": inside(session.about["input"]),
                 "difference": difference, "compared": len(compared), "files": files, "int8": quantised}  # fmt: skip
        (made / "README.md").write_text(card(held, model.config, recipe.to_dict(), facts), encoding="utf-8")
        (made / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in files), encoding="utf-8")
    return Exported(run.path / "export", difference, len(compared), quantised)


def unsaid(sentence: str) -> None:
    """The checksums are written once the files are."""


@contextmanager
def folder_of(run: Run) -> Iterator[Path]:
    """A temporary folder that takes the name `export` when the block ends well, and is gone when it does not."""
    made = Path(tempfile.mkdtemp(prefix=".export.", dir=run.path))
    old, final = run.path / f".export.{os.getpid()}.old", run.path / "export"
    try:
        yield made
        made.chmod(0o755)
        if final.exists():
            os.replace(final, old)
        os.replace(made, final)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def about(run: Run, model: Embedder, images: Images) -> dict[str, Any]:
    """What the file says of itself."""
    return {
        "run": run.name,
        "shape": list(model.shape),
        "dim": model.dim,
        "sim": model.sim,
        "classes": list(model.classes),
        "threshold": model.info.get("threshold"),
        "input": input_of(images),
        "crc32": bounds.read_json(run.model / "model.json")["crc32"],
    }


def input_of(images: Images) -> str:
    """Pictures in bytes lie as every decoder gives them; anything else is taken as the run has it."""
    if images.batch([0]).dtype == torch.uint8:
        return BYTES
    return f"float32 [N, {', '.join(map(str, images.shape))}]"


def inside(takes: str) -> str:
    if takes == BYTES:
        return (
            "Scaling and standardisation are inside. Decoding and resizing to H x W are not: `likewise embed` does both"
            " as in training (upright, sRGB, transparent on white, antialiased bilinear, the aspect ratio not kept)."
        )
    return "Standardisation is inside."


class Bytes(nn.Module):
    """The model behind the axes of a decoded picture."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.model = model

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        return self.model(pixels_NHWC.permute(0, 3, 1, 2))


def write_onnx(model: Embedder, images: Images, path: Path, said: dict[str, Any]) -> None:
    """The network and its preprocessing as one graph with a free batch, what it is in its metadata."""
    import onnx

    whole = Bytes(model) if said["input"] == BYTES else model
    sample = given(spaced(images, 2), said["input"])
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # torch 2.13 warns of itself: deprecations inside torch.export
        program = torch.onnx.export(
            whole.eval(), (torch.from_numpy(sample),), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["input"], output_names=["vectors"], dynamic_shapes=({0: torch.export.Dim("N")},),
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"likewise": json.dumps(said)})
    onnx.save(proto, path)


@contextmanager
def quiet() -> Iterator[None]:
    """torch.onnx logs what it does."""
    import logging

    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def spaced(images: Images, most: int) -> Images:
    """At most so many pictures, evenly spaced."""
    return images if len(images) <= most else images.take(torch.arange(most) * len(images) // most)


def given(images: Images, takes: str) -> np.ndarray:
    """Pictures as the exported model takes them."""
    pixels = images.batch(torch.arange(len(images))).cpu()
    return (pixels.permute(0, 2, 3, 1) if takes == BYTES else pixels).contiguous().numpy()


def parity(model: Embedder, session: Session, images: Images) -> float:
    """The largest difference from the run's own vectors, in one batch and one by one. Errors: ExportError."""
    vectors_ND = model.embed(images).numpy()
    taken = given(images, session.about["input"])
    alone = np.concatenate([session(taken[at : at + 1]) for at in range(min(8, len(taken)))])
    found_ND = session(taken)
    far = max(np.abs(found_ND - vectors_ND).max(), np.abs(alone - vectors_ND[: len(alone)]).max())
    difference = float(far / max(1.0, np.linalg.norm(vectors_ND, axis=1).mean()))
    if not difference <= LIMIT:
        raise ExportError(
            f"the exported model differs from the run's own by {difference:.1e} on {len(images)} real pictures, and at "
            f"most {LIMIT:.0e} is accepted; nothing was written"
        )
    return difference


def quantise(folder: Path, before: Session, images: Images, recipe: Recipe) -> dict[str, tuple[dict, dict]]:
    """model.int8.onnx beside model.onnx, and the scores before and after on the same pictures."""
    target = folder / "model.int8.onnx"
    write_int8(folder / "model.onnx", target, spaced(images.part("train"), CALIBRATED), before)
    after = Session(target, say=unsaid)
    part = "test" if len(images.part("test")) else "val"
    found = [measured(session, images, part, recipe) for session in (before, after)]
    return {name: (found[0][name], found[1][name]) for name in ("knn@1", "recall@1", "map@r") if name in found[0]}


def write_int8(source: Path, target: Path, pictures: Images, session: Session) -> None:
    """Weights and activations in 8 bits, their ranges from training pictures; the first arithmetic stays in floats."""
    quantization = extra("onnxruntime.quantization")
    taken = given(pictures, session.about["input"])
    batches = iter([{session.name: taken[at : at + 32]} for at in range(0, len(taken), 32)])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    with warnings.catch_warnings(), quiet_root():
        warnings.simplefilter("ignore")  # of protobuf and numpy, inside onnxruntime
        quantization.quantize_static(
            source, target, Reader(), per_channel=True, op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip


@contextmanager
def quiet_root() -> Iterator[None]:
    """onnxruntime advises on the root logger to preprocess what torch has preprocessed."""
    import logging

    log = logging.getLogger()
    held, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = held


def measured(session: Session, images: Images, part: str, recipe: Recipe) -> dict[str, dict]:
    """The quick scores of the held-out part by an exported model."""
    query, train = (embedded(session, spaced(images.part(name), MEASURED)) for name in (part, "train"))
    closed = bool(torch.isin(query.labels, train.labels).any())
    scores = evaluate(query, train if closed else None, sim=recipe.sim, seed=recipe.split_seed, quick=True)
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def embedded(session: Session, images: Images) -> Embeddings:
    places = torch.arange(len(images)).split(at_once(images.shape))
    parts = [session(given(images.take(at), session.about["input"])) for at in places]
    vectors = torch.from_numpy(np.concatenate(parts))
    return Embeddings(vectors, images.labels, images.ids, images.split, images.classes, images.groups)
