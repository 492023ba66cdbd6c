"""1,000 mutated inputs of each format: a value or one sentence, no hang, bounded memory. More: benchmarks/fuzz.py."""

import pytest

from fuzzing import FORMATS, fuzz, targets

NAMES = ["recipe toml", "recipe json", "spec", "ground truth", "csv table", "pairs csv", "pairs lfw", "yaml", "npz"]
NAMES += ["idx plain", "idx gzip", "parquet embeddings", "parquet pairs", "model.json", "model.safetensors"]
NAMES += ["metrics.json", "metrics.jsonl", "checkpoint", "gallery", *(f"image {name}" for name in FORMATS)]


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_is_fuzzed(every):
    assert sorted(every) == sorted(NAMES)


@pytest.mark.parametrize("count", [150, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_are_read_or_refused(every, name, count):
    result = fuzz(every[name], count)
    assert result.wrong == []
    assert result.inputs == count
    assert result.grown < 1 << 30
    assert result.read < count, "no input was changed in a way that matters"


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_are_read(every, name):
    """A mutation of what is refused anyway would show nothing."""
    target = every[name]
    for seed in target.seeds:
        (target.folder / target.name).parent.mkdir(parents=True, exist_ok=True)
        (target.folder / target.name).write_bytes(seed)
        target.read(target.folder / target.name)
