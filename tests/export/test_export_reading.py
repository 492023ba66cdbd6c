"""Reading images without torch gives what training reads, within one of 255."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from likewise.export.reading import files, pixels
from likewise.imaging.decode import decode

SHAPES = [(3, 20, 24), (1, 20, 24), (3, 64, 80)]


def photo(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:64, 0:80]
    return Image.fromarray(np.stack([x * 3, y * 4, 90 + 0 * x], -1).astype(np.uint8)).convert(mode)


def turned(image: Image.Image, orientation: int) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


def written(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def cases() -> dict[str, bytes]:
    deep = Image.fromarray((np.arange(64 * 80).reshape(64, 80) * 12).astype(np.uint16))
    clear = photo("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.arange(80, dtype=np.uint8) * 3, (64, 1))))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = {f"turned {n}": turned(photo(), n) for n in range(1, 9)}
    found |= {kind: written(photo(), kind) for kind in ("PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")}
    found |= {"grey": written(photo("L"), "JPEG"), "cmyk": written(photo("CMYK"), "JPEG"), "deep": written(deep, "PNG")}
    found |= {"clear": written(clear, "PNG"), "palette": written(photo("P"), "PNG")}
    found |= {"bits": written(photo("1"), "PNG"), "srgb": written(photo(), "JPEG", icc_profile=srgb)}
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", list(cases()))
def test_bytes_are_those_of_training(tmp_path, name, shape):
    path = tmp_path / "image"
    path.write_bytes(cases()[name])
    ours = pixels(path, shape).transpose(2, 0, 1).astype(int)
    theirs = decode(path, shape).numpy().astype(int)
    assert ours.shape == theirs.shape == shape
    assert np.abs(ours - theirs).max() <= 1


def test_what_cannot_be_read_is_named(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot read .*bad\.png as an image"):
        pixels(bad, (3, 8, 8))
    with pytest.raises(ValueError, match="there is no file"):
        files([tmp_path / "none"])
    assert files([tmp_path]) == [bad]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="contain no images"):
        files([empty])
