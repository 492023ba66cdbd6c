"""What of two images makes them alike: maps, and the two checks of each."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from likewise.models import Embedder
from likewise.viz import plots
from likewise.viz.saliency import integrated_gradients, occlusion, permuted, rank_correlation, saliency, windowed


@pytest.fixture(scope="module")
def linear():
    """Adds up the left half and the right half of a grey image: the map is known."""
    model = Embedder("mlp(widths=())", shape=(1, 8, 8), dim=2, normalize=False, sim="dot")
    (layer,) = (m for m in model.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        left = torch.zeros(8, 8)
        left[:, :4] = 1.0
        layer.weight.copy_(torch.stack([left.flatten(), (1 - left).flatten()]))
        layer.bias.zero_()
    return model.eval()


def halves(left, right):
    image = torch.full((1, 8, 8), float(right))
    image[:, :, :4] = left
    return image


def test_the_map_of_a_linear_model_by_hand(linear):
    """s = (32 l)(32 l') + (32 r)(32 r') with l = 1, r = 0 and l' = r' = 0.5: a pixel adds (x - mean) * 16."""
    map_HW, plain = integrated_gradients(linear, halves(1, 0), halves(0.5, 0.5), steps=4)
    torch.testing.assert_close(map_HW[:, :4], torch.full((8, 4), 8.0))
    torch.testing.assert_close(map_HW[:, 4:], torch.full((8, 4), -8.0))
    assert plain == pytest.approx(512.0)  # half grey everywhere: as similar, since the model is linear


@pytest.mark.parametrize("network", ["convnet", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sim", ["cosine", "euclidean"])
def test_a_map_adds_up_to_the_similarity(network, sim):
    torch.manual_seed(0)
    model = Embedder(network, shape=(3, 32, 32), dim=8, normalize=sim == "cosine", sim=sim).eval()
    a, b = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = saliency(model, a, b, steps=128)
    for map_HW, plain in zip(found.maps, found.plain, strict=True):
        assert map_HW.shape == (32, 32)
        assert float(map_HW.sum()) == pytest.approx(found.similarity - plain, abs=0.03)
    swapped = saliency(model, b, a, steps=128)
    torch.testing.assert_close(swapped.maps[1], found.maps[0])


def test_occlusion_drops_by_what_the_window_adds(linear):
    drops, windows = occlusion(linear, halves(1, 0), halves(0.5, 0.5))
    map_HW, _ = integrated_gradients(linear, halves(1, 0), halves(0.5, 0.5), steps=4)
    torch.testing.assert_close(drops, windowed(map_HW, windows))
    seen = torch.zeros(8, 8)
    for window in windows:
        seen[window] += 1
    assert bool((seen > 0).all())


def test_permuted_weights_are_the_same_numbers_and_the_model_stays(linear):
    before = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
    other = permuted(linear)
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(tensor.flatten().sort().values, before[name].flatten().sort().values)
        torch.testing.assert_close(linear.state_dict()[name], before[name])
    assert any(not torch.equal(other.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed):
    x, y = torch.randint(6, (2, 20), generator=torch.Generator().manual_seed(seed)).double()
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(x, torch.ones(20)) == 0


def test_rows_have_no_map_and_one_image_is_compared_with_one(linear):
    with pytest.raises(ValueError, match="a map of pixels is for images"):
        saliency(Embedder("mlp", shape=(4,), dim=2), torch.zeros(4), torch.zeros(4))
    with pytest.raises(ValueError, match="one image with another"):
        saliency(linear, torch.zeros(2, 1, 8, 8), torch.zeros(1, 8, 8))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_are_written_in_the_format_of_their_name(kind, tmp_path):
    maps = [np.linspace(-1, 1, 64).reshape(8, 8)] * 2
    figure = plots.saliency_maps([np.zeros((1, 8, 8), np.uint8)] * 2, maps, ["a", "b"])
    path = plots.save(figure, tmp_path / f"x.{kind}")
    assert path.read_bytes()[:5] == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[kind]


def test_another_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"x\.gif: a figure is written as png, svg, pdf; name the file \.png"):
        plots.save(plots.batch_grid(np.zeros((1, 1, 4, 4), np.uint8)), tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())
