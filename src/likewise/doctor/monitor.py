"""What the doctor looks at: measured now and then, on a few pictures that never change, without touching the training.

A look is one pass over at most 128 pictures, and 40 times as many are trained on before the next: under 1 % of the
time. Nothing is drawn at random, and a GPU is waited for at a look only.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise import geometry, spec
from likewise.data.images import Images
from likewise.doctor import Look, Setup, diagnose
from likewise.metrics.health import effective_rank
from likewise.metrics.neighbours import nearest
from likewise.metrics.verification import auc, roc
from likewise.models import evaluating
from likewise.training.loop import Callback, Feed, State

__all__ = ["composition", "pair_auc", "related", "sample", "vitals", "watch_collapse"]

PICTURES = 64  # of either part; some 300 same pairs where there are 10 classes
TRAINED_ON = 40  # pictures for every one that is looked at
BETWEEN = 50_000  # pictures between two looks at most, where an epoch is longer
BATCHES = 64  # of the first epoch, for what a batch is made of
NEIGHBOURS, SIDE = 2_000, 16  # pictures and pixels a side for the question whether labels belong to pictures

Sim = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sample:
    """Pictures on the device of the training."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, images: Images, device: torch.device) -> "Sample":
        at = sample(images.labels, PICTURES)
        return cls(images.batch(at).to(device), images.labels[at].cpu())


def watch_collapse(
    state: State,
    feed: Feed,
    val: Images | None,
    setup: Setup,
    *,
    write: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
    past: Iterable[Mapping[str, Any]] = (),
) -> Callback:
    """Look at the training now and then, write a record of kind "health", and say what is wrong, each cause once.

    feed: what is trained on; val: the validation part, where there is one. past: the records of metrics.jsonl that a
    resumed training goes on from. What was said is kept in `state.callback_state`.
    """
    device = feed.images.labels.device
    train, held_out = Sample.of(feed.images, device), Sample.of(val, device) if val is not None and len(val) else None
    plan = feed.plan(0)
    fixed: dict[str, Any] = {"loss_at_collapse": loss_at_collapse(state.loss_fn, feed, plan), **composition(feed, plan)}
    state.callback_state.setdefault("weights at the start", length(state.model))
    looks = [Look.of(record) for record in past if record["kind"] == "health"]
    apart = spacing(feed.images, train, held_out)
    sim = spec.bind("sim", setup.sim)

    def call(state: State) -> None:
        if state.seen < state.callback_state.get("next look", 0) and state.progress < 1:
            return
        state.callback_state["next look"] = state.seen + apart
        look = Look(**now(state), **seen(state.model, train, held_out, sim), **fixed)
        if (
            looks and look.suspicious() and "labels related" not in state.callback_state
        ):  # an untrained network proves nothing
            state.callback_state["labels related"] = related(feed.images)
        look = replace(look, related=state.callback_state.get("labels related"))
        looks.append(look)
        found = diagnose(looks, setup, **({"patience": 1} if state.progress == 1 else {}))
        new = [finding for finding in found if f"said {finding.name}" not in state.callback_state]
        state.callback_state.update({f"said {finding.name}": look.epoch for finding in new})
        write({"kind": "health", **asdict(look), "findings": {f.name: str(f) for f in new}})
        for finding in new:
            say(str(finding))

    return call


def spacing(images: Images, *samples: Sample | None) -> int:
    """Pictures between two looks: an epoch, but not so few that looking costs, nor so many that help comes late."""
    looked_at = sum(len(one.labels) for one in samples if one)
    return max(TRAINED_ON * looked_at, min(len(images), BETWEEN))


def now(state: State) -> dict[str, Any]:
    """What the state itself says. Reading it waits for the device."""
    assert state.loss is not None
    active = state.notes.get("active")
    return {
        "step": state.step,
        "epoch": round(state.epoch + state.batch_index / state.num_batches, 4),
        "loss": state.loss.item(),
        "active": None if active is None else float(active),
        "growth": length(state.model) / max(state.callback_state["weights at the start"], 1e-12),
    }


def seen(model: nn.Module, train: Sample, val: Sample | None, sim: Sim) -> dict[str, Any]:
    """What the embedding of the samples says."""
    said = vitals(embedded(model, train), train.labels, sim)
    return said | {"val_auc": pair_auc(embedded(model, val), val.labels, sim) if val else None}


@torch.no_grad()
def embedded(model: Any, pictures: Sample) -> Tensor:
    with evaluating(model):
        return model.head(model.features(pictures.pixels)).float().cpu()


def vitals(emb_ND: Tensor, labels_N: Tensor, sim: Sim) -> dict[str, Any]:
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
    """How often a same pair is more alike than a different one; None where either kind is missing."""
    first_T, second_T = torch.triu_indices(len(labels_N), len(labels_N), 1)
    same_T = labels_N[first_T] == labels_N[second_T]
    if same_T.all() or not same_T.any() or not emb_ND.isfinite().all():
        return None
    return float(auc(roc(sim(emb_ND, emb_ND)[first_T, second_T], same_T)))


def related(images: Images) -> float:
    """How much more often neighbours in pixels share a label than by chance, in standard errors of random labels."""
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
    """Pictures as rows of a few grey levels; anything else as it is."""
    pixels = pixels.float().cpu()
    return (F.adaptive_avg_pool2d(pixels, SIDE) if pixels.ndim == 4 and pixels.shape[-1] > SIDE else pixels).flatten(1)


def sample(labels: Tensor, most: int, fewest: int = 4) -> Tensor:
    """Places of at most so many pictures, evenly over the classes that have two and within each; always the same.

    Few classes all take part; of many so few that each gives `fewest` pictures. Where no class has two, all count.
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
    """The share of the first batches that lack a kind of pair; rows that come with partners have both kinds."""
    if feed.partners:
        return {"one_class": 0.0, "no_same": 0.0}
    labels = feed.images.labels.cpu()
    counts = [labels[batch].unique(return_counts=True)[1] for batch in plan[:BATCHES]]
    return {
        "one_class": sum(len(count_C) == 1 for count_C in counts) / len(counts),
        "no_same": sum(int(count_C.max()) == 1 for count_C in counts) / len(counts),
    }


def loss_at_collapse(loss_fn: nn.Module, feed: Feed, plan: Sequence[Tensor]) -> float | None:
    """The loss of an embedding that knows nothing, on such a batch; None where the loss does not say."""
    # A row with its own partners sees one positive and one negative, as the first two of these three do.
    labels = torch.tensor([0, 0, 1]) if feed.partners else feed.images.labels[plan[0]]
    with torch.random.fork_rng(devices=[]):  # a rule may draw its pairs at random
        torch.default_generator.manual_seed(0)
        return getattr(loss_fn, "at_collapse", lambda _: None)(labels)


@torch.no_grad()
def length(model: nn.Module) -> float:
    """Of all weights as one vector; biases and scales left out."""
    lengths = [torch.linalg.vector_norm(p.detach()) for p in model.parameters() if p.ndim > 1]
    return float(torch.stack(lengths).norm()) if lengths else 0.0
