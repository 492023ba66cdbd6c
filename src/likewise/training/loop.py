"""The training loop: `steps` is a generator; whoever consumes it logs, evaluates, saves or stops."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from likewise import distributed, geometry
from likewise.data.images import Images
from likewise.data.resample import Places
from likewise.embeddings import check, embed_shared
from likewise.losses.cached import cached
from likewise.losses.gathered import across_ranks
from likewise.losses.terms import BatchContext
from likewise.metrics.neighbours import Sim
from likewise.models.synced_batchnorm import is_unsynced
from likewise.safety.bounds import Fields
from likewise.training import sparse_rows
from likewise.training.embedding_samplers import EpochEmbeddings
from likewise.training.ranks import augmented, clip_gradients, own_random, places_of, sizes_of

__all__ = ["Batch", "Callback", "Feed", "State", "at_epoch_end", "every", "fit", "steps"]

Mark = TypeVar("Mark", int, bool)


class Batch(NamedTuple):
    """Images as stored, their labels, and the partners behind each anchor (0: the batch is its own reference)."""

    images: Tensor  # uint8 or float32 [N, ...]
    labels: Tensor  # int64 [N]
    partners: int = 0
    places: Places | None = None  # with several processes: which rows of the whole batch these are
    teacher: Tensor | None = None  # a teacher's embeddings of the whole batch [N, T]


@dataclass
class State:
    """All that a training is at one moment; a checkpoint holds exactly this."""

    model: Any  # an Embedder, or any module with `features` and `head`
    loss_fn: Any  # loss(emb, labels, batch) -> scalar, of the package or of a user
    optimizer: torch.optim.Optimizer
    epochs: int
    max_seconds: float = 0.0  # of training, after which it ends where the epochs have not ended it; 0 is no limit
    step: int = 0  # optimizer steps taken
    epoch: int = 0  # the epoch under way, from 0
    batch_index: int = 0  # batches of it that are done
    num_batches: int = 1  # batches it has
    seen: int = 0  # images shown
    empty: Tensor | int = 0  # batches that held no pair; on the device, so that counting does not wait for it
    seconds: float = 0.0  # time spent training, over all resumptions
    lr: float = 0.0
    loss: Tensor | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)
    average: nn.Module | None = None  # exponential moving average of the model, when asked for
    scores: dict[str, Fields] = field(default_factory=dict)  # of the last validation
    callback_state: dict[str, float] = field(default_factory=dict)  # what callbacks must remember across a resumption
    plan: Sequence[Tensor] = ()  # the epoch's batches, where they follow from what the weights were at its start
    drawn: dict[str, int] = field(default_factory=dict)  # what the sampler noted when it drew them
    stop: str | None = None  # why training should end early
    ranks: int = 1  # processes that train

    @property
    def progress(self) -> float:
        """The share of the training that is done, 0 to 1: of its epochs, or of its seconds where they end it."""
        by_time = self.seconds / self.max_seconds if self.max_seconds else 0.0
        return min(1.0, max((self.epoch + self.batch_index / self.num_batches) / self.epochs, by_time))

    @property
    def epochs_done(self) -> int:
        return self.epoch + (self.batch_index == self.num_batches)

    @property
    def epoch_ended(self) -> bool:
        return self.batch_index == self.num_batches

    @property
    def final(self) -> Any:  # Any: as `model`
        """The model to evaluate and keep."""
        return self.average or self.model


Callback = Callable[[State], None]


class Feed:
    """The batches of every epoch, a function of (seed, epoch, rank) alone, so that any batch can be found again.

    Of a sampler that looks they follow from what it sees too: the embedding of `images`, compared by `sim`.
    With several processes all have the same plan, and each takes its rows of every batch.
    """

    def __init__(
        self,
        images: Images,
        sampler: Callable,
        *,
        seed: int,
        augment: Callable | None = None,
        sim: Sim = geometry.cosine,
        teacher: Tensor | None = None,
    ):
        self.teacher = teacher  # its embeddings of `images`, [N, T]
        self.images, self.sampler, self.seed, self.augment, self.sim = images, sampler, seed, augment, sim
        self.partners, self.needs_embeddings = partners_of(sampler), mark_of(sampler, "needs_embeddings", False)

    def plan(self, epoch: int, embeddings: EpochEmbeddings | None = None) -> Sequence[Tensor]:
        """The index tensors of an epoch, one a batch."""
        aware = {"embeddings": embeddings} if self.needs_embeddings else {}
        return self.sampler(self.images.labels.cpu(), seed=self.seed, epoch=epoch, **aware)

    def embed_all(self, model: nn.Module) -> EpochEmbeddings:
        """What a model makes of all images, as they are. Errors: DivergedError."""
        embeddings = embed_shared(model, self.images)
        check(embeddings)
        return EpochEmbeddings(embeddings.vectors.to(self.images.labels.device), self.sim)

    def batches(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        """The batches of a plan; images that must be decoded are fetched one batch ahead."""
        if isinstance(self.images.pixels, Tensor):
            yield from map(self.batch, plan)
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for indices in plan:
                ready, coming = coming, ahead.submit(self.batch, indices)
                if ready:
                    yield ready.result()
            if coming:
                yield coming.result()

    def batch(self, indices: Tensor) -> Batch:
        teacher = None if self.teacher is None else self.teacher[indices.to(self.teacher.device)]
        if distributed.world_size() == 1:
            return Batch(self.images.batch(indices), self.images.labels[indices], self.partners, teacher=teacher)
        places = places_of(len(indices), self.partners)
        own = torch.cat([indices[part] for part in places.parts])
        pixels = self.images.batch(indices if getattr(self.augment, "whole", False) else own)
        return Batch(pixels, self.images.labels[own], self.partners, places, teacher)


def partners_of(sampler: Callable) -> int:
    """How many partners a sampler places behind each anchor."""
    return mark_of(sampler, "partners", 0)


def mark_of(sampler: Callable, name: str, default: Mark) -> Mark:
    """What is written on a sampler."""
    return getattr(getattr(sampler, "func", sampler), name, default)


def steps(
    state: State,
    feed: Feed,
    *,
    schedule: Callable[[float], float],
    lr: float,
    clip: float | None = None,
    device: torch.device | str = "cpu",
    amp: bool = False,
    accumulate: int = 1,
    freeze: Callable[[int], None] = lambda epoch: None,
) -> Iterator[State]:
    """Train to the last epoch, yielding after every optimizer step.

    schedule: progress -> factor of the peak `lr`; what a callback leaves in memory["lowered"] is one more.
    clip: largest gradient norm. amp: bfloat16 in the network's forward. accumulate: parts in which a batch passes the
    network. freeze: called with the epoch, the model in train mode.
    """
    params = [p for group in state.optimizer.param_groups for p in group["params"]]
    unsynced = distributed.world_size() > 1 and is_unsynced(state.model)
    began = time.perf_counter()
    while state.progress < 1 and not state.stop:
        plan = planned(state, feed, device, amp)
        state.num_batches = len(plan)
        for batch in feed.batches(plan[state.batch_index :]):
            set_lr(state, lr * schedule(state.progress) * state.callback_state.get("lowered", 1.0))
            state.model.train(), state.loss_fn.train()
            freeze(state.epoch)
            images, labels = batch.images.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)
            seed = f"{feed.seed} {state.step}"
            if feed.augment:
                images = augmented(feed.augment, images, batch.places, seed)
            rows = batch.places.of if batch.places else len(labels)
            sizes = sizes_of(rows // (1 + batch.partners), distributed.world_size()) if batch.places else ()
            teacher = None if batch.teacher is None else batch.teacher.to(device, non_blocking=True)
            shown = BatchContext(images, partners=batch.partners, sizes=sizes, teacher=teacher)
            if unsynced and not len(images):
                state.model.eval()  # no rows, no mean
            state.loss, state.notes = backward(state, shown, labels, device, amp, accumulate, seed), shown.notes
            distributed.average_gradients(params)
            if clip:
                clip_gradients(params, clip)
            sparse_rows.step(state.optimizer)
            state.optimizer.zero_grad(set_to_none=True)
            state.empty = state.empty + state.notes.get("empty", 0)
            if unsynced:
                distributed.broadcast_tensors(state.model, buffers_only=True)
            state.step, state.batch_index, state.seen = state.step + 1, state.batch_index + 1, state.seen + rows
            state.seconds += time.perf_counter() - began
            if state.max_seconds:  # every process ends at the same step
                state.seconds = distributed.from_main(state.seconds)
            yield state
            if state.stop or state.progress == 1:
                return
            began = time.perf_counter()  # what the callbacks did is not training time
        state.epoch, state.batch_index = state.epoch + 1, 0


def planned(state: State, feed: Feed, device: torch.device | str, amp: bool) -> Sequence[Tensor]:
    """The batches of the epoch under way: those of its sampler, which may look at its start, and are then kept."""
    if not feed.needs_embeddings:
        return feed.plan(state.epoch)
    if state.batch_index == 0:
        with mixed(device, amp):
            seen = feed.embed_all(state.final) if state.epoch else None
        state.plan = distributed.from_main(feed.plan(state.epoch, seen))
        state.drawn = seen.notes if seen else {}
    return state.plan


def mixed(device: torch.device | str, amp: bool) -> AbstractContextManager:
    """bfloat16 inside, where asked for."""
    return torch.autocast(torch.device(device).type, torch.bfloat16) if amp else nullcontext()


def backward(
    state: State, batch: BatchContext, labels: Tensor, device, amp: bool, accumulate: int, seed: str = ""
) -> Tensor:
    """The loss of one batch, detached. Its gradient is in every `.grad`, and what it noted in `batch.notes`.

    seed: of what the network draws (dropout), where several processes each have rows of the batch.
    """
    images = batch.images
    assert images is not None

    def encoded(images: Tensor, part: int = 0) -> tuple[Tensor, Tensor]:
        """Features and embedding."""
        with mixed(device, amp), own_random(images.device, f"{seed} {part}"):
            features = state.model.features(images)
            emb_ND = state.model.head(features)
        return features, emb_ND.float() if amp else emb_ND

    loss_fn = partial(across_ranks, state.loss_fn) if batch.sizes else state.loss_fn
    if accumulate > 1:
        most = max(batch.sizes) * (1 + batch.partners) if batch.sizes else len(images)
        chunk = max(1, -(-most // accumulate))
        parts = -(-most // chunk)
        number = itertools.cycle(range(parts))
        return cached(
            lambda part: encoded(part, next(number))[1], loss_fn, images, labels, chunk=chunk, parts=parts, batch=batch
        )
    batch.features, emb_ND = encoded(images)
    loss = loss_fn(emb_ND, labels, batch)
    loss.backward()
    return loss.detach()


def set_lr(state: State, lr: float) -> None:
    state.lr = lr
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def fit(running: Iterable[State], callbacks: Sequence[Callback] = ()) -> State | None:
    """Run to the end, calling every callback after every step."""
    state = None
    for state in running:
        for callback in callbacks:
            callback(state)
    return state


def every(n: int, callback: Callback) -> Callback:
    """Call on every n-th step and on the last."""

    def call(state: State) -> None:
        if state.step % n == 0 or state.progress == 1:
            callback(state)

    return call


def at_epoch_end(n: int, callback: Callback) -> Callback:
    """Call when an epoch ends: every n-th one, and the last."""

    def call(state: State) -> None:
        if state.epoch_ended and (state.epochs_done % n == 0 or state.epochs_done == state.epochs):
            callback(state)

    return call
