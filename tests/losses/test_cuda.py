"""On a GPU: every loss says what it says on a CPU, and every kind of recipe trains, is scored and says its chance."""

import pytest
import torch

from likewise import losses, spec
from likewise.experiment import train as launch
from likewise.experiment.recipe import Recipe
from likewise.losses.terms import BatchContext
from likewise.reproduce.experiment import Experiment

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

N, D, C = 12, 6, 4
AROUND = {"dim": D, "classes": C, "counts": [5, 2, 9, 1], "shape": (1, 2, 3), "width": 7, "teacher": 5}
LABELS = torch.arange(N // 2).repeat(2) % C
TEXTS = {"sum": "sum(losses=['ntxent', 'softmax'])", "matryoshka": "matryoshka(loss='ntxent', dims=[2, 6])"}
DRAWN = {"triplet", "vae"}  # what draws from the device's own generator
KINDS = {
    "pairs of a batch": {},
    "proxies": {"loss": "softmax()", "sampler": "shuffled(batch=64)"},
    "pairs": {"loss": "siamese_bce()", "sampler": "pairs(batch=64)"},
    "triplets": {"loss": "triplet(pick='hard')", "sampler": "triplets(batch=64)"},
    "images": {"loss": "vae()", "sampler": "shuffled(batch=64)"},
    "memory": {"memory": 256, "ema": 0.9},
    "augmented": {"augment": "strong()", "accumulate": 2},
}


def judged(name: str, device: str) -> tuple[torch.Tensor, torch.Tensor, float | None]:
    torch.manual_seed(0)
    loss = losses.build(TEXTS.get(name, name), **AROUND).to(device)
    emb = torch.randn(N, D, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    batch = BatchContext(images=torch.zeros(N, 1, 2, 3, dtype=torch.uint8, device=device))
    batch.features, batch.teacher = torch.ones(N, 7, device=device), torch.arange(5.0 * N).view(N, 5).sin().to(device)
    value = loss(emb, LABELS.to(device), batch)
    value.backward()
    assert emb.grad is not None
    return value.detach().cpu(), emb.grad.cpu(), loss.at_collapse(LABELS)


@pytest.mark.parametrize("name", spec.names("loss"))
def test_a_loss_is_the_same_on_both(name):
    (value, grad, chance), (there, grad_there, chance_there) = judged(name, "cpu"), judged(name, "cuda")
    if name not in DRAWN:
        torch.testing.assert_close(there, value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(grad_there, grad, rtol=1e-3, atol=1e-5)
    assert chance_there == (chance and pytest.approx(chance, rel=1e-4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_trains_and_is_scored(kind, tmp_path):
    recipe = Recipe(data="digits", size=16, max_per_class=40, epochs=2, device="cuda").replace(**KINDS[kind])
    run, _ = launch.train(recipe, out=tmp_path, name="run")
    assert 0 <= run.metrics()["scores"]["knn@1"]["value"] <= 1
    again, _ = launch.resume(run.path)
    assert again.metrics()["steps"] == run.metrics()["steps"]


def test_losses_after_each_epoch_are_followed(tmp_path):
    bench = Experiment(tmp_path)
    recipe = Recipe(data="digits", size=28, max_per_class=40, epochs=1, device="cuda", **KINDS["pairs"])
    run = bench.run_with_losses("pairs", recipe)
    assert run is not None
    assert [r["kind"] for r in run.records()].count("losses") == 1
