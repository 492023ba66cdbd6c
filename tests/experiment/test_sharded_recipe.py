"""A recipe whose proxies are shared out over the processes: `proxy_share`."""

import pytest
import torch
from rank_trials import weights_of

from killing import SMALL
from likewise.experiment.build import build, load_images, resolve_defaults
from likewise.experiment.checkpoint import load_checkpoint, opened_checkpoint, save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.losses import ShardedProxyLoss

PROXIES = SMALL.replace(loss="cosface(scale=16.0, margin=0.2)", proxy_lr=10.0, epochs=1, clip=1.0)


def apart(a: dict, b: dict) -> float:
    x, y = (torch.cat([w[k].flatten().double() for k in w if w[k].is_floating_point()]) for w in (a, b))
    return float((x - y).norm() / y.norm())


@pytest.mark.slow
def test_shared_out_the_weights_are_those_of_one_process_with_all_proxies(two, tmp_path):
    one = weights_of(PROXIES, tmp_path / "one")
    for found in two(weights_of, PROXIES.replace(proxy_share=1.0), tmp_path / "two"):
        assert apart(found, one) < 1e-6
    tensors, header = opened_checkpoint(Run(tmp_path / "two").last)
    alone, _ = opened_checkpoint(Run(tmp_path / "one").last)
    shapes = {k: v.shape for k, v in tensors.items() if k.startswith(("loss.proxies", "optimizer.state"))}
    assert shapes == {k: alone[k].shape for k in shapes}
    assert apart({"p": tensors["loss.proxies."]}, {"p": alone["loss.proxies."]}) < 1e-6
    assert header["ranks"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_resumed_with_as_many_processes_it_ends_in_the_same_bits(two, tmp_path, share):
    recipe = PROXIES.replace(proxy_share=share)
    whole, _ = two(weights_of, recipe, tmp_path / "whole")
    assert two(weights_of, recipe, tmp_path / "cut", stop_at=4) == [{}, {}]
    for found in two(weights_of, recipe, tmp_path / "cut"):
        assert all(torch.equal(found[name], value) for name, value in whole.items())
    last = [opened_checkpoint(Run(tmp_path / name).last)[0] for name in ("whole", "cut")]
    assert all(torch.equal(last[0][name], value) for name, value in last[1].items())


@pytest.mark.slow
def test_begun_by_two_processes_it_goes_on_with_one_and_with_four(two, four, tmp_path):
    recipe = PROXIES.replace(proxy_share=1.0)
    whole, _ = two(weights_of, recipe, tmp_path / "whole")
    for number, go_on in enumerate((lambda function, *given: [function(*given)], four)):
        folder = tmp_path / str(number)
        assert two(weights_of, recipe, folder, stop_at=4) == [{}, {}]
        for found in go_on(weights_of, recipe, folder):
            assert apart(found, whole) < 1e-6


def test_a_checkpoint_of_unsharded_proxies_is_read_by_one_process(tmp_path):
    """The same tensors: 0 and 1 differ in who holds them."""
    parts = [build(resolve_defaults(r), load_images(r)) for r in (PROXIES, PROXIES.replace(proxy_share=1.0))]
    assert isinstance(parts[1].state.loss_fn, ShardedProxyLoss)
    assert torch.equal(parts[0].state.loss_fn.proxies, parts[1].state.loss_fn.proxies)
    save_checkpoint(tmp_path / "x.safetensors", parts[1].state)
    with torch.no_grad():
        parts[1].state.loss_fn.proxies.zero_()
    load_checkpoint(tmp_path / "x.safetensors", parts[1].state)
    assert torch.equal(parts[0].state.loss_fn.proxies, parts[1].state.loss_fn.proxies)


def test_other_losses_are_refused_before_data_are_read():
    recipe = Recipe(loss="supcon", proxy_share=0.5, data="nowhere.csv")
    with pytest.raises(ValueError, match="sharded proxies take softmax"):
        resolve_defaults(recipe)
    with pytest.raises(ValueError, match=r"proxy_share is .*expected 0 to 1, got 1\.5"):
        Recipe(loss="cosface", proxy_share=1.5)
