"""The trainings of the experiment on videos: what a network learned is kept, and its weights are not."""

import time
from typing import Any

from likewise import spec
from likewise.assemble import build, load_images, settled
from likewise.data.images import Images
from likewise.evaluate import Embeddings, embed
from likewise.launch import running
from likewise.recipe import Recipe
from likewise.reproduce.bench import Bench
from likewise.reproduce.section import keep, kept
from likewise.reproduce.video_measures import inner
from likewise.training import fit

__all__ = ["NETWORKS", "PARTS", "SEEDS", "divided", "learned", "respelled", "seeds", "tried", "untrained"]

NETWORKS = {"Small": "video_small", "AlexNet": "video_alexnet"}
PARTS = {"temporal": "the last tenth", "gap": "the last tenth, after a gap", "sequences": "videos never seen"}
FIRST, HONEST, NEW = PARTS  # theirs is the first
SEEDS = 3


def respelled(text: str, **changes: Any) -> str:
    """A name with some keywords changed: `tracking(every=2)` -> `tracking(every=2, parts='gap')`."""
    name, settings = spec.parse(text)
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in (settings | changes).items())})"


def divided(recipe: Recipe, parts: str) -> Recipe:
    return recipe if parts == FIRST else recipe.replace(data=respelled(recipe.data, parts=parts))


def seeds(bench: Bench, name: str, parts: str) -> list[Embeddings]:
    """What each seed learned, as far as that is finished."""
    recipe = divided(bench.recipe(NETWORKS[name]), parts)
    found = [learned(bench, f"{parts}-{name}-seed{s}", recipe.replace(seed=s)) for s in range(SEEDS)]
    return [one for one in found if one is not None]


def learned(bench: Bench, name: str, recipe: Recipe, images: Images | None = None) -> Embeddings | None:
    """The embedding of all pictures by a network that the recipe trained; None where it is not to be trained."""
    path = bench.folder / "embeddings" / f"{name}.parquet"
    if path.exists():
        return Embeddings.load(path)
    if not bench.train:
        return None
    bench.say(name)
    images = load_images(recipe) if images is None else images
    parts, began = build(settled(recipe), images), time.process_time()
    fit(running(parts))
    return written(bench, name, embed(parts.state.final, images), time.process_time() - began)


def untrained(bench: Bench, name: str) -> Embeddings:
    """The same before the first step, for the first seed."""
    path = bench.folder / "embeddings" / f"untrained-{name}.parquet"
    if path.exists():
        return Embeddings.load(path)
    recipe = bench.recipe(NETWORKS[name])
    images = load_images(recipe)
    return written(bench, path.stem, embed(build(settled(recipe), images).state.final, images), 0.0)


def written(bench: Bench, name: str, found: Embeddings, seconds: float) -> Embeddings:
    """The seconds first: what has its embedding is finished."""
    (bench.folder / "embeddings").mkdir(exist_ok=True)
    times = bench.folder / "seconds.json"
    keep(times, (kept(times) or {}) | {name: round(seconds, 1)})
    found.save(bench.folder / "embeddings" / f"{name}.parquet")
    return found


def tried(bench: Bench, name: str, recipe: Recipe, lr: float, margin: float) -> Embeddings | None:
    recipe = recipe.replace(lr=lr, loss=respelled(recipe.loss, margin=margin))
    images = inner(load_images(recipe)) if bench.train else None
    return learned(bench, f"settings-{name}-lr{lr:g}-margin{margin:g}", recipe, images)
