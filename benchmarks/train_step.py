"""Training speed, side by side in one run: ours, the bare loop, and the way it is commonly done.

    LIKEWISE_DATA=... python benchmarks/train_step.py

MNIST, `convnet`, 64-d, batches of P x K = 10 x 25, semi-hard triplets. Images/s of
  ours    the package's own loop: sampler, batch, preprocessing, loss, optimizer, notes, log;
  bare    forward, backward and step of the same network on one random tensor: what no loop can beat;
  loss    the same with our loss on top: what our loop adds beside the loss;
  bfloat16, bare bfloat16    ours with amp=always, and the bare network under autocast;
  common  a DataLoader over Pillow images, a transform per sample, a Python loop over anchors that picks negatives.
The rounds alternate, so that a slow minute of the machine hits all of them; the ratio is of the medians. As in the
command line, malloc keeps what was freed, for all of them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import machine
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from likewise.experiment.build import Parts, build, load_images, resolve_defaults
from likewise.experiment.callbacks import log
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import loop
from likewise.malloc import keep_memory
from likewise.training.loop import mixed

RECIPE = Recipe(
    data="mnist",
    network="convnet",
    loss="triplet(margin=0.2, pick='semihard')",
    sampler="pk(classes=10, images=25)",
    epochs=100,
    lr=1e-3,
    optimizer="adam",
)
BATCH = 250


def ours(parts: Parts) -> Iterator[int]:
    """Our loop with its log, a batch at a time."""
    record = log(lambda said: None)
    for state in loop(parts):
        record(state)
        yield BATCH


def bare(parts: Parts, *, with_loss: bool = False, amp: bool = False) -> Iterator[int]:
    """Forward, backward, step on one random tensor."""
    state = parts.state
    images = torch.randn(BATCH, *parts.images.shape)
    labels = torch.arange(BATCH) // 25
    while True:
        with mixed(parts.device, amp):
            emb_ND = state.model(images)
        loss = state.loss_fn(emb_ND, labels) if with_loss else emb_ND.float().square().mean()
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        yield BATCH


class Images(Dataset):
    """Pillow images with a transform for each, as tutorials have it."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels[:, 0].numpy(), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.pixels[i])
        x = torch.from_numpy(np.array(image)).unsqueeze(0).float().div(255)
        return (x - 0.1307) / 0.3081, self.labels[i]


def semihard(emb_ND: Tensor, labels_N: Tensor, margin: float) -> list[tuple[int, int, int]]:
    """For each anchor and positive a random negative that is semi-hard, one pair at a time."""
    distance = torch.cdist(emb_ND, emb_ND).cpu().numpy()
    labels, found = labels_N.cpu().numpy(), []
    for label in set(labels):
        members, others = np.where(labels == label)[0], np.where(labels != label)[0]
        for a, p in combinations(members, 2):
            loss = distance[a, p] - distance[a, others] + margin
            hard = np.where((loss > 0) & (loss < margin))[0]
            if len(hard):
                found.append((a, p, others[np.random.choice(hard)]))
    return found


def common(parts: Parts, workers: int = 2) -> Iterator[int]:
    """DataLoader workers, per-sample transforms, per-anchor mining in Python."""
    state, train = parts.state, parts.images.part("train")
    plan = [indices.tolist() for epoch in range(3) for indices in parts.feed.plan(epoch)]
    loader = DataLoader(Images(train.pixels, train.labels), batch_sampler=plan, num_workers=workers)
    for images, labels in loader:
        emb_ND = state.model(images)
        chosen = semihard(emb_ND.detach(), labels, 0.2)
        if chosen:
            a, p, n = (emb_ND[list(side)] for side in zip(*chosen, strict=True))
            torch.nn.functional.triplet_margin_loss(a, p, n, margin=0.2).backward()
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
        yield len(labels)


WAYS: dict[str, Callable[[Parts], Iterator[int]]] = {
    "ours": ours,
    "bare": bare,
    "loss": partial(bare, with_loss=True),
    "bfloat16": ours,
    "bare bfloat16": partial(bare, amp=True),
    "common": common,
}
AMP = {"bfloat16": "always"}


def speed(steps: Iterator[int], seconds: float) -> float:
    """Images/s over at least so many seconds."""
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += next(steps)
    return images / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    keep_memory()
    images = load_images(RECIPE)
    loops = {
        name: way(build(resolve_defaults(RECIPE.replace(amp=AMP.get(name, "never"))), images))
        for name, way in WAYS.items()
    }
    for steps in loops.values():
        speed(steps, 1.0)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(asked.rounds):
        for name, steps in loops.items():
            found[name].append(speed(steps, asked.seconds))
    machine.write("train_step", table(found), __doc__)


def table(found: dict[str, list[float]]) -> str:
    medians = {name: statistics.median(values) for name, values in found.items()}
    lines = [
        "| way | images/s (median) | lowest – highest round | ours / it | it / bare |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, values in found.items():
        ratio = medians["ours"] / medians[name]
        span = f"{min(values):,.0f} – {max(values):,.0f}"
        of_bare = medians[name] / medians["bare"]
        lines.append(f"| {name} | {medians[name]:,.0f} | {span} | {ratio:.2f} | {of_bare:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
