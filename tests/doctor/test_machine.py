"""The doctor of machines: what is read from texts of systems, and what is said of made-up machines."""

import json
import sys
from dataclasses import replace

import pytest

from likewise.cli import main
from likewise.doctor import probe
from likewise.doctor.machine import (
    GIB,
    Gpu,
    Machine,
    advice,
    cores_allowed,
    instruction_sets,
    lines,
    memory_of,
    openmp_threads,
    processor_of,
)

FINE = Machine(
    system="Linux",
    processor="AMD EPYC",
    cores=8,
    usable=8,
    instructions=("AVX2", "AVX512"),
    torch_threads=8,
    openmp_threads=8,
    load=0.5,
    memory=32 * GIB,
    memory_free=20 * GIB,
    folder="/home/somebody",
    disk=500 * GIB,
    disk_free=100 * GIB,
)
CARD = Gpu("NVIDIA H200", 140 * GIB, 139 * GIB)
TAKEN = Gpu("NVIDIA H200", 140 * GIB, 3 * GIB)


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2 avx512f avx512dq amx_tile\n", ("AVX2", "AVX512", "AMX")),
        ("flags\t\t: fpu avx2\n\nflags\t\t: fpu\n", ("AVX2",)),
        ("flags: fpu sse2 avx\n", ()),
        ("vmx flags\t: avx2\nflags\t: fpu\n", ()),
        ("processor : 0\nFeatures : fp asimd\n", None),  # ARM
        ("", None),
    ],
)
def test_instruction_sets(cpuinfo, found):
    assert instruction_sets(cpuinfo) == found


def test_the_processor_has_its_model_name():
    assert processor_of("processor : 0\nmodel name\t: AMD EPYC 9554 \nmodel name\t: other\n") == "AMD EPYC 9554"
    assert processor_of("Features : fp") == ""


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("max 100000", None),
        ("150000 100000\n", 1.5),
        ("400000 100000", 4.0),
        ("", None),
        ("0 100000", None),
        ("1 0", None),
        ("-1 100000", None),
    ],
)
def test_the_quota_of_a_container(cpu_max, cores):
    assert cores_allowed(cpu_max) == cores


MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"


@pytest.mark.parametrize(
    ("texts", "total", "free"),
    [
        ((MEMINFO,), 16, 8),
        ((MEMINFO, "max", "5"), 16, 8),
        ((MEMINFO, str(4 * GIB), str(1 * GIB)), 4, 3),
        ((MEMINFO, str(12 * GIB), str(1 * GIB)), 12, 8),
        ((MEMINFO, str(2 * GIB), str(3 * GIB)), 2, 0),
        ((MEMINFO, "9223372036854771712", "1"), 16, 8),
        (("", "9223372036854771712", "1"), None, None),
        (("", str(4 * GIB), str(1 * GIB)), 4, 3),
        ((MEMINFO, str(4 * GIB), "unknown"), 4, 8),
        (("",), None, None),
    ],
)
def test_memory_is_that_of_the_container(texts, total, free):
    assert memory_of(*texts) == tuple(None if x is None else x * GIB for x in (total, free))


def test_the_threads_of_openmp():
    assert openmp_threads("ATen\n\tomp_get_max_threads() : 12\n") == 12
    assert openmp_threads("ATen parallel backend: native thread pool") is None


@pytest.mark.parametrize(
    ("change", "names", "setting"),
    [
        ({}, [], ""),
        ({"load": 7.5}, ["busy-cores"], "OMP_NUM_THREADS=1"),
        ({"load": 7.5, "torch_threads": 1}, ["busy-cores"], "wait"),
        ({"load": None, "torch_threads": 8}, [], ""),
        ({"usable": 2}, ["too-many-threads"], "OMP_NUM_THREADS=2"),
        ({"usable": 1}, ["too-many-threads"], "OMP_NUM_THREADS=1"),
        ({"usable": 2, "load": 30.0}, ["busy-cores", "too-many-threads"], "OMP_NUM_THREADS=1"),
        ({"torch_threads": 1}, ["idle-cores"], "OMP_NUM_THREADS=8"),
        ({"instructions": ()}, ["no-avx2"], "virtual machine"),
        ({"instructions": None}, [], ""),
        ({"memory_free": GIB}, ["little-memory"], "accumulate=4"),
        ({"memory_free": None}, [], ""),
        ({"disk_free": 0}, ["little-disk"], "--out"),
        ({"gpu_unused": True}, ["unused-gpu"], "CUDA"),
        ({"gpus": (CARD,)}, [], ""),
        ({"gpus": (TAKEN,)}, ["shared-gpu"], "wait"),
        ({"gpus": (TAKEN, CARD)}, ["shared-gpu"], "CUDA_VISIBLE_DEVICES=1"),
        # each bound, and just below it
        ({"load": 6.0}, ["busy-cores"], "OMP_NUM_THREADS=1"),
        ({"load": 5.9}, [], ""),
        ({"memory_free": 2 * GIB}, [], ""),
        ({"memory_free": 2 * GIB - 1}, ["little-memory"], "smaller batch"),
        ({"disk_free": 5 * GIB}, [], ""),
        ({"disk_free": 5 * GIB - 1}, ["little-disk"], "LIKEWISE_CACHE"),
        ({"gpus": (Gpu("T4", 16 * GIB, 8 * GIB),)}, [], ""),
        ({"gpus": (Gpu("T4", 16 * GIB, 8 * GIB - 1),)}, ["shared-gpu"], "wait"),
    ],
)
def test_what_is_said_of_a_machine(change, names, setting):
    found = advice(replace(FINE, **change))
    assert [finding.name for finding in found] == names
    assert not names or setting in found[0].change
    assert all("\n" not in str(finding) for finding in found)


def test_one_line_for_each_fact():
    unknown = replace(FINE, instructions=None, openmp_threads=None, load=None, memory=None, memory_free=None)
    shown = "\n".join(lines(unknown))
    assert shown.count("unknown") == 5
    assert "8 of 8 cores usable" in shown
    assert "NVIDIA H200, 139.0 GiB free of 140.0 GiB" in "\n".join(lines(replace(FINE, gpus=(CARD,))))


def test_this_machine(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    here = probe.probe(tmp_path)
    assert 1 <= here.usable <= here.cores
    assert 0 < here.disk_free <= here.disk
    assert here.folder == str(tmp_path.resolve())
    for words in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["likewise", "doctor", "--machine", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "instructions  " in told
    assert json.loads(told[told.index("{") :])["machine"]["cores"] == here.cores


@pytest.mark.parametrize("words", [[], ["runs/x", "--machine"]])
def test_a_run_or_the_machine(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["likewise", "doctor", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "doctor takes a run folder or --machine" in capsys.readouterr().err


def test_the_quota_limits_the_usable_cores(monkeypatch):
    monkeypatch.setattr(probe, "text", lambda path: "50000 100000" if path.name == "cpu.max" else "")
    assert probe.usable_cores() == 1
