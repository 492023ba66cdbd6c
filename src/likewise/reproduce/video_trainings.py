"""The trainings of the experiment on videos: embeddings are saved, weights are not."""

import time

from likewise import spec
from likewise.data.images import Images
from likewise.evaluate import Embeddings, embed
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import trial
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import load_json, save_json
from likewise.reproduce.video_measures import inner

__all__ = ["NETWORKS", "PARTS", "SEEDS", "divided", "learned", "respelled", "seeds", "tried", "untrained"]

NETWORKS = {"Small": "video_small", "AlexNet": "video_alexnet"}
PARTS = {"temporal": "the last tenth", "gap": "the last tenth, after a gap", "sequences": "unseen videos"}
FIRST, HONEST, NEW = PARTS  # theirs is the first
SEEDS = 3


def respelled(text: str, **changes: object) -> str:
    """A name with some keywords changed: `tracking(every=2)` -> `tracking(every=2, parts='gap')`."""
    name, settings = spec.parse(text)
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in (settings | changes).items())})"


def divided(recipe: Recipe, parts: str) -> Recipe:
    return recipe if parts == FIRST else recipe.replace(data=respelled(recipe.data, parts=parts))


def seeds(experiment: Experiment, name: str, parts: str) -> list[Embeddings]:
    """Embeddings of all finished seeds."""
    recipe = divided(experiment.recipe(NETWORKS[name]), parts)
    embeddings = [learned(experiment, f"{parts}-{name}-seed{s}", recipe.replace(seed=s)) for s in range(SEEDS)]
    return [one for one in embeddings if one is not None]


def learned(experiment: Experiment, name: str, recipe: Recipe, images: Images | None = None) -> Embeddings | None:
    """Embeddings of all images by the trained network; None if unfinished and `train` is False."""
    path = experiment.folder / "embeddings" / f"{name}.parquet"
    if path.exists():
        return Embeddings.load(path)
    if not experiment.train:
        return None
    experiment.say(name)
    images = load_images(recipe) if images is None else images
    parts, began = build(resolve_defaults(recipe), images), time.process_time()
    trial(parts)
    return written(experiment, name, embed(parts.state.final, images), time.process_time() - began)


def untrained(experiment: Experiment, name: str) -> Embeddings:
    """Embeddings before training, for the first seed."""
    path = experiment.folder / "embeddings" / f"untrained-{name}.parquet"
    if path.exists():
        return Embeddings.load(path)
    recipe = experiment.recipe(NETWORKS[name])
    images = load_images(recipe)
    return written(experiment, path.stem, embed(build(resolve_defaults(recipe), images).state.final, images), 0.0)


def written(experiment: Experiment, name: str, embeddings: Embeddings, seconds: float) -> Embeddings:
    """Save seconds, then the embeddings, whose file marks the training as finished."""
    (experiment.folder / "embeddings").mkdir(exist_ok=True)
    times = experiment.folder / "seconds.json"
    save_json(times, (load_json(times) or {}) | {name: round(seconds, 1)})
    embeddings.save(experiment.folder / "embeddings" / f"{name}.parquet")
    return embeddings


def tried(experiment: Experiment, name: str, recipe: Recipe, lr: float, margin: float) -> Embeddings | None:
    recipe = recipe.replace(lr=lr, loss=respelled(recipe.loss, margin=margin))
    images = inner(load_images(recipe)) if experiment.train else None
    return learned(experiment, f"settings-{name}-lr{lr:g}-margin{margin:g}", recipe, images)
