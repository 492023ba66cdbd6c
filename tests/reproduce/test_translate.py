"""EmbeddingNet's configurations: each generation becomes a recipe, and no key is passed over in silence."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.experiment.recipe import Recipe
from likewise.reproduce.translate import translate
from likewise.reproduce.translate_rules import RULES
from likewise.reproduce.translation import DIFFERS, MAPPED, REFUSED
from likewise.spec import SpecError

OF_2019 = """
input_shape: [48, 48, 3]
encodings_len: 256
margin: 0.4
mode: triplet
distance_type: l1
backbone: simple2
backbone_weights: null
optimizer: radam
learning_rate: 0.0001
project_name: road_signs
freeze_backbone: false
augmentation_type: default
embeddings_normalization: true
dataset_path: signs/
tensorboard_log_path: tf_log/
weights_save_path: weights/
plots_path: plots/
encodings_path: encodings/
model_save_name: best
"""
OF_JANUARY = """
input_shape: [128, 128, 3]
encodings_len: 64
mode: siamese
distance_type: l2
margin: 0.7
backbone: resnet18
backbone_weights: imagenet
freeze_backbone: true
optimizer: rms_prop
learning_rate: 0.001
decay_factor: 0.1
step_size: 5
n_epochs: 20
n_steps_per_epoch: 500
val_batch_size: 8
val_steps: 100
to_validate: true
negatives_selection_mode: hardest
mining_n_classes: 20
mining_n_samples: 3
softmax_pretraining: true
softmax_epochs: 4
softmax_batch_size: 32
softmax_is_binary: false
work_dir: work_dirs/
min_n_obj_per_class: 5
select_max_n_obj_per_class: 100
max_n_obj_per_class: 10000
save_encodings: true
centers_only: false
max_num_samples_of_each_class: 30
knn_k: 1
"""
OF_AUGUST = """
MODEL:
  input_shape: [48, 48, 3]
  encodings_len: 256
  mode: triplet
  backbone_name: efficientnet-b1
  backbone_weights: noisy-student
  freeze_backbone: false
  embeddings_normalization: true
DATALOADER:
  dataset_path: signs/
  train_csv_file: train.csv
  val_csv_file: val.csv
  image_id_column: file
  label_column: sign
  val_ratio: 0.2
GENERATOR:
  negatives_selection_mode: random_hard
  k_classes: 20
  k_samples: 3
  margin: 0.5
  n_batches: 500
  augmentations: plates
TRAIN:
  optimizer: lamb
  learning_rate: 0.001
  decay_factor: 0.1
  step_size: 5
  n_epochs: 20
SOFTMAX_PRETRAINING:
  n_epochs: 3
  learning_rate: 0.001
ENCODINGS:
  knn_k: 1
GENERAL:
  project_name: apollo
  wandb_callback: true
  favourite_colour: blue
"""
ALL = {"2019": OF_2019, "2020-01": OF_JANUARY, "2020-08": OF_AUGUST}


@pytest.mark.parametrize("generation", ALL)
def test_contract(generation):
    """A recipe that holds together, its generation, and one line for every key."""
    text = ALL[generation]
    found = translate(text)
    assert isinstance(found.recipe, Recipe)
    assert found.generation == generation
    keys = [line for line in text.splitlines() if ":" in line and not line.rstrip().endswith(":")]
    extra = 1 if "SOFTMAX_PRETRAINING" in text else 0  # that there is such a section says that the stage is wanted
    assert len(found.lines) == len(keys) + extra
    assert all(line.why for line in found.lines if line.kind in (DIFFERS, REFUSED))
    assert Recipe.from_toml(found.recipe.to_toml()) == found.recipe


def test_2019():
    found = translate(OF_2019)
    r = found.recipe
    assert (r.size, r.channels, r.network, r.dim, r.data) == (48, 3, "simple2", 256, "signs/")
    assert (r.loss, r.sim) == ("triplet(margin=0.4, pick='semihard')", "sqeuclidean")
    assert (r.sampler, r.normalize) == ("pk(classes=2, images=4)", True)
    assert (r.optimizer, r.lr, found.name) == ("radam", 1e-4, "road_signs")
    kinds = {line.key: line.kind for line in found.lines}
    assert kinds["augmentations"] == DIFFERS, "it never ran in theirs"
    assert "augmentation_type" in {line.written for line in found.lines}, "by the name that it was written under"
    assert kinds["distance_type"] == REFUSED, "it is of the siamese mode"


def test_january_2020():
    found = translate(OF_JANUARY)
    r, kinds = found.recipe, {line.key: line.kind for line in found.lines}
    assert (r.loss, r.sim) == ("contrastive(margin=1.0)", "euclidean")
    assert (r.network, r.head, r.weights, r.frozen_epochs) == ("timm:resnet18", "projection(hidden=32)", "", -1)
    assert (r.optimizer, r.schedule, r.epochs) == ("rmsprop", "step(steps=4, factor=0.1)", 20)
    assert (r.pretrain_epochs, r.min_per_class, r.max_per_class) == (4, 5, 100)
    assert kinds["margin"] == DIFFERS, "theirs was 1 whatever was written"
    assert kinds["k_classes"] == REFUSED
    assert kinds["n_epochs"] == DIFFERS, "an epoch there was so many batches"
    assert kinds["max_n_obj_per_class"] == REFUSED, "it left out large classes, and did not cut them down"
    assert kinds["freeze_backbone"] == DIFFERS
    ours = {line.key: line.ours for line in found.lines}
    assert ours["max_num_samples_of_each_class"] == "likewise embed RUN --most-per-class 30"
    assert ours["centers_only"] == "likewise embed RUN"


def test_the_keys_of_a_softmax_stage():
    """Taken where the stage is asked for, refused with the reason where not, and its own settings in either case."""
    lines = {line.key: line for line in translate(OF_JANUARY + "\nsoftmax_learning_rate: 0.1").lines}
    stage = {key.removeprefix("softmax."): line for key, line in lines.items() if key.startswith("softmax.")}
    refused = {key: line.why for key, line in stage.items() if line.kind == REFUSED}
    assert set(stage) - set(refused) >= {"wanted", "n_epochs"}
    assert refused
    assert set(refused.values()) == {"the softmax stage uses the recipe's settings"}
    off = OF_JANUARY.replace("softmax_pretraining: true", "softmax_pretraining: false")
    found = translate(off)
    refused = {line.key: line.why for line in found.lines if line.key.startswith("softmax.") and line.kind == REFUSED}
    assert set(refused) >= {"softmax.n_epochs"}
    assert set(refused.values()) == {"no softmax stage is enabled"}
    assert found.recipe.pretrain_epochs == 0


def test_each_positive_has_its_hardest_negative():
    """Theirs looked for the nearest negative of every positive, not of the farthest one alone."""
    found = translate("mode: triplet\nnegatives_selection_mode: hardest\nmargin: 0.3").recipe
    assert (found.loss, found.miner) == ("triplet(margin=0.3, pick='all')", "nearest(k=1)")
    assert translate("mode: triplet\nnegatives_selection_mode: semihard").recipe.miner == ""


@pytest.mark.parametrize("backbone", ["simple", "simple2"])
def test_their_own_networks_start_from_nothing_and_are_trained(backbone):
    """Their configurations say imagenet and freeze, and their code heeds neither for these two."""
    text = f"input_shape: [105, 105, 3]\nbackbone: {backbone}\nbackbone_weights: imagenet\nfreeze_backbone: true"
    found = translate(text)
    assert (found.recipe.weights, found.recipe.frozen_epochs) == ("", 0)
    assert {line.key for line in found.lines if line.kind == DIFFERS} == {"backbone_weights", "freeze_backbone"}


def test_august_2020():
    found = translate(OF_AUGUST)
    r, kinds = found.recipe, {line.key: line.kind for line in found.lines}
    assert r.network == "timm:tf_efficientnet_b1.ns_jft_in1k"
    assert r.loss == "triplet(margin=0.5, pick='random-hard')"
    assert r.sampler == "pk(classes=20, images=3)"
    assert r.data == "table(path='train.csv', image='file', label='sign', root='signs/')"
    assert (r.optimizer, r.val, r.pretrain_epochs) == ("sgd", 0.2, 3)
    assert kinds["optimizer"] == DIFFERS
    assert kinds["favourite_colour"] == kinds["wandb_callback"] == kinds["val_csv_file"] == REFUSED
    assert kinds["learning_rate"] == MAPPED
    written = {line.key: line.written for line in found.lines}
    assert (written["k_classes"], written["softmax.n_epochs"]) == (
        "GENERATOR.k_classes",
        "SOFTMAX_PRETRAINING.n_epochs",
    )
    assert written["softmax.wanted"] == "SOFTMAX_PRETRAINING"


def test_small_pictures_are_enlarged_for_kochs_network():
    found = translate(
        "input_shape: [48, 32, 1]\nbackbone: simple\nencodings_len: 100\nmode: siamese\ndistance_type: l1"
    )
    assert (found.recipe.size, found.recipe.network, found.recipe.dim) == (105, "koch(width=100, activation='relu')", 0)
    assert found.recipe.loss == "siamese_bce()"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not valid YAML"),
        ("- a\n- b", "keys and values"),
        ("", "keys and values"),
        ("mode: quadruplet", "mode is siamese or triplet, got 'quadruplet'"),
        ("input_shape: 48", r"input_shape is \[height, width, channels\], got 48"),
        ("input_shape: [4, 4, 7]", "1 or 3 channels"),
        ("mode: triplet\nmargin: wide", "margin is a number, got 'wide'"),
        ("learning_rate: 1e-4", "learning_rate is a number, got '1e-4'"),
        ("negatives_selection_mode: easy", "negatives_selection_mode is semihard, hardest, random_hard"),
        ("encodings_len: -3", "dim"),
    ],
)
def test_what_cannot_be_read_is_said(text, sentence):
    with pytest.raises(SpecError, match=sentence):
        translate(text)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 500), st.floats(allow_nan=False), st.text(max_size=8))


@given(st.dictionaries(st.sampled_from(sorted(RULES)), st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=6))
def test_any_values_give_a_recipe_or_a_sentence(config):
    try:
        found = translate(json.dumps(config) if config else "mode: triplet")
    except SpecError:
        return
    assert {line.key for line in found.lines} >= set(config)


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    (tmp_path / "signs.yml").write_text(OF_AUGUST)
    call = [sys.executable, "-m", "likewise", "translate", str(tmp_path / "signs.yml")]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not taken over: GENERAL.favourite_colour: blue (no such key is known" in done.stdout
    assert f"likewise train {tmp_path / 'signs.toml'} --name apollo" in done.stdout
    assert Recipe.load(tmp_path / "signs.toml") == translate(OF_AUGUST).recipe
    wrong = subprocess.run([*call[:-1], str(tmp_path / "none.yml")], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "cannot read" in wrong.stderr
