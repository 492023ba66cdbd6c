"""Decoded images on disk: the same pixels without decoding, whole or not there, bounded, and never in the way."""

import errno
import json
import os
import pickle
import random
import shutil
import signal
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.data import background, cache, files
from likewise.data.files import Files, read
from likewise.data.options import LoadOptions, cache_home
from small_images import png

EACH = 3 * 8 * 8  # bytes of a decoded image here
WANT = LoadOptions(size=8, channels=3)
STREAMED = LoadOptions(size=8, channels=3, memory=0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own for each test, in which also little is kept."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIKEWISE_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(cache, "WORTH", 1)
    cache.said().clear()
    yield tmp_path / "cache"
    background.settle()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(80):
        Image.new("RGB", (12, 9), (i, 2 * i, 3 * i)).save(folder / f"{i:03d}.png")
    (folder / "041.png").write_bytes(b"")
    return sorted(folder.iterdir())


@pytest.fixture
def decoded(monkeypatch):
    """What was decoded, by name."""
    seen, real = [], files.decode

    def watched(picture, *rest, **more):
        seen.append(getattr(picture, "name", ""))
        return real(picture, *rest, **more)

    monkeypatch.setattr(files, "decode", watched)
    return seen


def entries(home) -> list:
    background.settle()
    return sorted(home.iterdir()) if home.exists() else []


def emptied() -> None:
    background.settle()
    shutil.rmtree(cache_home())


@pytest.mark.parametrize("want", [WANT, STREAMED])
def test_the_second_time_nothing_is_decoded(pictures, decoded, want):
    first, wrong = read(pictures, want)
    assert len(decoded) == 80
    again, same = read(pictures, want)
    assert len(decoded) == 80
    assert wrong == same == {41: "the file is empty, or zeros"}
    rows = list(range(79))
    assert torch.equal(first[rows], again[rows])
    assert again[rows][:41, 0, 0, 0].tolist() == list(range(41)), "each image is in its place"
    assert isinstance(again, Files) == (want is STREAMED)


def test_a_set_larger_than_memory_streams_from_the_cache(pictures, decoded, monkeypatch):
    plain = read(pictures, WANT)[0]
    streamed = read(pictures, STREAMED)[0]
    decoded.clear()
    assert torch.equal(streamed[[70, 3, 3]], plain[[70, 3, 3]])
    part = pickle.loads(pickle.dumps(streamed.take([5, 77])))
    assert torch.equal(part[[1, 0]], plain[[77, 5]])
    assert decoded == []
    assert streamed[[]].shape == (0, 3, 8, 8)


def test_rows_are_in_order_and_progress_grows(pictures):
    plain = read(pictures, WANT)[0]
    emptied()
    seen = []
    streamed = read(pictures, LoadOptions(size=8, channels=3, memory=0, progress=lambda *at: seen.append(at)))[0]
    assert torch.equal(streamed[range(79)], plain)
    assert seen[-1] == (80, 80)
    assert seen == sorted(seen)


def test_few_pictures_are_shared_out_among_all_threads(pictures, monkeypatch):
    """Twelve of a phone in one task would be decoded by one thread."""
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    tasks, real = [], files._pool().map
    monkeypatch.setattr(files._pool(), "map", lambda some, starts: tasks.extend(starts) or real(some, starts))
    read(pictures[:24], WANT)
    assert tasks == list(range(0, 24, 2))


def test_what_is_held_does_not_wait_for_the_disk(pictures, home, monkeypatch):
    """What is held is given back first; whoever asks for it again waits until it is there."""
    real, leave = cache.Room.close, threading.Event()

    def slow(*rest):
        assert leave.wait(10)
        return real(*rest)

    monkeypatch.setattr(cache.Room, "close", slow)
    first = read(pictures, WANT)[0]
    assert not any(p.name == cache.key_of(pictures, WANT, False).name for p in home.iterdir())
    threading.Timer(0.05, leave.set).start()
    assert torch.equal(read(pictures, WANT)[0], first)
    assert [p.name for p in home.iterdir()] == [cache.key_of(pictures, WANT, False).name]


@pytest.mark.parametrize("change", [lambda x: x.zero_(), lambda x: x[3:].add_(1), lambda x: x.view(-1).fill_(7)])
def test_pixels_that_are_changed_before_they_are_on_the_disk_do_not_get_there(pictures, home, monkeypatch, change):
    plain = read(pictures, WANT)[0]
    emptied()
    real, leave = cache.Room.put, threading.Event()

    def slow(*rest):
        assert leave.wait(10)
        real(*rest)

    monkeypatch.setattr(cache.Room, "put", slow)
    change(read(pictures, WANT)[0])
    leave.set()
    assert entries(home) == []
    assert torch.equal(read(pictures, WANT)[0], plain)


@pytest.mark.parametrize("limit", ["0", "1GB"])
def test_reading_in_inference_mode_gives_and_leaves_the_same(pictures, decoded, limit, monkeypatch):
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", limit)
    with torch.inference_mode():
        first, streamed = read(pictures, WANT)[0], read(pictures, STREAMED)[0]
        assert torch.equal(streamed[range(79)], first)
    monkeypatch.delenv("LIKEWISE_CACHE_LIMIT")
    assert not first.is_inference()
    if limit == "0":
        return
    decoded.clear()
    assert torch.equal(read(pictures, WANT)[0], first)
    assert decoded == []


def test_the_last_picture_is_broken(pictures, decoded):
    """The file is as long as its rows say although nothing was written in the last."""
    first, wrong = read(pictures[:42], STREAMED)
    assert list(wrong) == [41]
    decoded.clear()
    assert torch.equal(read(pictures[:42], WANT)[0], first[range(41)])
    assert decoded == []


def test_what_was_thrown_away_is_decoded_again(pictures, decoded, home):
    streamed, plain = read(pictures, STREAMED)[0], read(pictures, WANT)[0]
    emptied()
    decoded.clear()
    assert torch.equal(streamed[[1, 50]], plain[[1, 50]])
    assert decoded == ["001.png", "051.png"]


def test_only_what_is_new_is_decoded(pictures, decoded):
    read(pictures, WANT)
    decoded.clear()
    Image.new("RGB", (12, 9), (200, 0, 0)).save(pictures[7])
    Image.new("RGB", (12, 9), (201, 0, 0)).save(new := pictures[0].with_name("new.png"))
    pixels, wrong = read([*pictures, new], WANT)
    assert sorted(decoded) == ["007.png", "041.png", "new.png"]
    assert list(wrong) == [41]
    assert pixels[:, 0, 0, 0].tolist() == [*range(7), 200, *range(8, 41), *range(42, 80), 201]


def test_a_change_that_hides_itself_is_seen(pictures):
    """Another image of the same length, with the time of its change set back."""
    before, data = os.stat(pictures[5]), bytearray(png(9, 9, 12))
    pictures[5].write_bytes(data)
    at = os.stat(pictures[5])
    read(pictures, WANT)
    time.sleep(0.02)
    pictures[5].write_bytes(png(10, 9, 12).ljust(len(data), b"\0")[: len(data)])
    os.utime(pictures[5], ns=(before.st_atime_ns, at.st_mtime_ns))
    after = os.stat(pictures[5])
    assert (after.st_size, after.st_mtime_ns) == (at.st_size, at.st_mtime_ns)
    assert read(pictures, WANT)[0][5, 0, 0, 0] == 10


def test_other_wishes_are_other_entries(pictures, home):
    kept = [
        read(pictures, want, invert=invert)[0]
        for want in (WANT, LoadOptions(size=9, channels=3), LoadOptions(size=8, channels=1), LoadOptions())
        for invert in (False, True)
    ]
    assert len(entries(home)) == len(kept) == 8
    assert torch.equal(kept[0], 255 - kept[1])
    again = read(pictures, LoadOptions())[0]
    assert torch.equal(again, kept[6])
    assert again.shape == (79, 3, 9, 12)


def test_pictures_in_memory(decoded, home):
    drawings = [png(i) for i in range(40)]
    first = read(drawings, WANT)[0]
    assert torch.equal(read(list(drawings), WANT)[0], first)
    assert len(decoded) == 40
    assert len(entries(home)) == 1
    read([torch.zeros(3, 4, 4, dtype=torch.uint8)], WANT)
    assert len(entries(home)) == 1, "a tensor is decoded already"


def test_little_is_not_worth_keeping(pictures, home, monkeypatch):
    monkeypatch.setattr(cache, "WORTH", 1 << 20)
    read(pictures, WANT)
    assert entries(home) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda entry: os.truncate(entry / "pixels", 100),
        lambda entry: (entry / "pixels").unlink(),
        lambda entry: (entry / "index.json").write_text("{}"),
        lambda entry: (entry / "index.json").write_bytes(b"\xff\x00"),
        lambda entry: (entry / "index.json").unlink(),
    ],
)
def test_an_entry_that_is_not_whole_is_made_anew(pictures, decoded, home, harm):
    first = read(pictures, WANT)[0]
    harm(entries(home)[0])
    decoded.clear()
    assert torch.equal(read(pictures, WANT)[0], first)
    assert len(decoded) == 80
    assert torch.equal(read(pictures, WANT)[0], first)
    assert len(decoded) == 80
    assert len(entries(home)) == 1


@pytest.mark.parametrize("name", ["pixels", "index.json"])
@pytest.mark.parametrize("want", [WANT, STREAMED])
def test_a_flipped_bit_is_noticed_wherever_it_is(pictures, decoded, home, capsys, name, want):
    """Never other pixels: the entry is thrown away with one sentence, and the next reading has made it anew."""
    some = pictures[42:56]
    whole, wrong = read(some, want)
    whole = whole[range(14)].clone()
    size = (entries(home)[0] / name).stat().st_size
    rng = random.Random(0)
    for place in rng.sample(range(size), 40):
        file = entries(home)[0] / name
        content = bytearray(file.read_bytes())
        content[place] ^= 1 << rng.randrange(8)
        stat = file.stat()
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        found, why = read(some, want)
        assert torch.equal(found[range(14)], whole)
        assert why == wrong
        said = capsys.readouterr().err
        assert said.count("is damaged: its content is not what was saved; its images are decoded again\n") == 1
        assert torch.equal(read(some, want)[0][range(14)], whole)
        assert capsys.readouterr().err == ""
    decoded.clear()
    read(some, want)
    assert decoded == []


def test_an_entry_of_an_earlier_version_is_made_anew(pictures, decoded, home, capsys):
    read(pictures, WANT)
    index = entries(home)[0] / "index.json"
    content = json.loads(index.read_text())
    del content["crc32"], content["sums"]
    index.write_text(json.dumps(content))
    decoded.clear()
    read(pictures, WANT)
    assert (len(decoded), capsys.readouterr().err) == (80, "")


def test_a_killed_process_leaves_nothing_that_counts(pictures, decoded, home, monkeypatch):
    def deadly(picture, *rest, **more):
        if picture.name == "060.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(3, 8, 8, dtype=torch.uint8)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        files.decode = deadly
        read(pictures, WANT)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = entries(home)
    assert cache.BUILDING in left.name
    assert read(pictures, WANT)[0][:41, 0, 0, 0].tolist() == list(range(41))
    assert left in entries(home), "another process may be at it"
    os.utime(left / "pixels", (0, 0))
    read(pictures[:50], WANT)
    assert left not in entries(home)


def test_an_interrupted_reading_leaves_nothing(pictures, home, monkeypatch):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(pictures, LoadOptions(size=8, channels=3, progress=stop))
    assert entries(home) == []


def test_two_that_build_the_same_do_not_meet(pictures, home):
    key = cache.key_of(pictures, WANT, False)
    rooms = [cache.reserve(key, 1, (3, 8, 8), WANT) for _ in range(2)]
    for room in rooms:
        room.put(0, torch.ones(3, 8, 8, dtype=torch.uint8).numpy())
    kept = [room.close({0: 0}, {}) for room in rooms]
    assert kept[0].folder == kept[1].folder == entries(home)[0]
    assert len(entries(home)) == 1
    assert kept[1].stored[[0]].sum() == EACH


def test_what_was_used_last_stays(pictures, home, monkeypatch):
    """Room for three sets: the fourth takes the place of the one that was not read for longest."""
    kept = {}
    for size in (8, 9, 10):
        read(pictures, LoadOptions(size=size, channels=1))
        kept[size] = next(p for p in entries(home) if p not in kept.values())
        os.utime(kept[size] / "index.json", (size, size))
    read(pictures, LoadOptions(size=8, channels=1))
    held = sum(map(cache.weight, kept.values()))
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", str(held + 1000))
    read(pictures, LoadOptions(size=11, channels=1))
    assert kept[8] in entries(home), "it was read just now"
    assert kept[9] not in entries(home)
    assert sum(map(cache.weight, entries(home))) <= held + 1000 + 10_000, "an index is beyond what was reckoned with"


def test_without_room_there_is_one_sentence_and_the_same_pixels(pictures, home, monkeypatch, capsys):
    first = read(pictures, WANT)[0]
    emptied()
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", "1KB")
    for want in (WANT, WANT, STREAMED):
        assert torch.equal(read(pictures, want)[0][range(79)], first)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "decoded images are not cached: they take 0.0 GB and LIKEWISE_CACHE_LIMIT is" in said
    assert entries(home) == []


def test_a_cache_that_cannot_be_written(pictures, home, capsys):
    home.write_text("a file where the folder should be")
    pixels = read(pictures, WANT)[0]
    assert len(pixels) == len(read(pictures, WANT)[0]) == 79
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be written (File exists); set LIKEWISE_CACHE to a folder that can be" in said


def test_a_full_disk_says_so_beforehand(pictures, home, monkeypatch, capsys):
    monkeypatch.setattr(cache, "SPARE", 1 << 60)
    assert len(read(pictures, WANT)[0]) == 79
    assert "set LIKEWISE_CACHE to another" in capsys.readouterr().err


@pytest.mark.parametrize("want", [WANT, STREAMED])
@pytest.mark.parametrize("where", ["put", "close"])
def test_a_disk_that_fills_up_meanwhile(pictures, home, monkeypatch, capsys, want, where):
    plain = read(pictures, WANT)[0]
    emptied()
    real = cache.Room.__init__

    def onto_a_full_disk(room, *rest):
        real(room, *rest)
        room.file.close()
        room.file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115

    def no_close(*rest):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "put":
        monkeypatch.setattr(cache.Room, "__init__", onto_a_full_disk)
    else:
        monkeypatch.setattr(cache.Room, "close", no_close)
    assert torch.equal(read(pictures, want)[0][range(79)], plain)
    assert entries(home) == []
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_no_cache_at_all(pictures, home, monkeypatch, capsys):
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", "0")
    assert len(read(pictures, WANT)[0]) == 79
    assert entries(home) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("said", "size"), [("500MB", 5e8), ("2 gb", 2e9), ("1.5T", 1.5e12), ("7", 7), ("", cache.LIMIT), ("0", 0)]
)
def test_sizes_as_people_write_them(monkeypatch, said, size):
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", said)
    assert cache.limit() == size


@pytest.mark.parametrize("said", ["lots", "-1", "5 GiBs", "1e9x"])
def test_no_size(monkeypatch, said):
    monkeypatch.setenv("LIKEWISE_CACHE_LIMIT", said)
    with pytest.raises(ValueError, match="is a size such as 50GB or 500MB, or 0 for no cache; got"):
        read([b"x"], WANT)


def test_no_file_stays_open(pictures):
    held = LoadOptions(size=8, channels=3)
    read(pictures, held), read(pictures, STREAMED)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read(pictures, held)
        streamed = read(pictures, STREAMED)[0]
        streamed[[1, 2, 3]]
        emptied()
        read(pictures, STREAMED)
    assert len(os.listdir("/proc/self/fd")) == before


def test_rows_in_and_out_of_order(pictures):
    pixels = read(pictures, STREAMED)[0]
    stored = pixels.stored
    assert torch.equal(torch.from_numpy(stored.all()), pixels[range(79)])
    assert torch.equal(torch.from_numpy(stored.take([3, 1]).all()), pixels[[3, 1]])
    first = stored.take(range(5))
    assert torch.equal(torch.from_numpy(first.all()), pixels[range(5)])
    os.truncate(first.path, 4 * EACH)
    with pytest.raises(OSError, match="was cut short"):
        first.all()


def test_what_is_held_stays_when_its_file_is_cut_short(pictures, home):
    held = read(pictures[:40], WANT)[0]
    again = read(pictures[:40], WANT)[0]
    os.truncate(entries(home)[0] / "pixels", 0)
    assert torch.equal(held, again)
    assert held[:, 0, 0, 0].tolist() == list(range(40))


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "here"))
    assert cache_home() == tmp_path / "here"
    monkeypatch.delenv("LIKEWISE_CACHE")
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_home() == tmp_path / "users" / "likewise" / "decoded", "not among the data, which others may share"


def test_a_room_takes_nothing_after_its_end_and_tells_the_first_failure(tmp_path):
    def room(name: str) -> cache.Room:
        (tmp_path / name).mkdir()
        return cache.Room(tmp_path / name, cache.Key("0" * 32, "", ("a", "b", "c")), (1, 2, 2))

    ended = room("ended")
    ended.put(1, np.full((1, 2, 2), 7, np.uint8))
    ended.put(0, np.arange(4, dtype=np.uint8).reshape(1, 2, 2))
    assert (tmp_path / "ended" / "pixels").read_bytes() == bytes([0, 1, 2, 3, 7, 7, 7, 7])
    assert ended.sums == {0: zlib.crc32(bytes(range(4))), 1: zlib.crc32(bytes([7] * 4))}
    ended.file.close()
    ended.put(2, np.zeros((1, 2, 2), np.uint8))
    assert (set(ended.sums), ended.failed) == ({0, 1}, None)

    failed = room("failed")
    failed.failed = OSError("first")
    failed.put(0, np.zeros((1, 2, 2), np.uint8))
    assert not failed.sums
    with pytest.raises(OSError, match="first"):
        failed.close({0: 0}, {})
    failed.leave()
    assert not (tmp_path / "failed").exists()
