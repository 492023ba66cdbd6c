"""Training practice: what is frozen stays as it was, rates by layer, a batch in parts, heads; and going on is exact."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from likewise import api
from likewise.data import samplers
from likewise.data.images import Images
from likewise.experiment import train as launch
from likewise.experiment import trial
from likewise.experiment.build import build, resolve_defaults
from likewise.experiment.callbacks import average_of, averaged, keep_best, stop_when_flat
from likewise.experiment.checkpoint import load_checkpoint, save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.losses import build as build_loss
from likewise.models import Embedder
from likewise.models.blocks import blocks, lr_multipliers, trainable_blocks, unfreeze_schedule
from likewise.spec import SpecError, bind
from likewise.training import optim
from likewise.training.loop import Feed, State, fit, steps

SHAPE = (3, 16, 16)
NETWORK = "small_resnet(width=4, blocks=(1, 1))"


def pictures(n: int = 36, classes: int = 4) -> Images:
    x = torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(n) % classes
    names, split = tuple(map(str, range(classes))), torch.zeros(n, dtype=torch.uint8)
    return Images(x // 2 + 40 * labels[:, None, None, None].byte(), labels, names, tuple(map(str, range(n))), split)


def start(network: str = NETWORK, *, epochs: int = 4, head: str = "linear", **multiples: float) -> tuple[State, Feed]:
    torch.manual_seed(0)
    model = Embedder(network, shape=SHAPE, dim=4, head=head)
    loss = build_loss("softmax", dim=4, classes=4)
    groups = optim.param_groups(model, loss, lr_multipliers=lr_multipliers(model.backbone, **multiples))
    state = State(model, loss, optim.adamw(groups, 1e-2), epochs, average=average_of(model))
    return state, Feed(pictures(), partial(samplers.pk, classes=4, images=4), seed=0)


def running(state: State, feed: Feed, **settings):
    return steps(state, feed, **{"schedule": optim.constant, "lr": 1e-2, **settings})


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, t in module.state_dict().items() if not torch.equal(t, before[name])}


# --- blocks, freezing and rates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [("mobilenet_v2", SHAPE, 19), (NETWORK, SHAPE, 5), ("mlp(widths=(8, 7))", (5,), 2), ("identity", (5,), 0)],
)
def test_every_parameter_is_in_one_block_and_the_order_is_that_of_the_network(network, shape, count):
    backbone = bind("network", network)(shape)
    found = blocks(backbone)
    assert len(found) == count
    listed = [id(p) for block in found for p in block.parameters]
    assert listed == [id(p) for p in backbone.parameters()]


class Tokens(nn.Module):
    """Built as vision transformers are: a bare token, an encoder that holds a list, a norm at the end."""

    def __init__(self):
        super().__init__()
        self.body = nn.Module()
        self.body.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.body.patches = nn.Conv2d(3, 4, 4, 4)
        self.body.encoder = nn.Module()
        self.body.encoder.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3))
        self.body.norm = nn.LayerNorm(4)


def test_a_token_belongs_to_the_first_block_and_a_norm_to_the_last():
    network = Tokens()
    found = blocks(network)
    assert len(found) == 1 + 3 * 2
    assert any(p is network.body.token for p in found[0].parameters)
    assert network.body.norm in found[-1].layers


@pytest.mark.parametrize(
    ("frozen", "unfreeze", "expected"),
    [
        (0, 0, [5, 5, 5, 5]),
        (2, 0, [0, 0, 5, 5]),
        (-1, 3, [0, 0, 0, 0]),
        (1, 2, [0, 3, 5, 5]),
        (0, 3, [2, 4, 5, 5]),
    ],
)
def test_how_many_blocks_are_trained(frozen, unfreeze, expected):
    assert [trainable_blocks(5, epoch, frozen, unfreeze) for epoch in range(4)] == expected


@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_is_frozen_stays_bit_for_bit_with_its_statistics(accumulate):
    state, feed = start(epochs=3)
    freeze = unfreeze_schedule(state.model.backbone, 1, 2)
    backbone, before, seen = state.model.backbone, weights(state.model), []
    for now in running(state, feed, freeze=freeze, accumulate=accumulate):
        if now.epoch_ended:
            seen.append(changed(before, state.model))
    assert seen[0] == {"head.linear.weight", "head.linear.bias"}
    found = blocks(backbone)
    late = {id(p) for block in found[2:] for p in block.parameters}
    half = {f"backbone.{name}" for name, p in backbone.named_parameters() if id(p) in late}
    assert half <= seen[1]
    assert not {f"backbone.{name}" for name, p in backbone.named_parameters() if id(p) not in late} & seen[1]
    assert not {name for name in seen[1] if name.startswith(("backbone.1.", "backbone.3."))}  # of early BatchNorms
    assert {f"backbone.{name}" for name, _ in backbone.named_parameters()} <= seen[2]


def test_a_frozen_network_is_in_eval_mode_and_the_rest_is_not():
    state, feed = start("mobilenet_v2(width_mult=0.25)", head="bnneck")
    next(running(state, feed, freeze=unfreeze_schedule(state.model.backbone, -1, 0)))
    assert not any(layer.training for layer in state.model.backbone.modules())
    assert state.model.head.training
    assert state.model.head.norm.training


def test_what_its_makers_froze_is_not_trainable_blocks():
    model = Embedder(NETWORK, shape=SHAPE)
    fixed = next(iter(model.backbone.parameters())).requires_grad_(False)
    freeze = unfreeze_schedule(model.backbone, 1, 0)
    for epoch in (0, 1):
        freeze(epoch)
        assert not fixed.requires_grad
    assert all(p.requires_grad for p in model.backbone.parameters() if p is not fixed)


def test_rates_by_layer_and_what_the_optimizer_makes_of_them():
    state, feed = start(backbone_lr=0.5, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in state.optimizer.param_groups for p in group["params"]}
    found = [{scale[id(p)] for p in block.parameters} for block in blocks(state.model.backbone)]
    assert found == [{0.5**5}, {0.5**4}, {0.5**3}, {0.5**2}, {0.5}]
    assert {scale[id(p)] for p in state.model.head.parameters()} == {1.0}
    decay = {id(p): group["weight_decay"] for group in state.optimizer.param_groups for p in group["params"]}
    assert all((decay[id(p)] > 0) == (p.ndim > 1) for p in state.model.parameters())
    assert len(decay) == len(list(state.model.parameters())) + len(list(state.loss_fn.parameters()))
    before = weights(state.model)
    next(running(state, feed))
    moved = {n: (t - before[n]).abs().max().item() for n, t in state.model.named_parameters()}
    assert moved["backbone.0.weight"] == pytest.approx(0.01 * 0.5**5, rel=0.01)  # Adam's first step is its rate
    assert moved["head.linear.weight"] == pytest.approx(0.01, rel=0.05)


def test_without_multiples_the_groups_are_those_of_old():
    model, loss = Embedder(NETWORK, shape=SHAPE, dim=4), build_loss("softmax", dim=4, classes=4)
    groups = optim.param_groups(model, loss, lr_multipliers=lr_multipliers(model.backbone))
    assert [next(p.ndim > 1 for p in g["params"]) for g in groups] == [True, False, True]
    assert [id(p) for g in groups[:1] for p in g["params"]] == [id(p) for p in model.parameters() if p.ndim > 1]


# --- a batch in parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 5, 100])
@pytest.mark.parametrize("loss", ["supcon", "triplet", "softmax"])
def test_a_batch_in_parts_takes_the_step_of_the_whole(parts, loss):
    def after(accumulate: int) -> tuple[float, dict[str, torch.Tensor], State]:
        torch.manual_seed(0)
        model = Embedder("convnet(channels=(4, 4), widths=(8,))", shape=SHAPE, dim=4).double()
        loss_fn = build_loss(loss, dim=4, classes=4).double()
        state = State(model, loss_fn, optim.sgd(optim.param_groups(model, loss_fn), 0.1), 1)
        feed = Feed(pictures(), partial(samplers.pk, classes=4, images=4), seed=0)
        now = next(running(state, feed, accumulate=accumulate))
        return now.loss.item(), weights(model), now

    value, whole, state = after(1)
    other, part, also = after(parts)
    assert other == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(part, whole, rtol=1e-9, atol=1e-12)
    assert set(also.notes) == set(state.notes)


def test_a_loss_that_needs_features_is_told_before_training():
    recipe = Recipe(loss="vae()", accumulate=2, network="mlp")
    with pytest.raises(ValueError, match=r"vae looks at the features of a whole batch.*use accumulate=1"):
        build(resolve_defaults(recipe), pictures())


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "bnneck", "projection(hidden=6)", "projection"])
def test_a_head_is_saved_and_loaded(head, tmp_path):
    state, feed = start(head=head)
    fit(running(state, feed))
    model = state.model.eval()
    model.save(tmp_path)
    again = Embedder.load(tmp_path)
    x = feed.images.pixels
    assert torch.equal(again(x), model(x))
    assert torch.allclose(model(x).norm(dim=1), torch.ones(len(x)))
    other = Embedder(NETWORK, shape=SHAPE, dim=4, head=head)
    assert other.load_weights(tmp_path) == ()
    assert torch.equal(other.head.linear.weight, model.head.linear.weight)


def test_bnneck_centres_the_embedding_and_has_no_shift():
    torch.manual_seed(0)
    model = Embedder("identity", shape=(6,), dim=3, head="bnneck", normalize=False).train()
    emb = model(torch.randn(50, 6) + 5)
    torch.testing.assert_close(emb.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(emb.std(0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    assert model.head.linear.bias is None
    assert not model.head.norm.bias.requires_grad
    plain = Embedder("identity", shape=(6,), dim=0, head="bnneck")
    assert [name for name, _ in plain.head.named_children()] == ["norm", "unit"]


def test_projection_by_hand():
    model = Embedder("identity", shape=(2,), dim=1, head="projection(hidden=2)", normalize=False).eval()
    model.load_state_dict(
        {
            "head.hidden.weight": torch.tensor([[1.0, -1.0], [2.0, 3.0]]),
            "head.hidden.bias": torch.zeros(2),
            "head.linear.weight": torch.tensor([[-1.0, 1.0]]),
            "head.linear.bias": torch.ones(1),
        }
    )
    assert model(torch.tensor([[1.0, 2.0], [2.0, -1.0]])).tolist() == [[9.0], [-1.0]]  # as mlp by hand, and 1
    with pytest.raises(ValueError, match="projection needs the length of the embedding and dim is 0"):
        Embedder("identity", shape=(2,), dim=0, head="projection")


# --- from a recipe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["head=bneck"], "no head named 'bneck'; did you mean bnneck"),
        (["head=projection(hiden=3)"], "did you mean hidden"),
        (["layer_decay=1.5"], "expected 0 to 1, got 1.5"),
        (["frozen_epochs=-2"], "expected -1 to"),
        (["accumulate=0"], "expected 1 to"),
    ],
)
def test_what_is_wrong_is_said_in_the_recipe(settings, said):
    with pytest.raises(SpecError, match=said):
        Recipe(data="no-such-data").override(*settings)


@pytest.mark.parametrize("frozen_epochs", [1, -1])
def test_freezing_all_there_is_to_train_is_an_error(frozen_epochs):
    recipe = resolve_defaults(Recipe(network=NETWORK, dim=0, frozen_epochs=frozen_epochs))
    with pytest.raises(ValueError, match="freezes the backbone and dim=0 leaves no head to train; give dim=64"):
        build(recipe, pictures())
    build(recipe.replace(loss="softmax()", sampler="shuffled(batch=8)"), pictures())


PRACTICE = (
    "network=small_resnet(width=4, blocks=(1, 1))",
    "size=16",
    "max_per_class=12",
    "sampler=pk(classes=5, images=4)",
    "loss=sum(losses=['supcon()', 'normalized_softmax()'])",
    "head=bnneck",
    "augment=light()",
    "frozen_epochs=1",
    "unfreeze_epochs=2",
    "layer_decay=0.7",
    "backbone_lr=0.5",
    "accumulate=3",
    "ema=0.9",
    "clip=1.0",
    "epochs=4",
    "dim=8",
)


def parts_of_practice():
    from likewise.experiment.build import load_images

    recipe = resolve_defaults(api.load_recipe("digits").override(*PRACTICE))
    return build(recipe, load_images(recipe))


def everything(state: State) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{n}": t for part in ("model", "loss_fn", "average") for n, t in weights(getattr(state, part)).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 6, 14])
def test_going_on_is_exact_whatever_is_frozen(stop, tmp_path):
    from likewise.experiment.trial import loop as of_recipe

    whole = parts_of_practice()
    fit(of_recipe(whole), [averaged(0.9)])
    first, average = parts_of_practice(), averaged(0.9)
    going = of_recipe(first)
    for _ in range(stop):
        average(next(going))
    assert first.state.step < whole.state.step
    save_checkpoint(tmp_path / "last.safetensors", first.state)
    torch.manual_seed(99)
    rest = parts_of_practice()
    load_checkpoint(tmp_path / "last.safetensors", rest.state)
    fit(of_recipe(rest), [averaged(0.9)])
    expected, found = everything(whole.state), everything(rest.state)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    fresh = copy.deepcopy(parts_of_practice().state.model.state_dict())
    assert len(changed(fresh, whole.state.model)) == len(fresh) - 1  # all but the shift of bnneck


# --- what a recipe says is done --------------------------------------------------------------------------------------

QUICK = ("size=8", "max_per_class=20", "network=mlp(widths=(8,))", "dim=4", "epochs=2", "doctor=false")


def quick(*settings: str):
    """The parts of a small recipe, built."""
    from likewise.experiment.build import load_images

    recipe = resolve_defaults(api.load_recipe("digits").override(*QUICK, *settings))
    return build(recipe, load_images(recipe))


def test_the_rate_warms_up_and_goes_down_step_by_step():
    parts = quick("schedule=cosine(warmup=0.5, floor=0.1)", "lr=0.01", "sampler=shuffled(batch=20)", "backbone_lr=0.5")
    used, said = [], []
    parts.state.optimizer.register_step_pre_hook(lambda o, *_: used.append(sorted({g["lr"] for g in o.param_groups})))
    for state in trial.loop(parts):
        said.append(state.lr)
    n = len(said)
    assert said == pytest.approx([0.01 * optim.cosine(i / n, warmup=0.5, floor=0.1) for i in range(n)])
    assert said[0] == 0
    assert max(said) == pytest.approx(0.01)
    assert said[-1] < 0.002
    assert used[1:] == [pytest.approx([lr / 2, lr]) for lr in said[1:]]


def test_the_moving_average_by_hand():
    state, _ = start()
    state.model, state.average = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    weight, mean = state.model.weight, state.average.weight
    expected = 1.0
    for step, value, keeps in ((1, 3.0, 2 / 11), (2, -1.0, 3 / 12), (10_000, 5.0, 0.9)):
        state.step = step
        weight.data.fill_(value)
        state.model.running_mean.fill_(value)
        averaged(0.9)(state)
        expected = keeps * expected + (1 - keeps) * value
        assert mean.item() == pytest.approx(expected)
        assert state.average.running_mean.item() == value, "statistics are copied, not averaged"
    assert weight.item() == 5.0, "the network itself is left alone"


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_kept_is_the_average_where_there_is_one(ema, tmp_path):
    run, _ = launch.train(quick(f"ema={ema}").recipe, out=tmp_path, name="r")
    parts = quick(f"ema={ema}")
    load_checkpoint(run.last, parts.state)
    kept = Embedder.load(run.path).state_dict()
    assert (parts.state.average is None) == (ema == 0.0)
    assert all(torch.equal(t, kept[name]) for name, t in parts.state.final.state_dict().items())
    if ema:
        assert changed(kept, parts.state.model)


@pytest.mark.parametrize(
    ("amp", "dtype"), [("always", torch.bfloat16), ("never", torch.float32), ("gpu", torch.float32)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_half_precision_is_in_the_network_alone(amp, dtype, accumulate):
    parts = quick(f"amp={amp}", f"accumulate={accumulate}", "normalize=false", "device=cpu")
    model, made, compared = parts.state.model, set(), set()
    layer = next(m for m in model.backbone.modules() if isinstance(m, nn.Linear))
    layer.register_forward_hook(lambda module, given, out: made.add(out.dtype))
    parts.state.loss_fn.register_forward_pre_hook(lambda module, given: compared.add(given[0].dtype))
    next(trial.loop(parts))
    assert made == {dtype}
    assert compared == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_recipes_limit_on_the_gradient_is_kept():
    def longest(*settings: str) -> float:
        parts, seen = quick(*settings), []
        params = [p for group in parts.state.optimizer.param_groups for p in group["params"]]
        hook = lambda *_: seen.append(torch.stack([p.grad.norm() for p in params if p.grad is not None]).norm())  # noqa: E731
        parts.state.optimizer.register_step_pre_hook(hook)
        fit(trial.loop(parts))
        return float(max(seen))

    assert longest() > 0.01
    assert longest("clip=0.01") == pytest.approx(0.01, rel=1e-4)


def scored(state: State, value: float) -> State:
    state.scores = {"knn@1": {"value": value}}
    state.epoch, state.batch_index, state.num_batches = state.epoch + 1, 0, 1
    return state


def test_the_best_is_kept_and_waiting_has_an_end(tmp_path):
    state, _ = start()
    run, bias = Run(tmp_path), state.model.head.linear.bias
    callbacks = [keep_best(partial(save_checkpoint, run.best), "knn@1"), stop_when_flat(2)]
    stops = []
    for epoch, value in enumerate((0.5, 0.7, 0.7, 0.6), 1):
        bias.data.fill_(float(epoch))
        scored(state, value)
        for callback in callbacks:
            callback(state)
        stops.append(bool(state.stop))
        if epoch < 4:
            state.stop = None
    assert stops == [False, False, False, True]
    assert state.stop == "the validation score has not passed 0.7000 for 2 validations"
    assert state.callback_state["best_epoch"] == 2, "an equal score keeps the earlier one"
    load_checkpoint(run.best, state, numbers=False)
    assert bias.tolist() == [2.0] * 4


def test_a_score_that_is_not_measured_is_no_monitor(tmp_path):
    state, _ = start()
    with pytest.raises(ValueError, match="monitor='knn@7' is not a validation score of this run; there are knn@1"):
        keep_best(lambda state: None, "knn@7")(scored(state, 0.5))


@pytest.mark.slow
def test_early_stopping_ends_with_the_best_model(tmp_path, monkeypatch):
    """Of validation scores that fall from the second on, the second one's model is kept."""
    values, seen = iter([0.4, 0.9, 0.8, 0.7, 0.6, 0.5]), []

    def judge(recipe, images):
        def score(model):
            seen.append(weights(model))
            return {"knn@1": {"value": next(values)}}

        return score

    monkeypatch.setattr(trial, "validation_score", judge)
    run, _ = launch.train(quick("patience=2", "epochs=6", "ema=0.9").recipe, out=tmp_path, name="r")
    assert len(seen) == 4
    assert run.metrics()["epochs"] == 4
    assert "has not passed 0.9000 for 2 validations" in run.metrics()["stopped"]
    kept = Embedder.load(run.path)
    assert not changed(seen[1], kept)
    assert changed(seen[3], kept)
