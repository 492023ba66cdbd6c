# %% [markdown]
# # Choosing a threshold
#
# Are two images of one class? A threshold on their similarity decides. Too low, and different classes are accepted
# (false accepts); too high, and the same class is rejected (false rejects). You say which error you can bear, and
# validation images choose the threshold. Test images only measure it.

# %%
import likewise
from likewise import api

# %% [markdown]
# ## Classes that were never trained on
#
# A verification system meets new people, products or writers, so test classes are kept out of training: four of the
# ten digits, two more for validation.

# %%
recipe = likewise.load_recipe("digits").replace(split="by_class(val=0.2, test=0.4)", sampler="pk(classes=4, images=12)")
run = likewise.train(recipe.replace(epochs=6), out="runs", name="threshold")
scores = run.scores()
print(f"equal error rate of new digits {scores['eer'].value:.3f} ({scores['eer'].low:.3f} to {scores['eer'].high:.3f})")

# %% [markdown]
# ## A threshold for each wish
#
# `far=0.01` accepts at most 1 % of different validation pairs, `far=0.1` at most 10 %. The last column is the share
# of test pairs that are decided right. With so few classes, validation and test differ visibly; more classes bring
# them together.

# %%
for target in ("accuracy", "far=0.1", "far=0.01"):
    run = api.evaluate(run.path, threshold_at=target)
    threshold = run.metrics()["threshold"]["value"]
    right = run.scores()["pair_accuracy"].value
    print(f"{target:10} similarity of at least {threshold:.3f}, pair accuracy on test pairs {right:.3f}")

# %% [markdown]
# ## Error rates at one threshold
#
# Pairs of the test classes, drawn in folds; what is counted is how many different pairs were accepted and how many
# same pairs rejected, at the threshold that validation chose.

# %%
measured = api.evaluate_pairs(run.path, folds=2, threshold_at="far=0.1")
for name in ("pair_accuracy", "eer"):
    score = measured["scores"][name]
    print(f"{name:14} {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})")

# %% [markdown]
# ## Where to go next
#
# The report in `runs/threshold/report.html` has the threshold as a slider. [Verification](../docs/verification.md)
# goes from a table of people to the false reject rate at a level of false accepts; [signatures](signatures.py) does
# that with handwriting.
