# %% [markdown]
# # Comparing losses honestly
#
# A loss that wins by half a point in one run may lose in the next. A comparison here trains every method on the same
# images with the same budget and several seeds, scores them on the same test images, and calls one better only where
# a paired test says so, corrected for the number of methods.

# %%
import likewise
from likewise.experiment.compare import compare

# %% [markdown]
# ## Three losses, two seeds
#
# One field differs. Everything else is shared: the images, the split, the network, the epochs.

# %%
recipe = likewise.load_recipe("digits").replace(epochs=4, size=8, network="mlp(widths=(128,))", augment="")
losses = ("supcon(temperature=0.1)", "triplet(margin=0.2)", "normalized_softmax(scale=20.0)")
compared = compare({loss: recipe.replace(loss=loss) for loss in losses}, folder="comparison", seeds=2)
compared

# %% [markdown]
# ## What can be said
#
# The table shows the mean of the seeds and an interval that covers each seed's own. `best` names a method only where
# it is better than every other beyond doubt; often none is.

# %%
for row in compared.rows:
    score = row.scores["map@r"]
    print(f"{row.label:32} map@r {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})")
for metric, best in compared.best.items():
    print(f"{metric}: {best} is better than every other method")
undecided = [name for name in ("knn@1", "map@r") if name not in compared.best]
print(f"undecided: {', '.join(undecided) or 'none'}")

# %% [markdown]
# ## Do not forget the method without training
#
# On easy data raw pixels do well. A loss that is not better than they are has learned nothing that matters.

# %%
for baseline in compared.without_training:
    score = baseline.scores.get("knn@1")
    if score:
        print(f"{baseline.label:32} knn@1 {score['value']:.3f}")

# %% [markdown]
# ## Where to go next
#
# `likewise compare digits --over loss=softmax,triplet --seeds 3` does the same and writes a page. [What losses pull
# and push](../docs/loss-geometry.md) explains why they differ, and [Losses](../docs/losses.md) lists all of them.
