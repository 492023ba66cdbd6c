"""amp=auto: bfloat16 or float32 in the network, whichever a few steps on this machine find faster."""

import copy
import time
from collections.abc import Callable

import torch

from likewise import distributed
from likewise.experiment.build import Parts
from likewise.training.loop import mixed

__all__ = ["GAIN", "settle"]

GAIN = 1.1  # bfloat16 is taken from this speed-up on: it is less exact
ROWS = 32  # images of a step
STEPS = 2  # timed, after one that warms up


def settle(parts: Parts, say: Callable[[str], None] = lambda sentence: None) -> str:
    """Replace amp=auto in the recipe by always or never; says the measurement, and returns it in a few words.

    All processes take the answer of the first. Nothing happens, and "" is returned, where amp is not auto.
    """
    if parts.recipe.amp != "auto":
        return ""
    choice = distributed.from_main(chosen(parts) if distributed.is_main() else ("", ""))
    amp, why = choice
    parts.recipe = parts.recipe.replace(amp=amp)
    if distributed.is_main():
        say(f"amp=auto: {why}, so amp={amp}")
    return why


def chosen(parts: Parts) -> tuple[str, str]:
    """always or never, and why."""
    if parts.device.type == "cuda":
        return "always", "there is a GPU"
    seconds = {amp: step_seconds(parts, amp=amp) for amp in (False, True)}
    gain = seconds[False] / seconds[True]
    times = f"bfloat16 {1000 * seconds[True]:.0f} ms a step, float32 {1000 * seconds[False]:.0f} ms"
    return ("always" if gain >= GAIN else "never"), times


def step_seconds(parts: Parts, *, amp: bool, clock: Callable[[], float] = time.perf_counter) -> float:
    """Shortest of a few forward and backward passes of a copy of the network; parts and random state stay."""
    train = parts.feed.images
    images = train.batch(torch.arange(min(ROWS, len(train)))).to(parts.device)
    spans = []
    with torch.random.fork_rng():
        model = copy.deepcopy(parts.state.model).train()
        for _ in range(STEPS + 1):
            start = clock()
            with mixed(parts.device, amp):
                loss = model(images).float().square().sum()
            if loss.requires_grad:
                loss.backward()
            spans.append(clock() - start)
    return min(spans[1:])
