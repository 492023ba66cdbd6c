"""amp=auto: what a short measurement decides, and that nothing else changes."""

from dataclasses import replace

import pytest
import torch

from likewise.data import load
from likewise.experiment import precision
from likewise.experiment.build import Parts, build, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.train import train


def parts(amp: str = "auto") -> Parts:
    recipe = resolve_defaults(Recipe(data="digits", network="small_resnet(width=4)", dim=4, amp=amp))
    return build(recipe, load("digits"))


@pytest.mark.parametrize(("fast", "amp"), [(0.05, "always"), (0.095, "never"), (0.2, "never")])
def test_the_faster_one_is_taken(monkeypatch, fast, amp):
    monkeypatch.setattr(precision, "step_seconds", lambda parts: {False: 0.1, True: fast})
    built, said = parts(), []
    why = precision.settle(built, said.append)
    assert why == f"bfloat16 {1000 * fast:.0f} ms a step, float32 100 ms"
    assert said == [f"amp=auto: {why}, so amp={amp}"]
    assert built.recipe.amp == amp
    assert precision.settle(built, said.append) == ""
    assert len(said) == 1


def test_a_measurement_changes_nothing():
    built = parts()
    before = {name: t.clone() for name, t in built.state.model.state_dict().items()}
    random = torch.get_rng_state()
    assert all(seconds > 0 for seconds in precision.step_seconds(built).values())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(t, before[name]) for name, t in built.state.model.state_dict().items())
    assert all(p.grad is None for p in built.state.model.parameters())


def spent(*steps: float):
    """A clock by which the steps take so long, in turns of float32 and bfloat16."""
    ticks, now = [], 0.0
    for seconds in steps:
        ticks += [now, now + seconds]
        now += seconds
    return iter(ticks)


def test_the_shortest_timed_step_counts_and_long_ones_are_two():
    clock = spent(0.1, 0.1, 2.0, 1.0, 1.5, 3.0)
    assert precision.step_seconds(parts(), clock=lambda: next(clock)) == {False: 1.5, True: 1.0}
    assert next(clock, None) is None


def test_short_steps_are_many_so_that_one_that_had_to_wait_decides_nothing():
    waits = [0.148] * 4
    clock = spent(*waits, *[0.04, 0.02] * 18, 0.04, 0.02)
    seconds = precision.step_seconds(parts(), clock=lambda: next(clock))
    assert seconds == {False: pytest.approx(0.04), True: pytest.approx(0.02)}
    assert next(clock, None) is None


def test_a_gpu_needs_no_measurement():
    assert precision.chosen(replace(parts(), device=torch.device("cuda"))) == ("always", "there is a GPU")


@pytest.mark.slow
def test_a_run_keeps_what_was_decided_and_says_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(precision, "step_seconds", lambda parts: {False: 0.1, True: 0.1})
    recipe = Recipe(data="digits", network="mlp(widths=(8,))", dim=4, amp="auto", epochs=1, doctor=False)
    run, _ = train(recipe, out=tmp_path, name="auto")
    assert run.recipe.amp == "never"
    assert "amp=auto: bfloat16 100 ms a step, float32 100 ms, so amp=never" in capsys.readouterr().err
