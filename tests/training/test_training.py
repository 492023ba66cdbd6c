"""The loop: one optimizer step a yield, resuming equals not stopping, callbacks see every step."""

from functools import partial

import pytest
import torch
from torch import nn

from likewise.data import samplers
from likewise.data.images import Images
from likewise.experiment.callbacks import average_of, averaged, checkpoint, log, record
from likewise.experiment.checkpoint import load_checkpoint, previous_of, save_checkpoint
from likewise.experiment.run import Run
from likewise.losses import build
from likewise.training import loop, optim
from likewise.training.loop import Feed, State, at_epoch_end, every, fit, steps


class Tiny(nn.Module):
    """The smallest thing with the Embedder's call and all that has a state: weights, statistics, dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.PReLU(), nn.Dropout(0.2))
        self.out = nn.Linear(8, 4)

    def features(self, x):
        return self.body(x)

    def head(self, features):
        return self.out(features)


def pictures(n: int = 48, classes: int = 4) -> Images:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(n) % classes
    names = tuple(map(str, range(classes)))
    return Images(
        x + 3 * torch.eye(6)[labels], labels, names, tuple(map(str, range(n))), torch.zeros(n, dtype=torch.uint8)
    )


def start(
    loss: str = "supcon()", *, epochs: int = 3, memory: int = 0, seed: int = 0, ema: bool = False
) -> tuple[State, Feed]:
    torch.manual_seed(seed)
    model = Tiny()
    loss_fn = build(loss, dim=4, classes=4, memory=memory)
    optimizer = optim.adamw(optim.param_groups(model, loss_fn), 1e-2)
    state = State(model, loss_fn, optimizer, epochs, average=average_of(model) if ema else None)
    return state, Feed(pictures(), partial(samplers.pk, classes=4, images=3), seed=seed)


def running(state: State, feed: Feed, **settings):
    return steps(state, feed, **{"schedule": optim.cosine, "lr": 1e-2, **settings})


def weights(state: State) -> torch.Tensor:
    parts = [state.model, state.loss_fn] + ([state.average] if state.average else [])
    return torch.cat([t.flatten().double() for part in parts for t in part.state_dict().values()])


@pytest.mark.parametrize("loss", ["supcon()", "softmax()", "siamese_bce()", "triplet(pick='random-hard')"])
@pytest.mark.parametrize("stop", [1, 4, 5, 11])
def test_resuming_equals_not_stopping(loss, stop, tmp_path):
    whole, feed = start(loss, memory=16 if "supcon" in loss else 0, ema=True)
    fit(running(whole, feed), [averaged(0.9)])

    first, feed = start(loss, memory=16 if "supcon" in loss else 0, ema=True)
    going, callback = running(first, feed), averaged(0.9)
    for _ in range(stop):
        callback(next(going))
    save_checkpoint(tmp_path / "last.safetensors", first)

    torch.manual_seed(99)
    rest, feed = start(loss, memory=16 if "supcon" in loss else 0, seed=0, ema=True)
    load_checkpoint(tmp_path / "last.safetensors", rest)
    fit(running(rest, feed), [averaged(0.9)])
    assert rest.step == whole.step
    assert torch.equal(weights(rest), weights(whole))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    ends = []
    for seed in (0, 0, 1):
        state, feed = start(seed=seed)
        fit(running(state, feed))
        ends.append(weights(state))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_every_yield_is_one_optimizer_step_and_every_epoch_visits_every_picture():
    state, feed = start()
    taken = []
    state.optimizer.register_step_post_hook(lambda *_: taken.append(1))
    seen = [(s.step, s.epoch, s.batch_index) for s in running(state, feed)]
    assert len(taken) == len(seen) == state.step
    assert state.seen >= 3 * len(feed.images)
    assert state.progress == 1
    for epoch in range(3):
        assert torch.cat(list(feed.plan(epoch))).unique().tolist() == list(range(48))


def test_every_and_at_epoch_end_fire_when_they_say():
    state, feed = start(epochs=5)
    steps_seen, epochs_seen = [], []
    fit(
        running(state, feed),
        [every(7, lambda s: steps_seen.append(s.step)), at_epoch_end(2, lambda s: epochs_seen.append(s.epochs_done))],
    )
    assert steps_seen == [*range(7, state.step, 7), state.step]
    assert epochs_seen == [2, 4, 5]


def test_a_callback_can_stop_the_run():
    state, feed = start()

    def halt(s: State) -> None:
        s.stop = "enough" if s.step == 2 else None

    assert fit(running(state, feed), [halt]).step == 2


def test_a_batch_without_pairs_is_counted_and_changes_nothing():
    state, feed = start()
    feed = Feed(feed.images, lambda labels, *, seed, epoch: [torch.tensor([0, 1, 2, 3])], seed=0)
    before = weights(state)
    fit(running(state, feed, schedule=lambda progress: 0.0))
    assert int(state.empty) == 3  # one image of each class: no positive pair in any of the three batches
    assert state.loss.item() == 0
    assert torch.isfinite(weights(state)).all()
    assert weights(state).shape == before.shape


def test_the_gradient_norm_is_clipped():
    state, feed = start()
    seen = []
    state.optimizer.register_step_pre_hook(
        lambda opt, *_: seen.append(torch.cat([p.grad.flatten() for g in opt.param_groups for p in g["params"]]).norm())
    )
    fit(running(state, feed, clip=0.01))
    assert max(seen) <= 0.01 * (1 + 1e-5)


def test_the_log_holds_what_the_progress_line_shows():
    state, feed = start()
    lines = []
    fit(running(state, feed), [log(lines.append, seconds=1e9)])
    assert [line["epoch"] for line in lines][-3:] == [1, 2, 3]
    assert {"kind", "step", "epoch", "seconds", "loss", "lr", "images_per_s", "active", "empty"} <= set(lines[-1])


def test_learned_proxies_have_a_group_of_their_own():
    state, _ = start("softmax()")
    mine = {id(p) for p in state.loss_fn.parameters()}
    group = next(g for g in state.optimizer.param_groups if id(g["params"][0]) in mine)
    assert {id(p) for p in group["params"]} == mine
    assert group["weight_decay"] == 0
    scales = {id(p): g["weight_decay"] for g in state.optimizer.param_groups for p in g["params"]}
    assert all(scales[id(p)] == 0 for p in state.model.parameters() if p.ndim <= 1)


@pytest.mark.parametrize("name", optim.KINDS["optimizer"])
def test_every_optimizer_lowers_the_loss(name):
    state, feed = start(epochs=8)
    groups = optim.param_groups(state.model, state.loss_fn)
    state.optimizer = getattr(optim, name)(groups, 1e-2)
    losses = [s.loss.item() for s in running(state, feed)]
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize("name", optim.KINDS["schedule"])
def test_every_schedule_stays_between_nothing_and_the_peak(name):
    schedule = getattr(optim, name)
    values = [schedule(i / 200) for i in range(201)]
    assert all(0 <= v <= 1 + 1e-12 for v in values)
    assert max(values) == pytest.approx(1, abs=1e-3)


def test_schedules_by_hand():
    assert [optim.step(p) for p in (0, 0.34, 0.67, 1)] == pytest.approx([1, 0.1, 0.01, 0.01])
    assert [optim.cosine(p, warmup=0.5) for p in (0.25, 0.5, 0.75, 1)] == pytest.approx([0.5, 1, 0.5, 0])
    assert [optim.one_cycle(p) for p in (0, 0.3, 1)] == pytest.approx([0.04, 1, 4e-6])


class Clock:
    """A clock that a test moves: every reading is one second after the one before."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def test_seconds_are_those_of_training_and_not_of_callbacks(clock):
    state, feed = start()
    seconds = []

    def slow_callback(s: State) -> None:
        seconds.append(s.seconds)
        clock.now += 100

    fit(running(state, feed), [slow_callback])
    assert seconds == list(range(1, state.step + 1))  # a step is from one reading of the clock to the next


def test_training_ends_at_its_seconds(clock, tmp_path):
    """Before its epochs do; progress and the schedule are then of the seconds, over resumptions too."""
    state, feed = start(epochs=50)
    state.max_seconds = 8.0
    progress, lrs = [], []
    for s in running(state, feed, schedule=lambda progress: 1 - progress, lr=2.0):
        progress.append(s.progress)
        lrs.append(s.lr)
        if s.step == 5:
            save_checkpoint(tmp_path / "last.safetensors", s)
    assert state.step == 8
    assert progress == pytest.approx([(step + 1) / 8 for step in range(8)])
    assert lrs == pytest.approx([2 * (1 - step / 8) for step in range(8)])
    rest, feed = start(epochs=50)
    rest.max_seconds = 8.0
    load_checkpoint(tmp_path / "last.safetensors", rest)
    fit(running(rest, feed))
    assert (rest.step, rest.seconds) == (8, 8.0)


@pytest.mark.parametrize(("max_seconds", "steps"), [(0.0, 12), (1e9, 12), (3.5, 4)])
def test_the_epochs_or_the_seconds_whichever_ends_first(clock, max_seconds, steps):
    state, feed = start(epochs=3)
    state.max_seconds = max_seconds
    fit(running(state, feed))
    assert (state.step, state.progress) == (steps, 1.0)


@pytest.mark.parametrize(
    ("accumulate", "parts"), [(1, [12]), (2, [6, 6] * 2), (3, [4, 4, 4] * 2), (5, [3, 3, 3, 3] * 2), (6, [2] * 12)]
)
def test_a_batch_passes_the_network_in_its_parts(accumulate, parts):
    """Without parts once; in parts twice, the second time for the gradient."""
    state, feed = start(epochs=1)
    sizes, features = [], state.model.features

    def counted(x):
        sizes.append(len(x))
        return features(x)

    state.model.features = counted
    next(running(state, feed, accumulate=accumulate))
    assert sizes == parts


def test_parts_have_the_loss_and_gradient_of_the_whole_batch():
    ends = []
    for accumulate in (1, 4):
        state, feed = start(epochs=1)
        state.model.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh())  # nothing that depends on the batch
        torch.manual_seed(3)
        nn.init.normal_(state.model.body[0].weight)
        state.optimizer = torch.optim.SGD(state.model.parameters(), 0.1)
        next(running(state, feed, accumulate=accumulate))
        ends.append((state.loss, weights(state)))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5, atol=1e-6)


def test_the_rate_of_a_step():
    """lr times the schedule, what validations lowered, and the factor of the group."""
    state, feed = start("softmax()", epochs=1)
    state.optimizer.param_groups[-1]["lr_scale"] = 3.0
    state.callback_state["lowered"] = 0.5
    next(running(state, feed, schedule=lambda progress: 0.2, lr=10.0))
    assert state.lr == pytest.approx(1.0)
    *others, proxies = [group["lr"] for group in state.optimizer.param_groups]
    assert (others, proxies) == (pytest.approx([1.0] * len(others)), pytest.approx(3.0))


def test_freezing_is_asked_before_every_step_with_its_epoch():
    state, feed = start(epochs=3)
    asked = []
    fit(running(state, feed, freeze=lambda epoch: asked.append((epoch, state.model.training))))
    assert asked == [(epoch, True) for epoch in range(3) for _ in range(4)]


def test_a_record_by_hand():
    """Rounded to what is read: the share of an epoch to 4 places, seconds to 3, the speed to 1."""
    state, _ = start()
    state.step, state.epoch, state.batch_index, state.num_batches = 7, 2, 1, 7
    state.seconds, state.seen, state.lr, state.empty = 1.23456, 100, 0.5, torch.tensor(2)
    state.loss, state.notes = torch.tensor(0.25), {"active": torch.tensor(0.5), "empty": torch.tensor(1.0)}
    assert record(state) == {
        "kind": "train", "step": 7, "epoch": 2.1429, "seconds": 1.235, "loss": 0.25, "lr": 0.5, "images_per_s": 81.0,
        "empty": 2, "active": 0.5,
    }  # fmt: skip


def test_a_checkpoint_keeps_the_one_before(tmp_path):
    run, (state, _) = Run(tmp_path), start()
    save = checkpoint(run, seconds=0.0)
    steps = []
    for state.step in (1, 2, 3):
        save(state)
        before, last = (start()[0] for _ in range(2))
        load_checkpoint(run.last, last)
        steps.append(last.step)
        if state.step > 1:
            load_checkpoint(previous_of(run.last), before)
            assert before.step == state.step - 1
    assert steps == [1, 2, 3]


def test_a_checkpoint_is_saved_every_so_many_seconds_and_at_the_end(tmp_path):
    run, (state, _) = Run(tmp_path), start()
    save = checkpoint(run, seconds=1e9)
    save(state)
    assert not run.last.exists()
    state.stop = "enough"
    save(state)
    assert run.last.exists()
    run.last.unlink()
    state.stop, state.epoch = None, state.epochs
    save(state)
    assert run.last.exists()
