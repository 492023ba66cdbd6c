# %% [markdown]
# # Ten minutes with digits
#
# Train an embedding on scikit-learn's handwritten digits, read its scores, and use it. Nothing is downloaded, and a
# laptop without a GPU is enough.

# %%
import torch

import likewise

likewise.keep_memory()  # freed memory is reused, which is faster on Linux

# %% [markdown]
# ## The images
#
# 1,797 images of 8 x 8 pixels, here enlarged to 16 x 16. They are split into training, validation and test parts.

# %%
digits = likewise.load_data("digits", size=16)
print(f"{len(digits):,} images, classes {', '.join(digits.classes)}")
digits

# %% [markdown]
# ## Train
#
# A recipe holds everything that a training depends on. The shipped one trains for 30 epochs; six are enough here. A
# training writes a folder with the model, the scores and a report.

# %%
recipe = likewise.load_recipe("digits").replace(epochs=6)
run = likewise.train(recipe, out="runs", name="ten-minutes")
run

# %% [markdown]
# ## Scores
#
# Each score is of test images, with its 95 % interval. `knn@1` is the accuracy of the nearest neighbour; `map@r` says
# how well images of one class are ranked before all others.

# %%
scores = run.scores()
for name in ("knn@1", "map@r", "eer"):
    print(f"{name:8} {scores[name].value:.3f} ({scores[name].low:.3f} to {scores[name].high:.3f})")
assert scores["knn@1"].low > 0.9
scores

# %% [markdown]
# ## Use the embedding
#
# The model holds its preprocessing. Images of one class have a high cosine similarity, images of two classes a low
# one.

# %%
test = digits.part("test")
vectors = likewise.Embedder.load(run.path).embed(test)
similarity = vectors @ vectors.T
same = test.labels[:, None] == test.labels[None]
apart = ~torch.eye(len(test), dtype=torch.bool)
print(
    f"mean cosine within a class {similarity[same & apart].mean():.2f}, between classes {similarity[~same].mean():.2f}"
)

# %% [markdown]
# ## Where to go next
#
# Open `runs/ten-minutes/report.html`: the verdict, the worst errors, a threshold to slide. Then train on [your own
# folder](your_own_folder.py), or read the [tutorial](../docs/tutorial.md).
