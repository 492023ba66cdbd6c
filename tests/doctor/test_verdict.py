"""The verdict: a table of facts and what follows from them."""

import shlex

import pytest

from likewise.doctor.verdict import GRADES, Facts, Gain, Leak, Measured, Problem, verdict_on
from likewise.experiment.verdict import leak_of, settings_in

KNN = Measured("knn@1", 0.95, 0.93, 0.97, 400)
PAIRS = Measured("pair_accuracy", 0.94, 0.92, 0.96, 4000)
BETTER = Gain("Training made it better than raw pixels: knn@1 0.95 against 0.80", 0.15, better=True, worse=False)
SAME = Gain("Training is not beyond doubt better than raw pixels", 0.0, False, False, settings=("epochs=30",))
WORSE = Gain("Training made it worse than raw pixels", -0.1, False, True, settings=("lr=0.0001",))
RISEN = Gain("Training is not beyond doubt better, while map@r rose by 0.4", 0.0, False, False, elsewhere="map@r")

# what is measured, the grade, the name of the strongest reason, what its sentence holds, the first command's beginning
TABLE = [
    ({}, "good", "trained", "knn@1 0.9500 (0.9300 – 0.9700)", "likewise audit runs/a"),
    ({"gain": BETTER}, "good", "trained", "against 0.80", "likewise audit runs/a"),
    ({"audited": True}, "good", "trained", "knn@1", "likewise explore runs/a"),
    ({"gain": SAME}, "doubtful", "training-unproven", "raw pixels", "likewise train runs/a/recipe.toml epochs=30"),
    ({"gain": WORSE}, "bad", "training-harmed", "worse", "likewise train runs/a/recipe.toml lr=0.0001 --name a-2"),
    ({"gain": RISEN}, "good", "trained", "knn@1", "likewise audit"),
    ({"gain": RISEN._replace(difference=-0.01)}, "doubtful", "training-unproven", "rose by 0.4" , "likewise doctor"),
    ({"pairs": PAIRS._replace(value=0.51, low=0.49)}, "bad", "guessing", "is guessing (0.5)", "likewise doctor"),
    ({"pairs": PAIRS._replace(value=0.53, low=0.52)}, "bad", "guessing", "0.5300", "likewise doctor"),
    ({"pairs": PAIRS._replace(value=0.65, low=0.62)}, "doubtful", "weak-pairs", "35% of the pairs", "likewise doctor"),
    ({"pairs": PAIRS._replace(value=0.51, low=0.4), "gain": SAME}, "bad", "guessing", "0.51", "likewise train"),
    ({"pairs": None, "auc": Measured("pair_auc", 0.51, 0.45, 0.6, 99)}, "bad", "guessing", "pair_auc 0.51", "likewise"),
    ({"auc": Measured("pair_auc", 0.51, 0.45, 0.6, 99)}, "good", "trained", "knn@1", "likewise audit"),
    ({"chance": 0.94}, "bad", "guessing", "most frequent class (0.9400)", "likewise doctor"),
    ({"chance": 1.0}, "good", "trained", "knn@1", "likewise audit"),
    ({"leak": Leak(84, 200, "by_scene")}, "bad", "leakage", "84 of 200 held-out images (42.0%)", "likewise train"),
    ({"leak": Leak(40, 200)}, "bad", "leakage", "mostly of known images", "likewise audit runs/a"),
    ({"leak": Leak(39, 200)}, "doubtful", "leakage", "somewhat too good", "likewise audit runs/a"),
    ({"leak": Leak(39, 200), "audited": True}, "doubtful", "leakage", "somewhat", "likewise explore runs/a"),
    ({"leak": Leak(10, 200)}, "doubtful", "leakage", "10 of 200", "likewise audit"),
    ({"leak": Leak(9, 200)}, "good", "trained", "knn@1", "likewise audit"),
    ({"leak": Leak(1, 20)}, "good", "trained", "knn@1", "likewise audit"),
    ({"leak": Leak(3, 4000)}, "good", "trained", "knn@1", "likewise audit"),
    ({"leak": Leak(50, 100, sample=True)}, "bad", "leakage", "50 of 100 images checked", "likewise audit"),
    ({"problems": (Problem("hard-pairs", "all at one point"),)}, "bad", "hard-pairs", "one point", "likewise doctor"),
    ({"problems": (Problem("few-steps", "6 steps", ("epochs=200",)),)}, "doubtful", "few-steps", "6 steps",
     "likewise train runs/a/recipe.toml epochs=200 --name a-2"),
    ({"suspects": (30, 400)}, "doubtful", "labels", "30 of 400 labels (7.5%)", "likewise explore"),
    ({"suspects": (3, 400)}, "good", "trained", "knn@1", "likewise audit"),
    ({"score": KNN._replace(low=0.70, n=20)}, "doubtful", "few-images", "20 held-out images", "likewise compare"),
    ({"ece": Measured("ece", 0.2, 0.15, 0.25, 900)}, "doubtful", "calibration", "off by 20 points", "likewise train"),
    ({"ece": Measured("ece", 0.03, 0.0, 0.05, 900)}, "good", "trained", "knn@1", "likewise audit"),
    ({"score": None, "pairs": None}, "doubtful", "no-scores", "no scores", "likewise evaluate"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "grade", "name", "text", "command"), TABLE)
def test_what_follows_from_the_facts(changes, grade, name, text, command):
    facts = Facts(**({"run": "runs/a", "score": KNN, "pairs": PAIRS} | changes))
    found = verdict_on(facts)
    assert (found.grade, found.name) == (grade, name)
    assert text in found.reason
    assert found.commands[0].startswith(command)
    assert len(set(found.commands)) == 2


def test_the_gravest_reason_decides_and_the_others_are_listed():
    facts = Facts("runs/a", KNN, pairs=PAIRS, gain=WORSE, leak=Leak(20, 200), ece=Measured("ece", 0.2, 0.1, 0.3, 9))
    found = verdict_on(facts)
    assert (found.grade, found.name) == ("bad", "training-harmed")
    assert ["near-copy" in found.further[0], "probabilities" in found.further[1]] == [True, True]
    assert found.to_dict()["grade"] in GRADES


def test_caveats_are_listed_and_decide_nothing():
    found = verdict_on(Facts("runs/a", KNN, caveats=("recall@1 is of bursts",)))
    assert (found.grade, found.further) == ("good", ("recall@1 is of bursts",))


def test_commands_hold_a_folder_with_blanks_as_one_word():
    found = verdict_on(Facts("my runs/a b", KNN, gain=SAME))
    assert shlex.split(found.commands[0])[2:] == ["my runs/a b/recipe.toml", "epochs=30", "--name", "a b-2"]


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        ("lower lr from 0.1 to 0.001, or use pick='semihard' before 'hard'", ("lr=0.001",)),
        ("raise lr from 1e-06 to 0.001, and check that the weights are not frozen", ("lr=0.001",)),
        ("restart with clip=1.0, and lower lr from 0.5 to 0.05", ("lr=0.05",)),
        ("lr=0 leaves the weights as they are; give lr=0.002", ("lr=0.002",)),
        ("train longer, epochs=9, or faster, lr=0.03", ("epochs=9",)),
        ("start from these weights: network=a weights=b size=96", ("network=a", "weights=b", "size=96")),
        ("draw several classes: sampler='pk(classes=10, images=12)'", ("sampler=pk(classes=10, images=12)",)),
        ("draw validation by groups: split='by_group(val=0.1)'", ("split=by_group(val=0.1)",)),
        ("use pick='semihard' first", ()),
        ("check that the labels match the images", ()),
    ],
)
def test_settings_that_a_remedy_names(change, settings):
    assert settings_in(change) == settings


def test_an_audit_counts_more_than_the_look_at_a_sample():
    looked = [{"part": "test", "other": "train", "copies": 60, "checked": 100, "split": "by_scene"}]
    assert leak_of({"split": "test", "near_copies": looked}) == Leak(60, 100, "by_scene", sample=True)
    assert leak_of({"split": "val", "near_copies": looked}) is None
    audited = {"images": 900, "held_out": 300, "leaked": 1, "suspects": 0, "split": ""}
    assert leak_of({"split": "test", "near_copies": looked, "audit": audited}) == Leak(1, 300)
    assert leak_of({"split": "test", "near_copies": looked, "audit": audited | {"leaked": None}}) is None
