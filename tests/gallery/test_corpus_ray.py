"""Embedding a corpus with Ray: the rows of one process, whatever happens to a worker; runs where ray is installed."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from colours import coloured
from likewise.cli import main
from likewise.gallery import corpus_ray
from likewise.gallery.corpus import CorpusError, embed_corpus
from live import write_model

MEAN = 8
HERE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
needs_ray = [
    pytest.mark.slow,
    pytest.mark.system,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: make .venv/ray"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(1200),
]


def test_without_ray_the_error_names_the_install_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[ray\]'"):
        corpus_ray.imported()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


class Context:
    enable_progress_bars = True

    @classmethod
    def get_current(cls):
        return cls


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What ray.init of a made-up Ray was told."""
    calls: list[dict] = []
    data = SimpleNamespace(DataContext=Context)
    fake = SimpleNamespace(
        data=data, is_initialized=lambda: bool(calls), init=lambda **given: calls.append(given),
        shutdown=lambda: calls.append({"shut": "down"}),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    return calls


@pytest.mark.parametrize(
    ("address", "workers", "alone", "how"),
    [
        ("", 3, "0", {"address": "local", "num_cpus": 3, "include_dashboard": False}),
        ("", 0, "0", {"address": "local", "num_cpus": None, "include_dashboard": False}),
        ("10.0.0.5:6379", 3, None, {}),
    ],
)
def test_a_cluster_of_this_machine_listens_on_it_alone_and_another_is_joined(
    told, monkeypatch, address, workers, alone, how
):
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    ray = corpus_ray.imported()
    assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == alone
    with corpus_ray.started(ray, workers):
        assert not Context.enable_progress_bars
        with corpus_ray.started(ray, workers):  # one that runs already is used
            pass
    assert Context.enable_progress_bars
    assert told == [how | {"logging_level": "ERROR", "log_to_driver": False}, {"shut": "down"}]


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no engine 'rai'; did you mean ray"):
        embed_corpus(tmp_path, [tmp_path], tmp_path / "a.parquet", engine="rai")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An ONNX model, so that workers need no torch."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """60 images in three folders."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(60):
        (folder / str(i % 3)).mkdir(exist_ok=True)
        (folder / str(i % 3) / f"{i:02}.png").write_bytes(coloured((4 * i, 250 - 4 * i, 100), i))
    return folder


@pytest.fixture(scope="module")
def cluster():
    """One cluster for the tests of this file, of two workers."""
    ray = corpus_ray.imported()
    with corpus_ray.started(ray, 2):
        yield ray


class TestWithRay:
    pytestmark = needs_ray

    def test_two_workers_give_the_rows_of_one_process(self, cluster, tmp_path, model, pictures):
        (tmp_path / "bad.png").write_bytes(b"no image")
        given = [pictures, tmp_path / "bad.png"]
        one = embed_corpus(model, given, tmp_path / "one.parquet", by_folder=True, mean=MEAN)
        two = embed_corpus(model, given, tmp_path / "two.parquet", engine="ray", workers=2, by_folder=True, mean=MEAN)
        assert pq.read_table(one.file).equals(pq.read_table(two.file))
        assert [name for name, _ in two.skipped] == [str(tmp_path / "bad.png")]
        assert two.parts == one.parts > 3
        assert not (tmp_path / "two.parquet.parts").exists()

    def test_what_is_there_is_not_embedded_again(self, cluster, tmp_path, model, pictures):
        first = embed_corpus(model, [pictures], tmp_path / "out", workers=1, mean=MEAN)
        next((tmp_path / "out" / "parts").glob("*.parquet")).unlink()
        again = embed_corpus(model, [pictures], tmp_path / "out", engine="ray", mean=MEAN)
        assert again.reused == first.parts - 1

    def test_a_killed_worker_is_replaced(self, cluster, tmp_path, model, pictures):
        killed: list[int] = []

        def progress(done: int, total: int) -> None:
            if done and not killed:
                killed.extend(workers()[:1])
                os.kill(killed[0], signal.SIGKILL)

        made = embed_corpus(
            model, [pictures], tmp_path / "a.parquet", engine="ray", workers=2, mean=4, progress=progress
        )
        assert killed
        plain = embed_corpus(model, [pictures], tmp_path / "b.parquet", mean=4)
        assert pq.read_table(made.file).equals(pq.read_table(plain.file))

    def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(self, cluster, tmp_path, model, pictures):
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", disk], check=False).returncode:
            pytest.skip("needs the right to mount a small disk")
        try:
            with pytest.raises(CorpusError, match="the disk is full; free some space and call again"):
                embed_corpus(model, [pictures], disk / "a.parquet", engine="ray", workers=2, mean=4)
            assert not (disk / "a.parquet").exists()
            subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
            made = embed_corpus(model, [pictures], disk / "a.parquet", engine="ray", workers=2, mean=4)
            assert made.images == 60
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_nothing_listens_beyond_this_machine(self, cluster):
        mine = {inode for process in family() for inode in sockets(process)}
        assert mine
        for version in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{version}").read_text().splitlines()[1:]:
                _, own, remote, state, *_, inode = line.split()[:10]
                if inode in mine and state in ("01", "0A"):  # connected, listening
                    assert address(remote if state == "01" else own) in HERE, line


def family() -> list[int]:
    """The processes of Ray: those whose command or parent says so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"raylet" in words or b"gcs_server" in words or words.startswith(b"ray::"):
            found.append(int(folder.name))
    return found


def sockets(process: int) -> set[str]:
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def address(text: str) -> str:
    """An address of /proc/net/tcp, whose words of 32 bits are in the machine's order."""
    raw = bytes.fromhex(text.partition(":")[0])
    words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


def workers() -> list[int]:
    """The processes that embed."""
    for _ in range(1000):
        found = []
        for process in family():
            try:
                if b"Map(Embed)" in Path(f"/proc/{process}/cmdline").read_bytes():
                    found.append(process)
            except OSError:
                continue
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("no worker embeds")


def test_the_command_asks_for_images(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["likewise", "embed", "runs/x", "--engine", "ray"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "with images or folders of them" in capsys.readouterr().err
