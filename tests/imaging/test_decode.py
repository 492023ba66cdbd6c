"""Odd images, made here one by one, each with the pixels that a person would expect to see."""

import io
import os
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from likewise.imaging import decode as module
from likewise.imaging import jpeg, resize
from likewise.imaging.decode import Crop, Head, ImageError, check, decode, decoded, fit, head

ORIENTATION = 0x0112


def save(image, kind, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(rows) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8))


def photo(height=60, width=80) -> Image.Image:
    """A smooth colour image, which JPEG keeps well: red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, 0 * x + 90], -1).astype(np.uint8))


KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def test_grey_png_is_what_it_holds():
    assert decode(save(grey([[0, 100], [200, 255]]), "PNG")).tolist() == [[[0, 100], [200, 255]]]


def test_colour_png_is_channels_first():
    pixels = decode(save(Image.new("RGB", (3, 2), (10, 20, 30)), "PNG"))
    assert pixels.shape == (3, 2, 3)
    assert pixels[:, 1, 2].tolist() == [10, 20, 30]
    assert pixels.dtype == torch.uint8


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_not_cut(kind):
    values = np.array([[0, 257, 32896], [65535, 128, 129]], np.uint16)
    data = save(Image.fromarray(values), kind)
    assert decode(data).tolist() == [[[0, 1, 128], [255, 0, 1]]]
    assert head(data) == Head(1, 2, 3)


def test_32_bit_whole_numbers_beyond_16_bits_are_refused():
    data = save(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF")
    with pytest.raises(ImageError, match="neither 8 nor 16 bits"):
        decode(data)


def test_float_pictures_are_refused():
    data = save(Image.fromarray(np.array([[0.0, 0.5]], np.float32)), "TIFF")
    with pytest.raises(ImageError, match="neither 8 nor 16 bits"):
        decode(data)


def test_one_bit_is_black_and_white():
    assert decode(save(grey([[0, 255], [255, 0]]).convert("1"), "PNG")).tolist() == [[[0, 255], [255, 0]]]


@pytest.mark.parametrize(
    ("ink", "seen"), [((0, 0, 0, 0), (255, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)), ((200, 40, 255, 0), (0, 163, 0))]
)
def test_cmyk_jpeg_is_seen_in_colour(ink, seen):
    # K 0..255 is ink: nothing printed is white, full black is black
    pixels = decode(save(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100))
    assert pixels.shape == (3, 16, 16)
    expected = torch.tensor(seen) if ink[0] in (0,) else torch.tensor([255 - ink[0], 255 - ink[1], 255 - ink[2]])
    assert (pixels[:, 8, 8].int() - expected).abs().max() <= 12


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    assert decode(save(image, "PNG")).permute(1, 2, 0).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_half_transparent_black_is_grey():
    assert decode(save(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG")).flatten().tolist() == [127, 127, 127]


def test_grey_with_alpha_stays_grey_on_white():
    image = Image.new("LA", (2, 1), (50, 255))
    image.putpixel((1, 0), (50, 0))
    assert decode(save(image, "PNG")).tolist() == [[[50, 255]]]


def test_transparent_colour_of_an_opaque_mode_is_white():
    data = save(grey([[7, 90]]), "PNG", transparency=7)
    assert decode(data).tolist() == [[[255, 90]]]


def palette_picture(colours) -> Image.Image:
    image = Image.fromarray(np.arange(len(colours), dtype=np.uint8)[None])
    image = image.convert("P")
    image.putdata(range(len(colours)))
    image.putpalette([value for colour in colours for value in colour])
    return image


def test_palette_is_colour():
    data = save(palette_picture([(255, 0, 0), (0, 0, 255)]), "PNG")
    assert decode(data).permute(1, 2, 0).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert head(data).channels == 3


def test_palette_of_greys_is_grey():
    data = save(palette_picture([(5, 5, 5), (250, 250, 250)]), "PNG")
    assert head(data).channels == 1
    assert decode(data).tolist() == [[[5, 250]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_transparency_lies_on_white(transparency):
    data = save(palette_picture([(255, 0, 0), (0, 0, 255)]), "PNG", transparency=transparency)
    assert decode(data).permute(1, 2, 0).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_channels_are_those_asked_for():
    colour, plain = save(photo(), "PNG"), save(grey([[3]]), "PNG")
    assert decode(colour, (1, 60, 80)).shape == (1, 60, 80)
    assert decode(plain, (3, 1, 1)).flatten().tolist() == [3, 3, 3]


def test_grey_of_a_colour_is_its_brightness():
    assert decode(save(Image.new("RGB", (1, 1), (0, 255, 0)), "PNG"), (1, 1, 1)).item() == 150


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_honoured(orientation, kind):
    upright = photo(48, 64)
    # how a camera in that position would store the upright image
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = save(stored, kind, exif=exif, **options)
    wanted = torch.from_numpy(np.array(upright)).permute(2, 0, 1).int()
    assert head(data) == Head(3, 48, 64)
    assert (decode(data).int() - wanted).abs().max() <= 6
    assert (decode(data, (3, 24, 32)).int() - decode(save(upright, "PNG"), (3, 24, 32)).int()).abs().max() <= 8


def test_nonsense_exif_does_not_lose_the_picture():
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0" + struct.pack("<I", 2**31)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert decode(save(photo(), "JPEG", exif=exif)).shape == (3, 60, 80)


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[:, 0, 0].tolist() == [255, 0, 0]


def test_contents_decide_and_not_the_ending(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(save(grey([[9]]), "PNG"))
    assert decode(path).item() == 9


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "empty", id="0 bytes"),
        pytest.param(b"\0" * 4096, "zeros", id="zeros"),
        pytest.param(b"no image at all", "not an image", id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image", id="svg"),
        pytest.param(save(photo(), "PNG")[:60], ".", id="head of a png"),
        pytest.param(save(photo(), "JPEG")[:30], ".", id="head of a jpeg"),
        *(pytest.param(truncated(save(photo(), kind)), ".", id=f"half a {kind}") for kind in KINDS),
    ],
)
def test_a_picture_that_is_not_whole_is_broken(data, why, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(data)
    for picture in (data, path):
        with pytest.raises(ImageError, match=why):
            decode(picture)
        with pytest.raises(ImageError):
            check(picture)


def test_what_is_no_file_is_broken(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {"folder.jpg": "a folder", "pipe.jpg": "not a regular file", "nowhere.jpg": "no such file"}
    for name, why in (reasons | {"loop.jpg": ".", "nul\0.jpg": ".", "n" * 300: "."}).items():
        with pytest.raises(ImageError, match=why):
            decode(tmp_path / name)


def test_decompression_bombs_are_broken(monkeypatch):
    data = save(grey(np.zeros((40, 40))), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="decompression bomb"):
        decode(data)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_pass_the_check(kind):
    check(save(photo(), kind))


def test_a_jpeg_with_a_trailer_passes_the_check():
    check(save(photo(), "JPEG") + b"\0" * 500)
    check(save(photo(), "JPEG") + b"made by a phone")


def test_a_flipped_byte_in_a_png_fails_the_check():
    data = bytearray(save(photo(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError):
        check(bytes(data))


def test_large_jpeg_is_decoded_small_and_looks_the_same():
    rng = np.random.default_rng(0)
    blocks = Image.fromarray(rng.integers(0, 255, (16, 20, 3), dtype=np.uint8)).resize(
        (800, 640), Image.Resampling.BICUBIC
    )
    data = save(blocks, "JPEG", quality=95)
    whole = blocks.resize((100, 80), Image.Resampling.BILINEAR)
    wanted = torch.from_numpy(np.array(whole)).permute(2, 0, 1).float()
    assert (decode(data, (3, 80, 100)).float() - wanted).abs().mean() < 2.5
    gray = torch.from_numpy(np.array(whole.convert("L"))).float()
    assert (decode(data, (1, 80, 100))[0].float() - gray).abs().mean() < 2.5


def test_a_turned_jpeg_is_not_decoded_smaller_than_wanted():
    stripes = np.repeat(np.arange(64) // 2 % 2 * 255, 3).reshape(1, 64, 3).repeat(1024, 0).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = Image.fromarray(stripes).transpose(Image.Transpose.ROTATE_90)
    pixels = decode(save(stored, "JPEG", quality=100, exif=exif), (1, 32, 64))
    assert (pixels[0, 16].float() - torch.from_numpy(stripes[0, :, 0]).float()).abs().max() < 40


def test_shrinking_averages():
    checks = grey(np.indices((64, 64)).sum(0) % 2 * 255)
    assert (decode(save(checks, "PNG"), (1, 8, 8)).float() - 127.5).abs().max() < 3


def test_invert():
    assert decode(save(grey([[0, 100]]), "PNG"), invert=True).tolist() == [[[255, 155]]]
    assert decode(torch.tensor([[[0, 100]]], dtype=torch.uint8), invert=True).tolist() == [[[255, 155]]]


def test_lab_is_seen_in_colour():
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.applyTransform(photo(), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    wanted = torch.from_numpy(np.array(photo())).permute(2, 0, 1).float()
    assert (decode(save(lab, "TIFF")).float() - wanted).abs().mean() < 4


def test_pixels_in_memory_follow_the_same_rules():
    colour = torch.from_numpy(np.array(photo())).permute(2, 0, 1).contiguous()
    data = save(photo(), "PNG")
    for shape in [(3, 30, 40), (1, 60, 80), (1, 30, 40), (3, 90, 100)]:
        assert (fit(colour[None], shape)[0].int() - decode(data, shape).int()).abs().max() <= 2
        assert torch.equal(decode(colour, shape), fit(colour[None], shape)[0])
    assert fit(colour[None, :1], (3, 60, 80)).shape == (1, 3, 60, 80)
    assert fit(torch.rand(2, 3, 4, 4), (1, 4, 4)).dtype == torch.float32


def swapped(description: str = "test") -> bytes:
    """sRGB with its red and green primaries changed for each other, under another name: red is seen as green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), description.encode("utf-16-be"))
    tags = {profile[at : at + 4]: at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = (profile[tags[name] + 4 : tags[name] + 12] for name in (b"rXYZ", b"gXYZ"))
    changed = bytearray(profile)
    for name, place in ((b"rXYZ", green), (b"gXYZ", red)):
        changed[tags[name] + 4 : tags[name] + 12] = place
    return bytes(changed)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_of_another_profile_become_srgb(kind):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = save(Image.new("RGB", (16, 16), (220, 30, 60)), kind, icc_profile=swapped(), **options)
    seen = torch.tensor([30, 220, 60])
    for pixels in (decode(data), decode(data, (3, 8, 8))):
        assert (pixels[:, 4, 4].int() - seen).abs().max() <= 4
    grey = decode(data, (1, 16, 16))[0, 8, 8].int()
    assert (grey - (0.299 * 30 + 0.587 * 220 + 0.114 * 60)).abs() <= 4, "grey is of the colours as they are seen"


def test_a_profile_of_srgb_changes_nothing():
    picture = photo()
    data = save(picture, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert torch.equal(decode(data), decode(save(picture, "PNG")))


def test_a_profile_and_transparency():
    image = Image.new("RGBA", (2, 1), (220, 30, 60, 255))
    image.putpixel((1, 0), (220, 30, 60, 0))
    left, right = decode(save(image, "PNG", icc_profile=swapped())).permute(1, 2, 0)[0].int()
    assert (left - torch.tensor([30, 220, 60])).abs().max() <= 4
    assert right.tolist() == [255, 255, 255]
    palette = save(palette_picture([(220, 30, 60), (0, 0, 0)]), "PNG", icc_profile=swapped(), transparency=1)
    assert (decode(palette)[:, 0, 0].int() - torch.tensor([30, 220, 60])).abs().max() <= 4
    assert decode(palette)[:, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("profile", [b"no profile", swapped()[:200], b"\0" * 128])
def test_a_broken_profile_does_not_lose_the_picture(profile):
    assert torch.equal(decode(save(photo(), "PNG", icc_profile=profile)), decode(save(photo(), "PNG")))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_of_another_kind_is_passed_over(mode):
    plain = save(photo().convert(mode), "TIFF")
    assert torch.equal(decode(save(photo().convert(mode), "TIFF", icc_profile=swapped())), decode(plain))


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3]))
def test_torch_and_pillow_stretch_alike(height, width, channels):
    mode = "L" if channels == 1 else "RGB"
    data = save(photo().convert(mode), "PNG")
    wanted = photo().convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    pixels = decode(data, (channels, height, width)).permute(1, 2, 0).numpy().squeeze(-1 if channels == 1 else ())
    assert np.abs(pixels.astype(int) - np.array(wanted).astype(int)).max() <= 1


def without_torch(monkeypatch):
    for one in (module, resize):
        monkeypatch.setattr(one, "is_quick", lambda: False)


def test_without_avx2_pillow_stretches(monkeypatch):
    data, shape = save(photo(), "PNG"), (3, 31, 17)
    with_torch = decode(data, shape)
    without_torch(monkeypatch)
    assert "torch" not in module.decoder()
    assert (decode(data, shape).int() - with_torch.int()).abs().max() <= 1


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("invert", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", [*KINDS, "pixels"])
def test_pixels_go_where_they_are_wanted(kind, mode, invert, quick, monkeypatch):
    if not quick:
        without_torch(monkeypatch)
    image = rough(131, 203).convert(mode)
    picture = decoded(image) if kind == "pixels" else save(image, kind)
    for shape in [(3, 61, 83), (1, 61, 83), (3, 131, 203), (1, 131, 203)]:
        rows = torch.zeros((3, *shape), dtype=torch.uint8)
        given = decode(picture, shape, invert=invert, out=rows[1])
        assert given.data_ptr() == rows[1].data_ptr()
        assert torch.equal(rows[1], decode(picture, shape, invert=invert))
        assert not rows[::2].any()


JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "best": {"quality": 100},
    "poor": {"quality": 5},
    "restarts": {"restart_marker_blocks": 3},
    "stored as RGB": {"keep_rgb": True},
}


def rough(height: int, width: int, seed=0) -> Image.Image:
    """Blocks of chance colours: edges in every direction."""
    colours = np.random.default_rng(seed).integers(0, 255, (1 + height // 7, 1 + width // 7, 3), dtype=np.uint8)
    return Image.fromarray(colours.repeat(7, 0).repeat(7, 1)[:height, :width])


def by_pillow(picture, *rest, **more):
    """What Pillow alone gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "simplejpeg", lambda: None)
        return decode(picture, *rest, **more)


@pytest.fixture
def turbo(monkeypatch):
    """How often simplejpeg has decoded."""
    real, seen = pytest.importorskip("simplejpeg"), []

    class Watched:
        __version__ = real.__version__

        @staticmethod
        def decode_jpeg(*rest, **more):
            pixels = real.decode_jpeg(*rest, **more)
            seen.append(pixels.shape)
            return pixels

    monkeypatch.setattr(jpeg, "simplejpeg", lambda: Watched)
    return seen


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("shape", [None, (3, 61, 83), (1, 61, 83), (3, 16, 16), (1, 7, 9), (3, 300, 200)])
def test_simplejpeg_and_pillow_decode_alike(kind, mode, shape, turbo):
    data = save(rough(131, 203).convert(mode), "JPEG", **JPEGS[kind])
    pixels = decode(data, shape)
    assert len(turbo) == 1, "Pillow has decoded"
    assert (pixels.int() - by_pillow(data, shape).int()).abs().max() <= 1


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.integers(1, 8),
)
def test_at_any_size_and_turn_they_decode_alike(height, width, high, wide, channels, orientation):
    pytest.importorskip("simplejpeg")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = save(rough(height, width, height), "JPEG", exif=exif, quality=90)
    for shape in (None, (channels, high, wide)):
        assert (decode(data, shape).int() - by_pillow(data, shape).int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("box", [(10, 20, 50, 44), (-5, -6, 300, 200), (100, 60, 101, 61)])
def test_a_part_of_a_jpeg_is_the_same_part_by_both(box, channels, tmp_path):
    rough(131, 203).save(path := tmp_path / "whole.jpg", quality=90)
    part, shape = Crop(path, box), (channels, 24, 40)
    with Image.open(path) as image:
        wanted = np.array(image.convert("L" if channels == 1 else "RGB").crop(box).resize((40, 24), 2))
    for pixels in (decode(part, shape), by_pillow(part, shape)):
        assert np.abs(pixels.permute(1, 2, 0).numpy().reshape(wanted.shape).astype(int) - wanted).max() <= 1


def test_a_large_jpeg_is_decoded_at_the_same_fraction_by_both(turbo):
    data = save(rough(801, 1203), "JPEG")
    for sides, fraction in [((400, 601), 2), ((401, 601), 1), ((200, 300), 4), ((100, 150), 8), ((9, 5), 8)]:
        assert (decode(data, (3, *sides)).int() - by_pillow(data, (3, *sides)).int()).abs().max() <= 1
        assert turbo[-1][:2] == (-(-801 // fraction), -(-1203 // fraction))


@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from(["cut", "flip", "cut and closed"]))
def test_a_damaged_jpeg_is_what_pillow_says_it_is(seed, amount, harm):
    pytest.importorskip("simplejpeg")
    rng = np.random.default_rng(seed)
    data = bytearray(save(rough(40, 56, seed), "JPEG", quality=90))
    if harm == "flip":
        for place in rng.integers(2, len(data), amount):
            data[place] ^= 1 << rng.integers(8)
    else:
        del data[rng.integers(2, len(data)) :]
    data += b"\xff\xd9" * (harm == "cut and closed")
    assert verdict(decode, bytes(data)) == verdict(by_pillow, bytes(data))
    if not verdict(decode, bytes(data)):
        assert torch.equal(decode(bytes(data)), by_pillow(bytes(data)))


def test_damaged_jpegs_are_not_commented_on(capfd):
    data = save(rough(90, 90), "JPEG")
    for broken in (data[: len(data) // 2], data[: len(data) // 2] + b"\xff\xd9", data[:-2], data[:300] + data[310:]):
        verdict(decode, broken)
    assert capfd.readouterr() == ("", "")


def test_what_a_profile_or_ink_is_about_is_left_to_pillow(turbo):
    decode(save(photo(), "JPEG", icc_profile=swapped()), (3, 30, 40))
    decode(save(photo().convert("CMYK"), "JPEG"), (3, 30, 40))
    decode(save(photo(), "PNG"), (3, 30, 40))
    assert turbo == []
    assert decode(save(photo(), "JPEG"), (3, 30, 40)).shape == (3, 30, 40)
    assert len(turbo) == 1


@pytest.fixture
def opened(monkeypatch):
    """How often Pillow has opened a file."""
    real, seen = module._opened, []
    monkeypatch.setattr(module, "_opened", lambda picture: seen.append(picture) or real(picture))
    return seen


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", None])
@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"dpi": (72, 72)}])
def test_a_jpeg_of_pixels_alone_is_not_opened_by_pillow(name, more, tmp_path, opened):
    pytest.importorskip("simplejpeg")
    data = save(rough(131, 203), "JPEG", **more)
    picture = data
    if name:
        (picture := tmp_path / name).write_bytes(data)
    pixels = decode(picture, (3, 61, 83))
    assert opened == []
    assert (pixels.int() - by_pillow(picture, (3, 61, 83)).int()).abs().max() <= 1


@pytest.mark.parametrize(
    "more",
    [{"comment": b"x"}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, {"icc_profile": swapped()}, {"xmp": b"x"}],
)
def test_whatever_else_a_jpeg_carries_pillow_looks_at(more, opened):
    pytest.importorskip("simplejpeg")
    assert decode(save(rough(131, 203), "JPEG", **more), (3, 61, 83)).shape == (3, 61, 83)
    assert len(opened) == 1


def test_a_bomb_is_left_to_pillow(monkeypatch, opened):
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 131 * 203 // 2 - 1)
    with pytest.raises(ImageError, match="decompression bomb"):
        decode(save(rough(131, 203), "JPEG"), (3, 61, 83))


def test_without_simplejpeg_pillow_decodes(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "simplejpeg", None)
    jpeg.simplejpeg.cache_clear()
    try:
        assert "simplejpeg" not in module.decoder()
        assert decode(save(photo(), "JPEG"), (3, 30, 40)).shape == (3, 30, 40)
    finally:
        jpeg.simplejpeg.cache_clear()


def test_a_picture_in_many_blocks_of_memory():
    """Pillow lends its memory where an image lies in one piece, up to 16 MB of it."""
    large = rough(2100, 2300)
    assert torch.equal(decode(save(large, "PPM")), torch.from_numpy(np.array(large)).permute(2, 0, 1))


def test_pixels_are_not_those_of_the_picture_given():
    for image in (photo(), photo().convert("L")):
        before = np.array(image)
        for shape in (None, (len(image.getbands()), 60, 80)):
            pixels = decoded(image, shape)
            pixels.zero_()
            assert np.array_equal(np.array(image), before)
            assert pixels.is_contiguous()


def test_pixels_outlive_the_picture_that_lent_them():
    pixels = [decode(save(rough(50, 60, seed), "PPM"), (3, 50, 60)) for seed in range(20)]
    for seed, each in enumerate(pixels):
        assert torch.equal(each, torch.from_numpy(np.array(rough(50, 60, seed))).permute(2, 0, 1))


def verdict(look, data: bytes) -> str:
    """Why a look at the bytes fails, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            look(data)
        except ImageError as broken:
            return str(broken) or "no reason given"
    return ""


MAGIC = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"P5 2 2 255\n")


@given(st.binary(max_size=200), st.sampled_from(MAGIC))
def test_any_bytes_are_a_picture_or_broken(tail, magic):
    for look in (decode, head, check):
        assert verdict(look, magic + tail) != "no reason given"


@given(st.integers(0, 2000), st.integers(0, 255), st.sampled_from(KINDS))
def test_the_check_is_no_stricter_than_decoding(place, value, kind):
    data = bytearray(save(photo(20, 20), kind))
    data[place % len(data)] = value
    if verdict(check, bytes(data)):
        assert verdict(decode, bytes(data))


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch):
    def hungry(*_):
        raise MemoryError

    monkeypatch.setattr(module, "_plain", hungry)
    with pytest.raises(MemoryError):
        decode(save(grey([[1]]), "PNG"))
