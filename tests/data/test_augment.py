"""Contracts of every augmentation, and a hand-worked value of each."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise import spec
from likewise.data import augment, resample
from likewise.data.augment import affine, chain, colour, elastic, erase, flip, noise, photo
from likewise.data.resample import Augment, border_median

NAMES = ["affine(rotate=20)", *(name for name in augment.__all__ if name not in ("chain", "affine"))]
EVERY = [*NAMES, "chain(steps=['flip', 'affine(rotate=20)', 'colour', 'erase(p=1.0)'])"]


def pictures(n=6, channels=3, height=20, width=28, seed=0):
    return torch.randint(0, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(seed)).byte()


def built(text) -> Augment:
    return spec.bind("augment", text)()


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_and_dtype_stay(text, channels, dtype):
    x = pictures(channels=channels)
    x = x if dtype == torch.uint8 else x / 255
    before = x.clone()
    y = built(text)(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert y.float().isfinite().all()
    assert torch.equal(x, before), "the images given were changed"


@pytest.mark.parametrize("text", EVERY)
def test_seeded_alike_it_is_the_same_and_otherwise_not(text):
    x, of = pictures(), built(text)
    torch.manual_seed(3)
    first, state = of(x), torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(of(x), first)
    torch.set_rng_state(state)
    second = of(x)
    assert torch.equal(second, first) == (text == "none")


@pytest.mark.parametrize("text", EVERY)
def test_a_generator_of_ones_own_leaves_the_global_one_alone(text):
    x, of = pictures(), built(text)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = of(x, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(of(x, torch.Generator().manual_seed(5)), first)


@pytest.mark.parametrize("text", [t for t in EVERY if t != "none"])
def test_every_picture_draws_its_own_numbers(text):
    x = pictures(1).expand(32, -1, -1, -1)
    assert len(built(text)(x).flatten(1).unique(dim=0)) > 8 or text in ("flip", "mix")


@pytest.mark.parametrize("text", EVERY)
def test_an_empty_batch_stays_empty(text):
    assert built(text)(pictures(0)).shape == (0, 3, 20, 28)


@pytest.mark.parametrize("text", [t for t in EVERY if t != "none"])
def test_feature_rows_are_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match=r"takes images \[N, C, H, W\].*augment=none"):
        built(text)(torch.zeros(4, 7))
    with pytest.raises(ValueError, match="int64"):
        built(text)(torch.zeros(4, 1, 7, 7, dtype=torch.int64))


def test_none_takes_anything_and_returns_it():
    rows = torch.zeros(4, 7)
    assert built("none")(rows) is rows


@pytest.mark.parametrize("text", ["affine", "elastic(amount=0.0)", "random_resized_crop(least=1.0, ratio=1.0)"])
def test_moving_by_nothing_changes_nothing(text):
    x = pictures()
    assert torch.equal(built(text)(x), x)


@pytest.mark.parametrize(
    "text", ["noise(amount=0.0)", "colour(brightness=0, contrast=0, saturation=0)", "blur(p=0.0)", "erase(p=0.0)"]
)
def test_changing_by_nothing_changes_nothing(text):
    x = pictures()
    assert torch.equal(built(text)(x), x)


def test_a_certain_flip_mirrors():
    x = pictures()
    assert torch.equal(flip(p=1.0)(x), x.flip(-1))
    assert torch.equal(flip(p=0.0, vertical=1.0)(x), x.flip(-2))


def test_half_the_pictures_are_mirrored():
    x = pictures(400, 1, 4, 4)
    mirrored = (flip()(x, torch.Generator().manual_seed(0)) == x.flip(-1)).flatten(1).all(1)
    assert 160 < mirrored.sum() < 240


@pytest.mark.parametrize(("height", "width"), [(41, 41), (41, 61)])
def test_a_turn_keeps_lengths_and_angles(height, width):
    """A cross of two dots, 14 pixels from the middle at a right angle, keeps both whatever the image's own sides."""
    x = torch.zeros(64, 1, height, width)
    middle = torch.tensor([height // 2, width // 2])
    x[:, 0, middle[0], middle[1] + 14] = 1.0
    x[:, 0, middle[0] - 14, middle[1]] = 0.5
    y = affine(rotate=40)(x, torch.Generator().manual_seed(0))
    for picture in y[:, 0]:
        places = picture.nonzero().float()
        weight = picture[picture > 0]
        far = (places - middle).norm(dim=1)
        assert ((far > 12) & (far < 16)).all()
        assert weight.sum() == pytest.approx(1.5, abs=0.35)
    first = y.flatten(1).argmax(1)
    angle = torch.atan2(middle[0] - (first // width).float(), (first % width).float() - middle[1]).rad2deg()
    assert angle.abs().max() < 45
    assert angle.std() > 15, "the rotations are hardly spread"


def test_a_shift_is_the_share_of_the_side():
    x = torch.zeros(200, 1, 40, 40)
    x[:, :, 20, 20] = 1.0
    y = affine(translate=0.25)(x, torch.Generator().manual_seed(0)).flatten(1).argmax(1)
    rows, columns = y // 40 - 20, y % 40 - 20
    for shift in (rows, columns):
        assert shift.abs().max() in (9, 10)
        assert shift.float().mean().abs() < 1.5
        assert shift.unique().tolist() == list(range(int(shift.min()), int(shift.max()) + 1)), "uniform, so all occur"
        assert shift.min() < -8
        assert shift.max() > 8


def test_a_crop_shows_a_part_of_the_picture():
    """In an image whose brightness is the column, the range a crop shows is its width; its area is within bounds."""
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    wide = augment.random_resized_crop(least=0.25, most=0.64, ratio=1.0)(ramp, torch.Generator().manual_seed(0))
    share = (wide[:, 0, 32, -1] - wide[:, 0, 32, 0]) * 64 / 63
    assert share.min() > 0.5 - 0.03
    assert share.max() < 0.8 + 0.03
    assert wide.min() >= 0
    assert (wide[:, 0, 32, 0] < 0.02).any()
    assert (wide[:, 0, 32, -1] > 0.98).any()


def test_a_crop_is_at_most_as_oblong_as_said():
    ramps = [torch.linspace(0, 1, 64).expand(500, 1, 64, 64), torch.linspace(0, 1, 64)[:, None].expand(500, 1, 64, 64)]
    moves = augment.random_resized_crop(least=0.3, most=0.3, ratio=2.0)
    across, down = (moves(ramp, torch.Generator().manual_seed(0)) for ramp in ramps)
    ratio = (across[:, 0, 32, -1] - across[:, 0, 32, 0]) / (down[:, 0, -1, 32] - down[:, 0, 0, 32])
    assert 1.9 < ratio.max() < 2.1
    assert 1.9 < (1 / ratio).max() < 2.1


@pytest.mark.parametrize("ink", [0, 255])
def test_paper_comes_in_from_outside_a_drawing(ink):
    x = torch.full((50, 1, 30, 30), 255 - ink, dtype=torch.uint8)
    x[:, :, 8:22, 14:16] = ink
    x[:, :, 0, 0:5] = ink  # a stroke that touches the border is no paper
    assert (border_median(x.float()).flatten() == 255 - ink).all()
    y = built("handwriting(translate=0.4)")(x)
    drawn = (y.float() - (255 - ink)).abs().sum((1, 2, 3))
    assert drawn.max() < 2.2 * 255 * (28 + 5)


def test_without_paper_the_border_is_repeated():
    x = torch.linspace(0.2, 1, 11).expand(50, 1, 11, 11)
    y = affine(translate=0.4)(x, torch.Generator().manual_seed(0))
    assert y.min() == pytest.approx(0.2)
    assert (y == 1).flatten(1).sum(1).max() >= 33


def test_one_resampling_equals_the_composition_of_exact_moves():
    x = pictures(1, 1, 16, 16)
    both = flip(p=1.0) + flip(p=0.0, vertical=1.0)
    assert torch.equal(both(x), x.flip(-1).flip(-2))
    order = (affine(translate=0.25) + flip(p=1.0)).maps
    of = torch.Generator().manual_seed(0)
    first, then = order[0](x.float() / 255, of), order[1](x.float() / 255, of)
    grid = torch.nn.functional.affine_grid(first[:, :2], list(x.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(x.float() / 255, grid, padding_mode="border", align_corners=False)
    whole = (affine(translate=0.25) + flip(p=1.0))(x.float() / 255, torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole, moved.flip(-1), atol=1e-5, rtol=1e-4)
    assert then[0, 0, 0] == -1


def test_a_bend_is_smooth_and_as_large_as_said():
    x = torch.zeros(300, 1, 40, 40)
    shift = elastic(amount=0.05, knots=4).bends[0](x, torch.Generator().manual_seed(0))(x, slice(0, 300))
    assert shift.shape == (300, 40, 40, 2)
    assert shift[:, 0, 0].std().item() / 2 == pytest.approx(0.05, rel=0.1)
    assert shift.diff(dim=1).abs().max() < 0.1


def test_a_hole_is_a_rectangle_of_the_mean_within_bounds():
    x = torch.rand(200, 3, 40, 40)
    y = erase(p=1.0, least=0.05, most=0.2)(x)
    for before, after in zip(x, y, strict=True):
        changed = (before != after).any(0)
        rows, columns = changed.any(1).sum(), changed.any(0).sum()
        assert changed.sum() == rows * columns
        assert 0.03 < changed.float().mean() < 0.25
        torch.testing.assert_close(after[:, changed], before.mean((1, 2))[:, None].expand(-1, changed.sum()))


def test_noise_is_as_strong_as_said():
    x = torch.full((400, 1, 16, 16), 0.5)
    std = (noise(amount=0.1)(x) - x).flatten(1).std(1)
    assert std.max() < 0.12
    assert std.mean().item() == pytest.approx(0.05, rel=0.15)


def test_a_blur_spreads_a_point_and_keeps_its_sum():
    x = torch.zeros(50, 1, 15, 15)
    x[:, :, 7, 7] = 1.0
    y = augment.blur(p=1.0, radius=2)(x)
    torch.testing.assert_close(y.sum((1, 2, 3)), torch.ones(50))
    assert (y[:, 0, 5:10, 5:10].sum((1, 2)) > 0.999).all()
    assert (y[:, 0, 7, 7] < 1).all()


def test_colour_by_hand():
    """Brightness is a factor; without saturation a pixel is its grey; without contrast it is the mean grey."""
    x = torch.tensor([0.45, 0.5, 0.4]).view(1, 3, 1, 1).expand(200, 3, 2, 2)
    ratio = colour(brightness=0.5, contrast=0, saturation=0)(x) / x
    assert 0.5 <= ratio.min() < 0.6
    assert 1.4 < ratio.max() <= 1.5 + 1e-6
    grey = 0.299 * 0.45 + 0.587 * 0.5 + 0.114 * 0.4
    y = colour(brightness=0, contrast=0, saturation=1.0)(x)
    away = (y - grey) / (x - grey)
    assert (away.std((1, 2, 3)) < 1e-4).all()
    assert away.min() >= 0
    assert away.max() <= 2.0001
    two = torch.tensor([0.2, 0.6]).view(1, 1, 1, 2).expand(200, 1, 1, 2)
    flat = colour(brightness=0, contrast=1.0, saturation=0)(two)
    torch.testing.assert_close(flat.mean(-1), torch.full((200, 1, 1), 0.4))
    assert flat.diff(dim=-1).min() < 0.1


@given(st.integers(0, 2**31), st.sampled_from(NAMES), st.integers(1, 4), st.integers(4, 33), st.integers(4, 33))
def test_any_picture_stays_within_its_values(seed, name, channels, height, width):
    x = pictures(2, channels, height, width, seed)
    y = built(name)(x / 255, torch.Generator().manual_seed(seed))
    assert y.shape == x.shape
    if name not in ("noise", "strong"):
        assert y.min() >= -1e-5
        assert y.max() <= 1 + 1e-5


def test_a_chain_is_its_parts_in_order():
    x = pictures()
    parts = flip() + affine(rotate=10) + erase()
    torch.manual_seed(0)
    expected = parts(x)
    torch.manual_seed(0)
    assert torch.equal(chain(steps=["flip", "affine(rotate=10)", "erase"])(x), expected)
    assert chain(steps=[])(x) is x


def test_a_wrong_name_or_number_in_a_chain_is_found_when_it_is_built():
    with pytest.raises(spec.SpecError, match="did you mean flip"):
        chain(steps=["flipp"])
    with pytest.raises(spec.SpecError, match="takes no 'rotation'"):
        chain(steps=["affine(rotation=1)"])


def test_presets_are_what_they_say():
    assert (len(photo().maps), len(photo().bends), len(photo().changes)) == (2, 0, 1)
    assert augment.handwriting().paper
    assert not photo().paper
    assert math.isclose(spec.bind("augment", "photo(least=0.9)").keywords["least"], 0.9)


def test_cut_and_resampled_crops_show_the_same_part():
    """uint8 on a CPU is cut at whole pixels and stretched; float is resampled; both within a pixel of one another."""
    ramp = torch.arange(0, 240).byte().expand(60, 1, 200, 240).contiguous()
    crops = augment.random_resized_crop(least=0.3) + flip(p=0.5, vertical=0.5)
    whole = crops(ramp, torch.Generator().manual_seed(3)).float()
    smooth = crops(ramp / 255, torch.Generator().manual_seed(3)) * 255
    assert (whole - smooth).abs().max() < 3
    assert torch.equal(whole[:, :, 0], whole[:, :, -1]), "across the ramp every row is the same"


@pytest.mark.parametrize("text", [t for t in EVERY if t not in ("none", "noise", "strong")])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_in_pieces_it_is_what_it_is_as_a_whole(text, dtype, monkeypatch):
    x = pictures(9) if dtype == torch.uint8 else pictures(9) / 255
    made = []
    for piece in (1, 3 * x[0].numel(), 1 << 30):
        monkeypatch.setattr(resample, "PIECE", piece)
        made.append(built(text)(x, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        made[0], made[1], rtol=0, atol=1 if dtype == torch.uint8 else 1e-5
    )  # a matrix product of one is not that of three
    assert (made[0].float() - made[2].float()).abs().max() <= (1 if dtype == torch.uint8 else 1e-5)


@pytest.mark.parametrize("text", EVERY)
def test_the_number_of_threads_changes_nothing(text, monkeypatch):
    monkeypatch.setattr(resample, "PIECE", 1)
    x, before, made = pictures(9), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(built(text)(x, torch.Generator().manual_seed(0)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*made)


def test_no_two_pieces_have_the_same_noise(monkeypatch):
    monkeypatch.setattr(resample, "PIECE", 1)
    x = torch.full((30, 1, 16, 16), 0.5)
    grain = (noise(amount=0.1)(x) - x).flatten(1)
    alike = torch.nn.functional.normalize(grain) @ torch.nn.functional.normalize(grain).T
    assert alike.fill_diagonal_(0).abs().max() < 0.35


def test_a_crop_can_be_a_single_pixel():
    x = pictures(8, 3, 5, 7)
    assert augment.random_resized_crop(least=0.001, most=0.002)(x, torch.Generator().manual_seed(0)).shape == x.shape


def test_mixing_shows_another_picture_by_the_share_said():
    x = torch.eye(40)[:, :, None, None].expand(40, 40, 2, 2)
    y = augment.mix(p=1.0, most=0.3)(x, torch.Generator().manual_seed(0))[:, :, 0, 0]
    torch.testing.assert_close(y.sum(1), torch.ones(40))
    assert y.diagonal().min() >= 0.7 - 1e-6
    assert y.diagonal().min() < 0.75
    assert ((y > 0).sum(1) <= 2).all()
    assert torch.equal(augment.mix(p=0.0)(pictures()), pictures())
    assert not any("mix" in name for preset in (photo(), augment.strong()) for name in map(repr, preset.changes))


def test_places_are_those_of_torch():
    theta = torch.eye(3).repeat(4, 1, 1) + torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0)) / 5
    x = torch.zeros(4, 3, 9, 14)
    wanted = torch.nn.functional.affine_grid(theta[:, :2], list(x.shape), align_corners=False)
    torch.testing.assert_close(resample.places(x, theta), wanted)


def test_a_blur_is_the_same_in_every_channel():
    x = torch.rand(3, 1, 9, 9)
    smooth = augment.smooth(x.expand(3, 4, 9, 9).contiguous(), 2)
    torch.testing.assert_close(smooth, augment.smooth(x, 2).expand(3, 4, 9, 9))
    assert torch.allclose(augment.smooth(torch.ones(1, 1, 6, 6), 3), torch.ones(1, 1, 6, 6))
