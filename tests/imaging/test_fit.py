"""Images of another aspect: stretched, padded or cropped, the same in training, embedding and an exported model."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise.data import load
from likewise.data.cache import key_of
from likewise.data.files import read
from likewise.data.options import LoadOptions
from likewise.export.reading import pixels
from likewise.gallery.encoder import RunEncoder
from likewise.imaging.decode import decode, decoded
from likewise.imaging.resize import resized
from likewise.imaging.sizes import FITS, crop_box, inner_sides
from likewise.models import Embedder
from likewise.models.inputs import fit
from likewise.spec import SpecError

SIDES = [(60, 20), (20, 60), (31, 30), (40, 40)]
TARGETS = [(16, 16), (10, 30), (50, 50)]


def photo(height: int, width: int, kind: str = "PNG", turn: int = 1, mode: str = "RGB") -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    image = Image.fromarray(np.stack([x * 3, y * 3, 90 + x + y], -1).astype(np.uint8)).convert(mode)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    image.save(file, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


def test_by_hand():
    assert inner_sides(40, 20, (16, 16)) == (16, 8)
    assert inner_sides(20, 40, (16, 16)) == (8, 16)
    assert inner_sides(1, 1000, (16, 16)) == (1, 16)
    assert inner_sides(30, 90, (10, 20)) == (7, 20)
    assert crop_box(40, 20, (16, 16)) == (10, 0, 20, 20)
    assert crop_box(20, 50, (10, 20)) == (0, 5, 20, 40)
    assert crop_box(1, 9, (4, 4)) == (0, 4, 1, 1)


@given(*[st.integers(1, 300)] * 4)
def test_what_is_inside_fits_and_touches(height, width, high, wide):
    inside = inner_sides(height, width, (high, wide))
    assert inside[0] == high or inside[1] == wide
    assert 1 <= inside[0] <= high
    assert 1 <= inside[1] <= wide
    top, left, rows, columns = crop_box(height, width, (high, wide))
    assert top >= 0
    assert left >= 0
    assert top + rows <= height
    assert left + columns <= width
    assert (rows, columns) == inner_sides(high, wide, (height, width))


def test_padding_is_the_median_of_the_border():
    image = torch.tensor([[[9, 1], [2, 3], [4, 7], [5, 6]]], dtype=torch.uint8)[None]
    out = resized(image, (4, 4), "pad")[0, 0].tolist()
    # border 9 1 2 3 4 7 5 6 in order 1 2 3 4 5 6 7 9: the lower median is 4
    assert out == [[4, 9, 1, 4], [4, 2, 3, 4], [4, 4, 7, 4], [4, 5, 6, 4]]


def test_a_crop_is_of_the_centre():
    image = torch.arange(24, dtype=torch.uint8).view(1, 1, 4, 6)
    assert resized(image, (4, 4), "crop")[0, 0].tolist() == image[0, 0, :, 1:5].tolist()
    assert resized(image, (2, 3), "crop").shape == (1, 1, 2, 3)


@pytest.mark.parametrize("mode", FITS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sides", SIDES)
def test_training_embedding_and_exported_model_agree(tmp_path, sides, target, mode):
    for channels, colours in ((3, "RGB"), (1, "L"), (1, "RGB")):
        path, shape = tmp_path / "a.png", (channels, *target)
        path.write_bytes(photo(*sides, mode=colours))
        trained = decode(path, shape, mode=mode)
        assert trained.shape == shape
        assert np.abs(pixels(path, shape, mode).transpose(2, 0, 1).astype(int) - trained.numpy()).max() <= 1
        whole = decode(path)[None]
        assert (fit(whole, shape, mode)[0].int() - trained.int()).abs().max() <= 1
        assert (decoded(Image.open(path), shape, mode).int() - trained.int()).abs().max() <= 1
        out = torch.empty(shape, dtype=torch.uint8)
        assert decode(path, shape, mode=mode, out=out) is out
        assert torch.equal(out, trained)
        assert torch.equal(decode(path, shape, mode=mode, invert=True), 255 - trained)


@pytest.mark.parametrize("mode", ["pad", "crop"])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_a_large_turned_jpeg(tmp_path, turn, mode):
    path = tmp_path / "a.jpg"
    path.write_bytes(photo(80, 240, "JPEG", turn))
    sides = (240, 80) if turn == 6 else (80, 240)
    whole = decode(path)
    assert whole.shape[1:] == sides
    made = decode(path, (3, 16, 16), mode=mode)
    assert (made.int() - resized(whole[None], (16, 16), mode)[0].int()).abs().float().mean() < 2
    assert np.abs(pixels(path, (3, 16, 16), mode).transpose(2, 0, 1).astype(int) - made.numpy()).max() <= 1


def test_nothing_changes_where_the_aspect_is_the_same():
    image = torch.randint(0, 256, (2, 3, 40, 20), dtype=torch.uint8)
    assert all(torch.equal(resized(image, (20, 10), mode), resized(image, (20, 10), "stretch")) for mode in FITS)


def test_sets_of_files_in_memory_streamed_and_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("likewise.data.cache.WORTH", 0)
    sources = [photo(30, 90), photo(70, 20)]
    for mode in FITS:
        want = LoadOptions(size=16, channels=3, fit=mode)
        whole = torch.stack([decode(source, (3, 16, 16), mode=mode) for source in sources])
        for memory in (1 << 20, 0, 1 << 20):
            found, wrong = read(sources, LoadOptions(size=16, channels=3, fit=mode, memory=memory))
            assert not wrong
            assert torch.equal(found[[0, 1]], whole)
        assert key_of(sources, want, False).name != key_of(sources, LoadOptions(size=16, channels=3), False).name or (
            mode == "stretch"
        )


def test_a_source_of_files_and_of_arrays(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(photo(30, 90))
    files = load(str(tmp_path), size=16, channels=3, fit="pad")
    assert torch.equal(files.batch([0])[0], decode(photo(30, 90), (3, 16, 16), mode="pad"))
    np.savez(tmp_path / "a.npz", X=np.arange(8 * 30, dtype=np.uint8).reshape(2, 6, 20), y=[0, 1])
    arrays = load(str(tmp_path / "a.npz"), size=6, fit="crop")
    assert arrays.batch([0])[0, 0].tolist() == np.arange(120).reshape(6, 20)[:, 7:13].tolist()
    with pytest.raises(ValueError, match="stretch"):
        load(str(tmp_path), size=16, fit="strech")


def test_a_model_keeps_it(tmp_path):
    image = torch.randint(0, 256, (3, 30, 60), dtype=torch.uint8)
    plain, padding = (Embedder("identity", shape=(3, 8, 8), dim=0, fit=mode) for mode in ("stretch", "pad"))
    assert "fit" not in plain.config
    assert not torch.allclose(plain.embed(image), padding.embed(image))
    padding.save(tmp_path / "m"), plain.save(tmp_path / "p")
    loaded = Embedder.load(tmp_path / "m")
    assert loaded.fit == "pad"
    assert torch.equal(loaded.embed(image), padding.embed(image))
    assert torch.equal(padding.embed(image), padding.embed(resized(image[None], (8, 8), "pad")))
    assert Embedder.load(tmp_path / "p").fit == "stretch"
    assert RunEncoder(tmp_path / "m").fingerprint != RunEncoder(tmp_path / "p").fingerprint
    with pytest.raises(ValueError, match="stretch"):
        Embedder("identity", shape=(3, 8, 8), fit="cut")
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    about["config"]["fit"] = "__import__"
    (tmp_path / "m" / "model.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="fit is one of stretch, pad, crop"):
        Embedder.load(tmp_path / "m")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FITS), *[st.integers(1, 40)] * 4)
def test_any_sides(mode, height, width, high, wide):
    for dtype in (torch.uint8, torch.float32):
        image = torch.full((1, 1, height, width), 7, dtype=dtype)
        made = resized(image, (high, wide), mode)
        assert made.shape == (1, 1, high, wide)
        assert made.dtype == dtype
        assert torch.allclose(made.float(), torch.tensor(7.0))


def test_a_recipe_says_it():
    from likewise.experiment.recipe import Recipe

    with pytest.raises(SpecError, match="no fit='padd'"):
        Recipe(fit="padd")
