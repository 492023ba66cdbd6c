"""The run folder: whole files or none, checkpoints that give everything back."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.atomic import replacing
from likewise.experiment.checkpoint import flatten, unflatten
from likewise.experiment.folder import new_run
from likewise.experiment.run import Run
from likewise.experiment.train import default_name
from likewise.training.device import choose_device

NESTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(NESTS)
def test_any_state_comes_back_from_json(nest):
    tensors = {}
    assert unflatten(json.loads(json.dumps(flatten(nest, "", tensors))), tensors) == nest


def test_tensors_of_a_state_come_back():
    state = {"state": {0: {"step": torch.tensor(3.0), "list": [torch.arange(3), 1]}}, "name": "x"}
    tensors = {}
    back = unflatten(json.loads(json.dumps(flatten(state, "o.", tensors))), tensors)
    assert back["name"] == "x"
    assert torch.equal(back["state"][0]["list"][0], torch.arange(3))
    assert back["state"][0]["step"] == 3


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    made = []
    for _ in range(3):
        with new_run(tmp_path / "runs", "a") as run:
            run.write("recipe.toml", "")
        made.append(run.path.name)
    assert made == ["a", "a-2", "a-3"]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    run = Run(tmp_path)
    run.write("metrics.json", "first")
    with pytest.raises(ZeroDivisionError), replacing(run.metrics_file) as temporary:
        temporary.write_text(str(1 / 0))
    assert run.metrics_file.read_text() == "first"
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_a_log_cut_short_is_read_and_taken_back(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.append({"kind": "train", "step": step})
    with run.log.open("a") as log:
        log.write('{"kind": "tra')
    assert [r["step"] for r in run.records()] == [1, 2, 3]
    run.forget_after(2)
    assert [r["step"] for r in run.records()] == [1, 2]


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_no_run(tmp_path, there):
    path = tmp_path / "x"
    if there:
        path.mkdir()
    with pytest.raises(ValueError, match="so it is not a run; give a folder that `likewise train` made"):
        Run.open(path)


def test_scores_before_there_are_any(tmp_path):
    with pytest.raises(ValueError, match=r"has no metrics\.json yet; run `likewise evaluate"):
        Run(tmp_path).metrics()


def test_a_device_that_is_not_here():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
    for wrong in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match=f"'{wrong}' is not to be had here; try device=auto"):
            choose_device(wrong)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, the C library of Linux")
def test_freed_memory_is_kept_for_the_next_step():
    """64 MiB taken and freed again and again: the kernel clears them once, and not every time."""
    code = """
import resource, sys, torch
from likewise.malloc import keep_memory
keep_memory() if sys.argv[1] == "keep" else None
for _ in range(12): torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "leave")
    ]
    assert faults[1] - faults[0] > 8 * 32, "eight times 64 MiB, in the largest pages there are"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc, the C library of Linux")
def test_a_service_returns_what_it_freed():
    """The command line keeps memory; a service that it starts gives 64 MiB back to the system."""
    code = """
import os, sys, torch
from likewise.malloc import keep_memory, return_memory
keep_memory()
return_memory() if sys.argv[1] == "return" else None
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
torch.ones(16 << 20)
print(resident() - before)
"""
    grown = [
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("return", "keep")
    ]
    assert grown[0] < 16 << 20
    assert grown[1] > 48 << 20


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("fashion_mnist", "fashion-mnist"),
        ("tracking(every=2)", "tracking"),
        ("my_photos/one_two", "one-two"),
        ("t_1.csv", "t-1"),
    ],
)
def test_a_run_is_named_after_its_data(data, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_photos" / "one_two").mkdir(parents=True)
    (tmp_path / "t_1.csv").touch()
    assert default_name(SimpleNamespace(data=data)) == name
