# %% [markdown]
# # One-shot classification
#
# Recognise a character of an alphabet that was never seen, from a single example. Omniglot has 50 alphabets; this
# notebook trains briefly on five of them and is tested on the official trials: one drawing, twenty characters seen
# once each, which is it?
#
# It needs the data set `omniglot` below `LIKEWISE_DATA`; `likewise data fetch omniglot` gets it.

# %%
import sys

import likewise
from likewise.data.omniglot_runs import omniglot_runs
from likewise.data.options import AbsentError
from likewise.evaluate.one_shot import one_shot_error

try:
    characters = likewise.load_data("omniglot(set='small1')", size=28, split="by_class(val=0.1, test=0.1)")
except AbsentError as absent:
    print(f"skipped: {absent}")
    sys.exit()
print(f"{len(characters):,} drawings of {len(characters.classes)} characters")
characters

# %% [markdown]
# ## Train
#
# Batches hold characters of two alphabets, so that the negatives are hard. Rotated by 90 degrees, a character counts
# as another one, which makes four times as many classes.

# %%
recipe = likewise.load_recipe("omniglot-quick").replace(
    data="omniglot(set='small1')",
    split="by_class(val=0.1, test=0.1)",
    size=28,
    rotations=4,
    mirror=False,
    network="strokes(channels=(24, 48, 96, 96, 128))",
    sampler="hierarchical_pk(superclasses=2, classes=32, images=2)",
    epochs=4,
)
run = likewise.train(recipe, out="runs", name="one-shot")
run

# %% [markdown]
# ## The official trials
#
# 20 runs of 20 trials. Guessing has an error of 0.95. People have one of 0.045 (Lake et al., 2015), and the recipe
# `omniglot`, trained for 52 minutes on 30 alphabets, 0.0125.

# %%
model = likewise.Embedder.load(run.path)
error = one_shot_error(model, omniglot_runs(ink="bright"))
print(f"one-shot error {error.value:.3f} ({error.low:.3f} to {error.high:.3f}), {error.n} trials")
assert error.value < 0.7

# %% [markdown]
# ## Where to go next
#
# `likewise train omniglot-quick` trains on all background alphabets in 11 minutes. [Results](../docs/results.md) has
# the scores; [Losses](../docs/losses.md) has the sum of two losses that the recipe uses.
