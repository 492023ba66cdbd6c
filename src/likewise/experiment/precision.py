"""amp=auto: bfloat16 or float32 in the network, whichever a few steps on this machine find faster."""

import copy
import time
from collections.abc import Callable, Sequence

import torch

from likewise import distributed
from likewise.experiment.build import Parts
from likewise.training.loop import mixed

__all__ = ["GAIN", "settle"]

GAIN = 1.1  # bfloat16 is taken from this speed-up on: it is less exact
ROWS = 32  # images of a step
LEAST, MOST = 2, 20  # timed steps of each, after one that warms up
SECONDS = 1.0  # of timed steps of each, from which on no more are taken: short ones need many


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
    seconds = step_seconds(parts)
    gain = seconds[False] / seconds[True]
    times = f"bfloat16 {1000 * seconds[True]:.0f} ms a step, float32 {1000 * seconds[False]:.0f} ms"
    return ("always" if gain >= GAIN else "never"), times


def step_seconds(parts: Parts, clock: Callable[[], float] = time.perf_counter) -> dict[bool, float]:
    """Shortest of some forward and backward passes in float32 (False) and in bfloat16 (True).

    The two alternate, so that other processes slow down both. Copies of the network are trained; parts and random
    state stay.
    """
    train = parts.feed.images
    images = train.batch(torch.arange(min(ROWS, len(train)))).to(parts.device)
    models = {amp: copy.deepcopy(parts.state.model).train() for amp in (False, True)}
    spans: dict[bool, list[float]] = {amp: [] for amp in models}
    with torch.random.fork_rng():
        while not all(enough(times) for times in spans.values()):
            for amp, model in models.items():
                start = clock()
                with mixed(parts.device, amp):
                    loss = model(images).float().square().sum()
                if loss.requires_grad:
                    loss.backward()
                spans[amp].append(clock() - start)
    return {amp: min(times[1:]) for amp, times in spans.items()}


def enough(times: Sequence[float]) -> bool:
    """Whether these steps, the first of which warms up, tell how long one takes."""
    timed = times[1:]
    return len(timed) >= MOST or (len(timed) >= LEAST and sum(timed) >= SECONDS)
