"""Reading many images: into memory or as a stream, with the same pixels, and every broken one named."""

import os
import pickle
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise.data import files
from likewise.data.files import LARGEST, Files, common_shape, conform, read, together
from likewise.data.options import AbsentError, LoadOptions, data_home
from likewise.imaging.decode import Head
from small_images import png


@pytest.fixture
def pictures(tmp_path):
    for i in range(100):
        (tmp_path / f"{i:03d}.png").write_bytes(png(i))
    (tmp_path / "037.png").write_bytes(b"")
    (tmp_path / "099.png").write_bytes(png(0)[:44])
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("memory", [0, 1 << 30])
@pytest.mark.parametrize("size", [0, 6])
def test_every_readable_picture_is_in_its_place(pictures, memory, size):
    pixels, wrong = read(pictures, LoadOptions(memory=memory, size=size, channels=1 if size else 0))
    assert sorted(wrong) == [37, 99]
    assert "empty" in wrong[37]
    assert isinstance(pixels, Files if memory == 0 else torch.Tensor)
    assert tuple(pixels.shape) == (98, 1, size or 5, size or 4)
    kept = [i for i in range(100) if i not in wrong]
    rows = [5, 0, 97, 50]
    assert pixels[torch.tensor(rows)][:, 0, 0, 0].tolist() == [kept[i] for i in rows]


def test_progress_counts_to_the_end(pictures):
    seen = []
    read(pictures, LoadOptions(progress=lambda done, total: seen.append((done, total))))
    assert seen[-1] == (98, 98) or seen[-1] == (99, 99)
    assert seen == sorted(seen)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_in_the_threads_of_the_pool_torch_starts_none(two_threads):
    files._pool.cache_clear()
    assert set(files._spread(lambda _: torch.get_num_threads(), range(40))) == {1}
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 2


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_together_does_each_once(two_threads, count):
    seen = []
    together(seen.append, range(count))
    assert sorted(seen) == list(range(count))


def test_an_error_in_a_thread_is_raised(two_threads):
    with pytest.raises(ZeroDivisionError):
        together(lambda x: 1 / x, [1, 0, 2])


def test_nothing_readable(tmp_path):
    pixels, wrong = read([tmp_path / "no.png", b""], LoadOptions())
    assert len(pixels) == 0
    assert set(wrong) == {0, 1}
    assert read([tmp_path / "no.png"], LoadOptions(size=4, channels=3))[1] == {0: "no such file"}


def test_files_pickle_and_take(pictures):
    files, _ = read(pictures, LoadOptions(memory=0))
    again = pickle.loads(pickle.dumps(files))
    assert torch.equal(again.take([3, 1])[[0, 1]], files[[3, 1]])
    assert len(files.take([3, 1])) == 2
    assert files[[]].shape == (0, 1, 5, 4)


def test_a_picture_that_breaks_later_is_named(pictures):
    files, _ = read(pictures, LoadOptions(memory=0))
    pictures[8].unlink()
    with pytest.raises(ValueError, match=r"008\.png could be read when it was listed and cannot now: no such file"):
        files[[7, 8]]


def test_the_threads_survive_a_fork(pictures):
    files, _ = read(pictures, LoadOptions(memory=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if files[[0, 1]].shape[0] == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_common_shape_is_the_majoritys():
    heads = [Head(3, 20, 30)] * 3 + [Head(1, 7, 7)] * 2
    assert common_shape(heads, LoadOptions()) == (3, 20, 30)
    assert common_shape(heads, LoadOptions(channels=1)) == (1, 20, 30)
    assert common_shape(heads, LoadOptions(size=9)) == (3, 9, 9)


def test_common_shape_without_a_majority_is_a_square():
    heads = [Head(3, 100, 50), Head(3, 30, 90), Head(3, 70, 200)]
    assert common_shape(heads, LoadOptions()) == (3, 50, 50)


def test_common_shape_of_photographs_is_bounded():
    assert common_shape([Head(3, 3000, 4000)], LoadOptions()) == (3, 384, LARGEST)


@given(st.lists(st.builds(Head, st.sampled_from([1, 3]), st.integers(1, 6000), st.integers(1, 6000)), min_size=1))
def test_common_shape_is_a_shape(heads):
    channels, height, width = common_shape(heads, LoadOptions())
    assert channels in (1, 3)
    assert 1 <= height <= LARGEST
    assert 1 <= width <= LARGEST


def test_conform_sizes_and_colours():
    pixels = torch.arange(2 * 4 * 4, dtype=torch.uint8).reshape(2, 1, 4, 4)
    assert conform(pixels, LoadOptions()) is pixels
    assert conform(pixels, LoadOptions(size=8, channels=3)).shape == (2, 3, 8, 8)


def test_conform_streams_what_would_not_fit():
    pixels = torch.arange(3 * 16, dtype=torch.uint8).reshape(3, 1, 4, 4)
    small, large = LoadOptions(size=8, memory=100), LoadOptions(size=8)
    streamed = conform(pixels, small)
    assert isinstance(streamed, Files)
    assert torch.equal(streamed[[2, 0]], conform(pixels, large)[[2, 0]])


def test_feature_rows_have_no_size():
    assert conform(torch.zeros(3, 5), LoadOptions()).shape == (3, 5)
    with pytest.raises(ValueError, match="leave both 0"):
        conform(torch.zeros(3, 5), LoadOptions(size=8))


@pytest.mark.parametrize("wrong", [{"size": -1}, {"channels": 2}])
def test_want_refuses(wrong):
    with pytest.raises(ValueError, match="size is a side"):
        LoadOptions(**wrong)


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.delenv("LIKEWISE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    assert data_home() == tmp_path / "cache" / "likewise"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_home().name == "likewise"
    assert data_home().is_absolute()


def test_what_is_absent_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(AbsentError, match=r"mnist/a\.gz; run `likewise data fetch mnist`") as raised:
        LoadOptions(tmp_path).find("mnist", ["mnist/a.gz"])
    assert raised.value.name == "mnist"
    assert str(tmp_path) in str(raised.value)


def test_streaming_and_memory_agree_on_a_photograph(tmp_path):
    y, x = np.mgrid[0:300, 0:400]
    Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)).save(tmp_path / "a.jpg")
    kept, _ = read([tmp_path / "a.jpg"], LoadOptions(size=50))
    streamed, _ = read([tmp_path / "a.jpg"], LoadOptions(size=50, memory=0))
    assert torch.equal(kept, streamed[[0]])
