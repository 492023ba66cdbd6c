"""What the audit finds of what was done to the data on purpose: labels flipped, copies planted, bursts torn apart.

    LIKEWISE_DATA=... python benchmarks/audit.py --what labels --recipe fashion-mnist --each 1000 --epochs 3
    LIKEWISE_DATA=... python benchmarks/audit.py --what copies --weights mobilenet_v2-b0353104.pth
    LIKEWISE_DATA=... python benchmarks/audit.py --what scenes --weights mobilenet_v2-b0353104.pth

labels  2 % of all training labels become another class, drawn evenly; a model is trained WITH them, and its own run is
        audited. Found: flipped images among the training images listed as `wrong-label`. The rule, for all data: an
        image is listed when the vote of its 20 neighbours fits its label worse than a vote that knows nothing.
copies  images of the grocery-store training part are put into its validation part: the same file, saved again as
        JPEG of quality 60, at half the size, cut by 3 to 6 % at the sides, brightened by a quarter.
scenes  grocery-store, untrained published features: a random fifth of `train` held out, and the published `val`.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import torch
from PIL import Image, ImageEnhance

from likewise import api
from likewise.audit import Audit, audit
from likewise.data import data_home, load
from likewise.data.images import SPLITS, Images
from likewise.evaluate import embed
from likewise.experiment.build import load_images, weights_of
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.metrics.classification import vote
from likewise.metrics.neighbours import nearest
from likewise.models import Embedder

HOWS = ("same", "jpeg", "half", "cropped", "brighter")


def labels(asked: argparse.Namespace, folder: Path) -> list[str]:
    """A row for each seed."""
    lines = ["| data | knn@1 | flipped | listed | found | precision |", "|---|---:|---:|---:|---:|---:|"]
    for seed in asked.seeds:
        recipe = api.load_recipe(asked.recipe).replace(max_per_class=asked.each)
        images = load_images(recipe)
        y, flipped = flip(images, seed)
        parts = np.array(SPLITS)[images.split.numpy()]
        np.savez(folder / "flipped.npz", X=images.pixels.numpy(), y=y, split=parts)
        recipe = recipe.replace(data=str(folder / "flipped.npz"), epochs=asked.epochs, max_per_class=0, seed=seed)
        run = api.train(recipe, out=folder, name="flipped")
        told = api.audit(run.path)
        listed = {s.batch_index for s in told.suspects if told.part(s.batch_index) == "train"}
        found, knn = len(listed & flipped), run.metrics()["scores"]["knn@1"]["value"]
        lines.append(
            f"| {asked.recipe}, {len(images):,} images, {asked.epochs} epochs, seed {seed} | {knn:.4f} | "
            f"{len(flipped)} | {len(listed)} | {found} ({found / len(flipped):.1%}) | "
            f"{found / max(1, len(listed)):.1%} |"
        )
    return lines


def flip(images: Images, seed: int) -> tuple[np.ndarray, set[int]]:
    """Labels with 2 % of the training part's changed to another class, and where."""
    rng = np.random.default_rng(seed)
    train = np.flatnonzero(images.split.numpy() == 0)
    at = rng.choice(train, round(0.02 * len(train)), replace=False)
    y, classes = images.labels.numpy().copy(), len(images.classes)
    y[at] = (y[at] + rng.integers(1, classes, len(at))) % classes
    return y, set(at.tolist())


def plant(source: Path, target: Path, how: str, rng: np.random.Generator) -> None:
    """A copy of an image, changed in one way."""
    if how == "same":
        shutil.copyfile(source, target)
        return
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    w, h = image.size
    if how == "half":
        image = image.resize((w // 2, h // 2))
    elif how == "cropped":
        left, top, right, bottom = rng.uniform(0.015, 0.03, 4)
        image = image.crop((int(w * left), int(h * top), int(w * (1 - right)), int(h * (1 - bottom))))
    elif how == "brighter":
        image = ImageEnhance.Brightness(image).enhance(1.25)
    image.save(target, quality=60 if how == "jpeg" else 92)


def copies(asked: argparse.Namespace, folder: Path) -> list[str]:
    """Planted and found, by kind."""
    rng, top = np.random.default_rng(0), folder / "set"
    shutil.copytree(data_home() / "grocery-store" / "dataset", top, ignore=shutil.ignore_patterns("*.txt", "*.csv"))
    sources = sorted((top / "train").rglob("*.jpg"))
    chosen = rng.choice(len(sources), asked.planted * len(HOWS), replace=False)
    pairs: dict[frozenset[str], str] = {}
    for n, at in enumerate(chosen.tolist()):
        source, how = sources[at], HOWS[n % len(HOWS)]
        target = top / "val" / source.relative_to(top / "train").with_name(f"planted-{how}-{n}.jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        plant(source, target, how, rng)
        pairs[frozenset(str(p.relative_to(top)) for p in (source, target))] = how
    images = load(f"folder(path={str(top)!r}, parts='yes')", size=asked.size, channels=3, val=0.0)
    told = told_of(images, model_of(asked), folder)
    found = {frozenset((images.ids[c.first], images.ids[c.second])) for c in told.copies or ()}
    lines = ["| planted | how many | found |", "|---|---:|---:|"]
    for how in HOWS:
        of_kind = [pair for pair, kind in pairs.items() if kind == how]
        lines.append(f"| {how} | {len(of_kind)} | {sum(pair in found for pair in of_kind)} |")
    other = len(found - pairs.keys())
    return [*lines, "", f"Other pairs listed, shots a moment apart among them: {other}.", "", told.leak]


def scenes(asked: argparse.Namespace, folder: Path) -> list[str]:
    """What the audit says of a random split, and of the published one."""
    top, lines = data_home() / "grocery-store" / "dataset", ["| split | knn@1 | the audit says |", "|---|---:|---|"]
    published = load(f"folder(path={str(top)!r}, parts='yes')", size=asked.size, channels=3, val=0.0)
    ours = replace(published, split=torch.where(published.split == 1, 0, published.split).byte())
    generator = torch.Generator().manual_seed(0)
    fifth = torch.where(torch.rand(len(ours), generator=generator) < 0.2, 2, 0).byte()
    train = ours.split == 0
    torn = replace(ours, split=fifth).take(train.nonzero()[:, 0])
    model = model_of(asked)
    for name, images in (("a random fifth of train held out", torn), ("published train -> val", ours)):
        told = told_of(images, model, folder / str(len(lines)))
        held, known = told.found.part("test"), told.found.part("train")
        named = vote(nearest(held.vectors, known.vectors, 1), known.labels, 1)
        lines.append(f"| {name} | {float((named == held.labels).double().mean()):.3f} | {told.leak} |")
    return lines


def model_of(asked: argparse.Namespace) -> Embedder:
    model = Embedder("mobilenet_v2", shape=(3, asked.size, asked.size), dim=0)
    model.load_weights(weights_of(Recipe(weights=asked.weights)))
    return model.eval()


def told_of(images: Images, model: Embedder, folder: Path) -> Audit:
    run = Run.create(folder, "run")
    run.write("recipe.toml", Recipe(sim="cosine").to_toml())
    return audit(run, embed(model, images, batch=32), images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["labels", "copies", "scenes"], required=True)
    parser.add_argument("--recipe", default="fashion-mnist", help="labels: the recipe that is trained")
    parser.add_argument("--each", type=int, default=1000, help="labels: images a class")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--planted", type=int, default=20, help="copies: of each kind")
    parser.add_argument("--size", type=int, default=160, help="copies, scenes: side that images are brought to")
    parser.add_argument("--weights", default="", help="copies, scenes: published weights of MobileNetV2")
    asked = parser.parse_args()
    if asked.what != "labels" and not asked.weights:
        parser.error(f"--what {asked.what} needs --weights, the file mobilenet_v2-b0353104.pth of torchvision")
    with tempfile.TemporaryDirectory() as folder:
        lines = {"labels": labels, "copies": copies, "scenes": scenes}[asked.what](asked, Path(folder))
    machine.write(f"audit_{asked.what}", "\n".join(lines), __doc__)


if __name__ == "__main__":
    main()
