"""Periodic measurements for the doctor, on a fixed sample of images, without side effects on the training.

An observation is one forward pass over at most 128 images, with 40 times as many trained on before the next: under 1 %
of the time. Nothing is random, and the GPU is synchronised only at an observation.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise import geometry, spec
from likewise.data.images import Images
from likewise.doctor import Observation, Setup, diagnose
from likewise.metrics.health import effective_rank
from likewise.metrics.neighbours import nearest
from likewise.metrics.verification import auc, roc
from likewise.models import evaluating
from likewise.safety.bounds import Record
from likewise.training.loop import Callback, Feed, State

__all__ = [
    "LOSS_AT_COLLAPSE",
    "composition",
    "note_loss_at_collapse",
    "pair_auc",
    "related",
    "sample",
    "vitals",
    "watch_collapse",
]

LOSS_AT_COLLAPSE = "loss at collapse"  # key of the state that a checkpoint saves
PER_PART = 64  # sampled images per part; about 300 same pairs with 10 classes
TRAINED_ON = 40  # images trained on per sampled image
BETWEEN = 50_000  # maximum number of images between two observations, if an epoch is longer
BATCHES = 64  # batches of the first epoch for the batch composition
NEIGHBOURS, SIDE = 2_000, 16  # images and pixels per side for the test whether labels match images

Sim = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sample:
    """A sample of images on the training device."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, images: Images, device: torch.device) -> "Sample":
        at = sample(images.labels, PER_PART)
        return cls(images.batch(at).to(device), images.labels[at].cpu())


def watch_collapse(
    state: State,
    feed: Feed,
    val: Images | None,
    setup: Setup,
    *,
    write: Callable[[dict[str, object]], None],
    say: Callable[[str], None],
    past: Iterable[Record] = (),
) -> Callback:
    """Observe the training, write records of kind "health", and report each cause once.

    feed: the training data; val: the validation part, if any. past: records of metrics.jsonl when a training is
    resumed. Reported causes are saved in `state.callback_state`.
    """
    device = feed.images.labels.device
    train, held_out = Sample.of(feed.images, device), Sample.of(val, device) if val is not None and len(val) else None
    plan = feed.plan(0)
    read_old_keys(state.callback_state)
    at_collapse, shares = note_loss_at_collapse(state, feed), composition(feed, plan)
    state.callback_state.setdefault("weights at the start", length(state.model))
    observations = [Observation.of(record) for record in past if record["kind"] == "health"]
    interval = images_between(feed.images, train, held_out)
    sim = spec.bind("sim", setup.sim)

    def call(state: State) -> None:
        if state.seen < state.callback_state.get("next observation", 0) and state.progress < 1:
            return
        state.callback_state["next observation"] = state.seen + interval
        seen, embedding = from_state(state), from_samples(state.model, train, held_out, sim)
        observation = Observation(**seen, **embedding, loss_at_collapse=at_collapse, **shares)
        if (
            observations and observation.suspicious() and "labels related" not in state.callback_state
        ):  # not at the first, of an untrained network
            state.callback_state["labels related"] = related(feed.images)
        observation = replace(observation, related=state.callback_state.get("labels related"))
        observations.append(observation)
        findings = diagnose(observations, setup, **({"patience": 1} if state.progress == 1 else {}))
        new = [finding for finding in findings if f"reported {finding.name}" not in state.callback_state]
        state.callback_state.update({f"reported {finding.name}": observation.epoch for finding in new})
        write({"kind": "health", **asdict(observation), "findings": {f.name: str(f) for f in new}})
        for finding in new:
            say(str(finding))

    return call


def read_old_keys(saved: dict[str, float]) -> None:
    """Rename keys of checkpoints from earlier versions."""
    if "next look" in saved:
        saved["next observation"] = saved.pop("next look")
    for key in [key for key in saved if key.startswith("said ")]:
        saved[f"reported {key.removeprefix('said ')}"] = saved.pop(key)


def images_between(images: Images, *samples: Sample | None) -> int:
    """Number of images between two observations: an epoch, with bounds that limit cost and delay."""
    sampled = sum(len(one.labels) for one in samples if one)
    return max(TRAINED_ON * sampled, min(len(images), BETWEEN))


class OfState(TypedDict):
    """What an Observation has of the training state."""

    step: int
    epoch: float
    loss: float
    active: float | None
    growth: float | None


class Vitals(TypedDict):
    """What it has of the embedding of training images."""

    spread: float
    rank: float
    dead: float
    auc: float | None


class OfSamples(Vitals):
    """And of validation images."""

    val_auc: float | None


def from_state(state: State) -> OfState:
    """Measurements from the training state. Reading them synchronises the device."""
    assert state.loss is not None
    active = state.notes.get("active")
    return {
        "step": state.step,
        "epoch": round(state.epoch + state.batch_index / state.num_batches, 4),
        "loss": state.loss.item(),
        "active": None if active is None else float(active),
        "growth": length(state.model) / max(state.callback_state["weights at the start"], 1e-12),
    }


def from_samples(model: nn.Module, train: Sample, val: Sample | None, sim: Sim) -> OfSamples:
    """Measurements from the embeddings of the samples."""
    scores = vitals(embedded(model, train), train.labels, sim)
    return {**scores, "val_auc": pair_auc(embedded(model, val), val.labels, sim) if val else None}


@torch.no_grad()
def embedded(model: Any, sample: Sample) -> Tensor:  # Any: a module with `features` and `head`
    with evaluating(model):
        return model.head(model.features(sample.pixels)).float().cpu()


def vitals(emb_ND: Tensor, labels_N: Tensor, sim: Sim) -> Vitals:
    """Spread, rank, dead dimensions and pair AUC of an embedding; all NaN or None where it is not finite."""
    if not emb_ND.isfinite().all():
        return {"spread": math.nan, "rank": math.nan, "dead": 0.0, "auc": None}
    centred_ND = (emb_ND - emb_ND.mean(0)).double()
    scattered, whole = centred_ND.square().sum(), emb_ND.double().square().sum()
    return {
        "spread": float(scattered / whole) if whole else 0.0,
        "rank": effective_rank(centred_ND),
        "dead": float((emb_ND == 0).all(0).double().mean()),
        "auc": pair_auc(emb_ND, labels_N, sim),
    }


def pair_auc(emb_ND: Tensor, labels_N: Tensor, sim: Sim) -> float | None:
    """AUC of same against different pairs; None if either kind is missing."""
    first_T, second_T = torch.triu_indices(len(labels_N), len(labels_N), 1)
    same_T = labels_N[first_T] == labels_N[second_T]
    if same_T.all() or not same_T.any() or not emb_ND.isfinite().all():
        return None
    return float(auc(roc(sim(emb_ND, emb_ND)[first_T, second_T], same_T)))


def related(images: Images) -> float:
    """Label agreement of pixel-space neighbours above chance, in standard errors under random labels."""
    at = sample(images.labels, NEIGHBOURS)
    labels_N, n = images.labels[at].cpu(), len(at)
    _, size_C = labels_N.unique(return_counts=True)
    if len(size_C) < 2:
        return math.inf
    x_ND = small(images.batch(at))
    _, index_N1 = nearest(x_ND, x_ND, 1, sim=geometry.euclidean, offset=0)
    same = float((labels_N[index_N1[:, 0]] == labels_N).double().mean())
    share = float((size_C * (size_C - 1)).sum()) / (n * (n - 1))
    return (same - share) / math.sqrt(share * (1 - share) / n)


def small(pixels: Tensor) -> Tensor:
    """Downscaled images as rows; other inputs unchanged."""
    pixels = pixels.float().cpu()
    return (F.adaptive_avg_pool2d(pixels, SIDE) if pixels.ndim == 4 and pixels.shape[-1] > SIDE else pixels).flatten(1)


def sample(labels: Tensor, most: int, fewest: int = 4) -> Tensor:
    """Indices of at most `most` images, evenly over classes with two or more and within each; deterministic.

    Few classes are all used; of many classes, as many as give `fewest` images each. Without classes of two, all count.
    """
    labels = labels.cpu()
    kinds_C, count_C = labels.unique(return_counts=True)
    several = kinds_C[count_C > 1] if (count_C > 1).any() else kinds_C
    each = max(fewest, most // max(1, len(several)))
    chosen = several[evenly(len(several), most // each)]
    places = [(labels == kind).nonzero()[:, 0] for kind in chosen]
    return torch.cat([torch.empty(0, dtype=torch.int64), *(place[evenly(len(place), each)] for place in places)])


def evenly(n: int, most: int) -> Tensor:
    few = min(n, most)
    return torch.arange(few) * n // max(1, few)


def composition(feed: Feed, plan: Sequence[Tensor]) -> dict[str, float]:
    """Share of the first batches without one kind of pair; samplers with partners always have both kinds."""
    if feed.partners:
        return {"one_class": 0.0, "no_same": 0.0}
    labels = feed.images.labels.cpu()
    counts = [labels[batch].unique(return_counts=True)[1] for batch in plan[:BATCHES]]
    return {
        "one_class": sum(len(count_C) == 1 for count_C in counts) / len(counts),
        "no_same": sum(int(count_C.max()) == 1 for count_C in counts) / len(counts),
    }


def note_loss_at_collapse(state: State, feed: Feed) -> float | None:
    """Loss of a collapsed embedding on the first batch of the training, computed once and saved in the state.

    Saved, so that the doctor and the report show one number, and so that a resumed training, whose proxies or scales
    have been trained meanwhile, still shows the one it started with.
    """
    if LOSS_AT_COLLAPSE not in state.callback_state:
        value = loss_at_collapse(state.loss_fn, feed, feed.plan(0))
        state.callback_state |= {} if value is None else {LOSS_AT_COLLAPSE: value}
    return state.callback_state.get(LOSS_AT_COLLAPSE)


def loss_at_collapse(loss_fn: nn.Module, feed: Feed, plan: Sequence[Tensor]) -> float | None:
    """Loss of a collapsed embedding on the first batch; None if the loss does not define it."""
    # With partners, each row has one positive and one negative, as the first two of these three labels have.
    labels = torch.tensor([0, 0, 1]) if feed.partners else feed.images.labels[plan[0]]
    with torch.random.fork_rng(devices=[]):  # a rule may draw its pairs at random
        torch.default_generator.manual_seed(0)
        return getattr(loss_fn, "at_collapse", lambda _: None)(labels)


@torch.no_grad()
def length(model: nn.Module) -> float:
    """Norm of all weights as one vector, without biases and scales."""
    lengths = [torch.linalg.vector_norm(p.detach()) for p in model.parameters() if p.ndim > 1]
    return float(torch.stack(lengths).norm()) if lengths else 0.0
