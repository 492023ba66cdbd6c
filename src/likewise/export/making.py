"""Exports a run's model to RUN/export/: model.onnx, optionally model.int8.onnx, the model card and checksums.

The exported model is run first: on real images it must give the vectors of the run's own model. The folder is written
atomically.
"""

import dataclasses
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from likewise.data.images import Images
from likewise.evaluate import Embeddings, evaluate
from likewise.experiment.build import load_images
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.export.card import Facts, card
from likewise.export.session import BYTES, SUMS, Metadata, Session, extra, sha256
from likewise.models import Embedder
from likewise.models.inputs import at_once
from likewise.safety import bounds

__all__ = ["LIMIT", "ExportError", "Exported", "export"]

LIMIT = 1e-4  # largest difference from the run's own vectors, relative to their length if that is above 1
COMPARED = 256  # images for the parity check
CALIBRATED = 256  # training images for int8 calibration
MEASURED = 5_000  # images per part for int8 scores
TARGETS = ("onnx",)
OPSET = 18


class ExportError(ValueError):
    """The exported model differs from the run's model; nothing is written."""

    exit_code = 1


@dataclass(frozen=True)
class Exported:
    """The export folder and its largest difference from the run's model. int8: score -> (before, after)."""

    folder: Path
    difference: float
    compared: int
    int8: dict[str, tuple[dict, dict]]

    def to_dict(self) -> dict[str, object]:
        scores = {name: {"fp32": before, "int8": after} for name, (before, after) in self.int8.items()}
        return {"folder": str(self.folder), "difference": self.difference, "compared": self.compared, "int8": scores}


def export(path: str | os.PathLike, *, to: str = "onnx", int8: bool = False) -> Exported:
    """Write RUN/export/, replacing an earlier one.

    Errors: ValueError for another target or a run without data; ExportError beyond LIMIT.
    """
    if to not in TARGETS:
        raise ValueError(f"--to is {' or '.join(TARGETS)}, got {to!r}")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        extra(name)
    run = Run.open(path)
    metrics, recipe, model = run.metrics(), run.recipe, Embedder.load(run.model)
    images = load_images(recipe)
    with folder_of(run) as made:
        write_onnx(model, images, made / "model.onnx", about(run, model, images))
        session = Session(made / "model.onnx", say=unsaid)
        compared = spaced(images, COMPARED)
        difference = parity(model, session, compared)
        quantised = quantise(made, session, images, recipe) if int8 else {}
        files = [(file.name, sha256(file)) for file in sorted(made.glob("*.onnx"))]
        takes = session.about["input"]
        facts: Facts = {"dim": model.dim, "input": takes, "inside": inside(takes, session.fit),
                 "difference": difference, "compared": len(compared), "files": files, "int8": quantised}  # fmt: skip
        (made / "README.md").write_text(card(metrics, model.config, recipe.to_dict(), facts), encoding="utf-8")
        (made / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in files), encoding="utf-8")
    return Exported(run.path / "export", difference, len(compared), quantised)


def unsaid(sentence: str) -> None:
    """The checksums are written once the files are."""


@contextmanager
def folder_of(run: Run) -> Iterator[Path]:
    """A temporary folder, renamed to `export` on success and removed on failure."""
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


def about(run: Run, model: Embedder, images: Images) -> Metadata:
    """Metadata of the exported file."""
    return {
        "run": run.name,
        "shape": list(model.shape),
        "dim": model.dim,
        "sim": model.sim,
        "classes": list(model.trained_classes),
        "threshold": model.info.get("threshold"),
        "input": input_of(images),
        "fit": model.fit,
        "crc32": bounds.read_json(run.model / "model.json")["crc32"],
    }


def input_of(images: Images) -> str:
    """Input format: decoded images [N, H, W, C] for uint8 data, otherwise the format of the run."""
    if images.batch([0]).dtype == torch.uint8:
        return BYTES
    return f"float32 [N, {', '.join(map(str, images.shape))}]"


def inside(takes: str, fit: str) -> str:
    if takes == BYTES:
        return (
            "Scaling and standardisation are inside. Decoding and resizing to H x W are not: `likewise embed` does both"
            " as in training (upright, sRGB, transparent on white, antialiased bilinear; images of another aspect:"
            f" {fit})."
        )
    return "Standardisation is inside."


class Bytes(nn.Module):
    """The model with the axis order of decoded images."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.model = model

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        return self.model(pixels_NHWC.permute(0, 3, 1, 2))


def write_onnx(model: Embedder, images: Images, path: Path, metadata: Metadata) -> None:
    """Write network and preprocessing as one graph with a dynamic batch axis, and metadata. Errors: ExportError."""
    import onnx

    whole = Bytes(model) if metadata["input"] == BYTES else model
    sample = given(spaced(images, 2), metadata["input"])
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # torch 2.13 warns of itself: deprecations inside torch.export
        try:
            program = torch.onnx.export(
                whole.eval(), (torch.from_numpy(sample),), dynamo=True, verbose=False, opset_version=OPSET,
                input_names=["input"], output_names=["vectors"], dynamic_shapes=({0: torch.export.Dim("N")},),
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            operation = re.search(r"op='([\w.]+)'", str(error))
            raise ExportError(
                f"torch {torch.__version__} cannot write {model.config['network']} as ONNX: it has no form of "
                f"{operation[1] if operation else 'one of its operations'}; nothing was written"
            ) from None
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"likewise": json.dumps(metadata)})
    onnx.save(proto, path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the log of torch.onnx."""
    import logging

    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def spaced(images: Images, most: int) -> Images:
    """At most `most` images, evenly spaced."""
    return images if len(images) <= most else images.take(torch.arange(most) * len(images) // most)


def given(images: Images, takes: str) -> np.ndarray:
    """Images in the input format of the exported model."""
    pixels = images.batch(torch.arange(len(images))).cpu()
    return (pixels.permute(0, 2, 3, 1) if takes == BYTES else pixels).contiguous().numpy()


def parity(model: Embedder, session: Session, images: Images) -> float:
    """The largest difference from the run's own vectors, in a batch and one by one. Errors: ExportError."""
    vectors_ND = model.embed(images).numpy()
    taken = given(images, session.about["input"])
    alone = np.concatenate([session(taken[at : at + 1]) for at in range(min(8, len(taken)))])
    exported_ND = session(taken)
    far = max(np.abs(exported_ND - vectors_ND).max(), np.abs(alone - vectors_ND[: len(alone)]).max())
    difference = float(far / max(1.0, np.linalg.norm(vectors_ND, axis=1).mean()))
    if not difference <= LIMIT:
        raise ExportError(
            f"the exported model differs from the run's own by {difference:.1e} on {len(images)} real images, and at "
            f"most {LIMIT:.0e} is accepted; nothing was written"
        )
    return difference


def quantise(folder: Path, before: Session, images: Images, recipe: Recipe) -> dict[str, tuple[dict, dict]]:
    """model.int8.onnx beside model.onnx, and the scores before and after on the same images."""
    target = folder / "model.int8.onnx"
    write_int8(folder / "model.onnx", target, spaced(images.part("train"), CALIBRATED), before)
    after = Session(target, say=unsaid)
    part = "test" if len(images.part("test")) else "val"
    scores = [measured(session, images, part, recipe) for session in (before, after)]
    return {name: (scores[0][name], scores[1][name]) for name in ("knn@1", "recall@1", "map@r") if name in scores[0]}


def write_int8(source: Path, target: Path, images: Images, session: Session) -> None:
    """Weights and activations in 8 bits, their ranges from training images; the preprocessing stays in floats."""
    quantization = extra("onnxruntime.quantization")
    taken = given(images, session.about["input"])
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
    """Silence onnxruntime's advice, on the root logger, to preprocess the graph."""
    import logging

    log = logging.getLogger()
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def measured(session: Session, images: Images, part: str, recipe: Recipe) -> dict[str, dict]:
    """Quick scores of the held-out part with an exported model."""
    query, train = (embedded(session, spaced(images.part(name), MEASURED)) for name in (part, "train"))
    closed = bool(torch.isin(query.labels, train.labels).any())
    scores = evaluate(query, train if closed else None, sim=recipe.sim, seed=recipe.split_seed, quick=True)
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def embedded(session: Session, images: Images) -> Embeddings:
    places = torch.arange(len(images)).split(at_once(images.shape))
    parts = [session(given(images.take(at), session.about["input"])) for at in places]
    vectors = torch.from_numpy(np.concatenate(parts))
    return Embeddings(vectors, images.labels, images.ids, images.split, images.classes, images.groups)
