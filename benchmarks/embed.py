r"""Embedding speed of one model: torch eager and compiled, ONNX Runtime in floats and in 8 bits.

    LIKEWISE_DATA=... python benchmarks/embed.py                       # convnet on MNIST
    LIKEWISE_DATA=... python benchmarks/embed.py --data groceries --network mobilenet_v2 --size 224 \
        --weights mobilenet_v2-b0353104.pth                            # published weights, as they are

Images/s from uint8 images in memory to vectors, preprocessing included, decoding not; batches of `--batch`. The
rounds alternate, so that a slow minute of the machine hits all. Beside it what each keeps: knn@1 of the held-out
images among the training images, and the cosine similarity to the vectors of torch eager, mean and lowest. A run is
made first: `--epochs` on at most `--each` images a class; with `--weights` the head is left out and nothing is
trained. torch.compile counts from its second batch of a size; compiling is told apart. As in the command line, malloc
keeps what was freed; `torch, memory given back` is eager torch in a process in which it does not.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import machine
import numpy as np
import torch
from torch import Tensor

from likewise.data.images import Images
from likewise.evaluate import Embeddings, evaluate
from likewise.experiment.build import build, load_images, resolve_defaults, weights_of
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.experiment.trial import loop
from likewise.export.making import about, parity, spaced, write_int8, write_onnx
from likewise.export.session import Session
from likewise.malloc import keep_memory
from likewise.models import Embedder

Way = Callable[[Tensor], np.ndarray]  # uint8 [N, C, H, W] -> [N, D]


def made(asked: argparse.Namespace) -> tuple[Embedder, Images, Recipe]:
    """The model, and the images it is measured on."""
    sampler = f"pk(classes={min(10, asked.classes)}, images=12)"
    recipe = resolve_defaults(
        Recipe(
            data=asked.data,
            network=asked.network,
            size=asked.size,
            max_per_class=asked.each,
            epochs=asked.epochs,
            dim=0 if asked.weights else 64,
            sampler=sampler,
            device="cpu",
            lr=2e-3,
        )
    )
    images = load_images(recipe)
    if asked.weights:
        model = Embedder(recipe.network, shape=images.shape, dim=0, classes=images.classes)
        model.load_weights(weights_of(Recipe(weights=asked.weights)))
        return model.eval(), images, recipe
    parts = build(recipe, images)
    for _ in loop(parts):
        pass
    return parts.state.final.eval(), images, recipe


def ways(model: Embedder, images: Images, folder: Path) -> dict[str, Way]:
    """Every way, ready to be called."""
    run = Run(folder)
    model.save(run.model)
    write_onnx(model, images, folder / "model.onnx", about(run, model, images))
    floats = Session(folder / "model.onnx", threads=torch.get_num_threads())
    parity(model, floats, spaced(images, 64))
    write_int8(folder / "model.onnx", folder / "model.int8.onnx", spaced(images.part("train"), 256), floats)
    bytes8 = Session(folder / "model.int8.onnx", threads=torch.get_num_threads())
    return {
        "torch eager": in_torch(model),
        "torch, memory given back": elsewhere(run.model),
        "torch.compile": in_torch(torch.compile(model)),
        "ONNX Runtime fp32": in_onnx(floats),
        "ONNX Runtime int8": in_onnx(bytes8),
    }


def in_torch(model: Callable[[Tensor], Tensor]) -> Way:
    def run(pixels_NCHW: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return model(pixels_NCHW).numpy()

    return run


def elsewhere(path: Path) -> Way:
    """Eager torch in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, spawn, set_up, (path, torch.get_num_threads()))
    return lambda pixels_NCHW: pool.submit(there, pixels_NCHW.numpy()).result()


def set_up(path: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    there.run = in_torch(Embedder.load(path).eval())  # type: ignore[attr-defined]


def there(pixels_NCHW: np.ndarray) -> np.ndarray:
    return there.run(torch.from_numpy(pixels_NCHW))  # type: ignore[attr-defined]


def in_onnx(session: Session) -> Way:
    def run(pixels_NCHW: Tensor) -> np.ndarray:
        return session(pixels_NCHW.permute(0, 2, 3, 1).contiguous().numpy())

    return run


def speed(way: Way, pixels: Tensor, batch: int, seconds: float) -> float:
    """Images/s over at least so many seconds."""
    parts, count, began = pixels.split(batch), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += len(way(parts[count // batch % len(parts)]))
    return count / (time.perf_counter() - began)


def kept(way: Way, images: Images, recipe: Recipe, most: int) -> tuple[str, Tensor]:
    """knn@1 with its interval, and the held-out vectors."""
    part = "test" if len(images.part("test")) else "val"
    query, known = (vectors(way, spaced(images.part(name), most)) for name in (part, "train"))
    score = evaluate(query, known, sim=recipe.sim, seed=0, quick=True)["knn@1"]
    return f"{score.value:.4f} ({score.low:.4f} – {score.high:.4f})", query.vectors


def vectors(way: Way, images: Images) -> Embeddings:
    parts = [torch.from_numpy(np.array(way(images.batch(at)))) for at in torch.arange(len(images)).split(64)]
    return Embeddings(torch.cat(parts), images.labels, images.ids, images.split, images.classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--network", default="convnet")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--weights", default="", help="published weights, which are measured as they are")
    parser.add_argument("--each", type=int, default=500, help="images a class")
    parser.add_argument("--classes", type=int, default=10, help="classes a batch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--most", type=int, default=2000, help="images of each part that are scored")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, os.cpu_count() or 1))))
    keep_memory()
    model, images, recipe = made(asked)
    with tempfile.TemporaryDirectory() as folder:
        found = ways(model, images, Path(folder))
        pixels = spaced(images, 4 * asked.batch).batch(torch.arange(min(len(images), 4 * asked.batch)))
        pixels = pixels[: len(pixels) // asked.batch * asked.batch]
        first = {name: warmed(way, pixels[: asked.batch]) for name, way in found.items()}
        rates: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(asked.rounds):
            for name, way in found.items():
                rates[name].append(speed(way, pixels, asked.batch, asked.seconds))
        scored = {name: kept(way, images, recipe, asked.most) for name, way in found.items()}
    shape = " x ".join(map(str, images.shape))
    said = f"{asked.network} on {asked.data}, {shape}, {torch.get_num_threads()} threads, batches of {asked.batch}."
    machine.write(f"embed_{asked.network}", table(rates, first, scored), f"{said}\n\n{__doc__}")


def warmed(way: Way, pixels: Tensor) -> float:
    """Seconds of the first call."""
    began = time.perf_counter()
    way(pixels)
    return time.perf_counter() - began


def table(rates: dict[str, list[float]], first: dict[str, float], scored: dict[str, tuple[str, Tensor]]) -> str:
    lines = ["| way | images/s (median) | lowest – highest | to eager | first call, s | knn@1 | cosine to eager |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    eager, wanted = statistics.median(rates["torch eager"]), scored["torch eager"][1]
    for name, values in rates.items():
        median = statistics.median(values)
        alike = torch.nn.functional.cosine_similarity(scored[name][1], wanted)
        lines.append(
            f"| {name} | {median:,.0f} | {min(values):,.0f} – {max(values):,.0f} | {median / eager:.2f} | "
            f"{first[name]:.1f} | {scored[name][0]} | {float(alike.mean()):.4f}, {float(alike.min()):.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
