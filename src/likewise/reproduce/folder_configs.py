"""Minimal EmbeddingNet configurations of each generation, and their translation."""

from collections.abc import Sequence
from importlib.util import find_spec

from likewise.extras import install_line
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section
from likewise.reproduce.translate import translate
from likewise.reproduce.translation import DIFFERS, MAPPED, REFUSED

__all__ = ["CONFIGS", "of_configs"]

CONFIGS = {
    "2019": """\
input_shape: [48, 48, 3]
encodings_len: 1024
mode: triplet
distance_type: l1
backbone: simple2
backbone_weights: imagenet
freeze_backbone: true
optimizer: radam
learning_rate: 0.0001
augmentation_type: default
embeddings_normalization: true
dataset_path: signs/
encodings_path: encodings/
""",
    "January 2020": """\
input_shape: [48, 48, 3]
encodings_len: 256
margin: 0.5
mode: triplet
backbone: resnet18
backbone_weights: imagenet
min_n_obj_per_class: 30
select_max_n_obj_per_class: 30
max_n_obj_per_class: 10000
learning_rate: 0.0001
decay_factor: 0.99
step_size: 1
n_epochs: 1000
n_steps_per_epoch: 200
negatives_selection_mode: semihard
mining_n_classes: 5
mining_n_samples: 3
softmax_pretraining: true
softmax_epochs: 10
softmax_steps_per_epoch: 800
centers_only: false
max_num_samples_of_each_class: 30
knn_k: 1
""",
    "August 2020": """\
MODEL:
  input_shape: [48, 48, 3]
  mode: siamese
  distance_type: l1
  backbone_name: efficientnet-b0
  backbone_weights: noisy-student
DATALOADER:
  dataset_path: signs/
  train_csv_file: train.csv
  val_csv_file: val.csv
  image_id_column: file_path
  label_column: class_name
GENERATOR:
  k_classes: 10
  batch_size: 8
  augmentations: plates
TRAIN:
  optimizer: radam
  decay_factor: 0.99
  step_size: 1
  n_epochs: 1000
GENERAL:
  gpu_ids: [0]
  wandb_callback: true
""",
}


def of_configs(section: Section, experiment: Experiment) -> None:
    """Translates a minimal configuration of each generation."""
    if find_spec("yaml") is None:
        experiment.say(f"PyYAML is not installed, so the configurations are left out; {install_line('yaml')}")
        return
    section.say("### Their configurations")
    section.say(
        "`likewise translate config.yml` reads all three generations, writes a recipe and reports how each key was "
        "translated. A minimal configuration of each:"
    )
    for generation, text in CONFIGS.items():
        lines = translate(text).lines
        rows = [
            [f"`{line.written}: {line.value}`", line.kind, line.ours and f"`{line.ours}`", line.why] for line in lines
        ]
        counts = ", ".join(f"{sum(line.kind == kind for line in lines)} {kind}" for kind in (MAPPED, DIFFERS, REFUSED))
        section.say(f"**{generation}**: {counts}.", as_text(["theirs", "", "ours", "because"], rows))


def as_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are all text."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
