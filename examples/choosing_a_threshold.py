# %% [markdown]
# # Choosing a threshold
#
# Are two images of one class? A threshold on their similarity decides. Too low, and different classes are accepted
# (false accepts); too high, and the same class is rejected (false rejects). You say which error you can bear, and
# validation images choose the threshold. Test images only measure it.

# %%
from PIL import Image

import likewise
from likewise import api

# %% [markdown]
# ## Train
#
# The validation part chooses the threshold, the test part measures it; no image is in both.

# %%
recipe = likewise.load_recipe("digits").replace(epochs=6, val=0.25)
run = likewise.train(recipe, out="runs", name="threshold")
eer = run.scores()["eer"]
print(f"equal error rate {eer.value:.3f} ({eer.low:.3f} to {eer.high:.3f})")

# %% [markdown]
# ## A threshold for each wish
#
# `far=0.01` accepts at most 1 % of different validation pairs, `far=0.1` at most 10 %. A strict threshold rejects more
# pairs of one class. What the test pairs then show is measured, not set, so it may be a little above the wish.

# %%
pairs = "pairs.csv"
written = api.make_pairs(run.path, pairs, per_class=200)
print(f"{written['roles']} pairs of test images")
for target in ("far=0.1", "far=0.01", "far=0.001"):
    rates = api.evaluate_pairs(run.path, pairs, threshold_at=target)["error_rates"][0]
    accepted, rejected = rates["far"]["value"], rates["frr"]["value"]
    print(f"{target:10} similarity from {rates['threshold']:.3f}", end=": ")
    print(f"false accepts {accepted:.4f}, false rejects {rejected:.4f}")

# %% [markdown]
# ## Decide
#
# `evaluate` stores the threshold with the model, and `verify` uses it, here for two files.

# %%
run = api.evaluate(run.path, threshold_at="far=0.01")
digits = likewise.load_data("digits", size=16).part("test")
for name, place in (("first.png", 0), ("second.png", 1)):
    Image.fromarray(digits.batch([place])[0, 0].numpy()).save(name)
answer = api.verify(run.path, "first.png", "second.png")
print(f"{digits.classes[digits.labels[0]]} and {digits.classes[digits.labels[1]]}: same is {answer['same']}")
print(f"similarity {answer['similarity']:.3f}, threshold {answer['threshold']:.3f}")

# %% [markdown]
# ## Where to go next
#
# The report in `runs/threshold/report.html` has the threshold as a slider. [Verification](../docs/verification.md)
# goes from a table of people to the false reject rate at a level of false accepts; [signatures](signatures.py) does
# that with handwriting.
