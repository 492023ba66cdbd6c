# %% [markdown]
# # Your own folder
#
# A folder of images has one folder for each class. This notebook makes such a folder from scikit-learn's digits, so
# that it runs anywhere; put your own in its place.

# %%
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

import likewise
from likewise import api
from likewise.recipes.plan import plan

photos, new = Path("photos"), Path("new")
digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = (new if number % 50 == 0 else photos) / str(label)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 15.9).astype("uint8")).save(folder / f"{number:04}.png")
print(f"{len(list(photos.rglob('*.png'))):,} images in {photos}, {len(list(new.rglob('*.png')))} kept aside in {new}")

# %% [markdown]
# ## A plan
#
# The folder is looked at first: how many images and classes, how large, which are near copies. Network, loss, batch
# and epochs follow from it by rule, and each field can be changed.

# %%
planned = plan(likewise.load_recipe("photos"))
print("\n".join(planned.lines()))

# %% [markdown]
# ## Train

# %%
run = likewise.train(planned.recipe.replace(epochs=5), out="runs", name="photos")
print(f"knn@1 on held-out images {run.scores()['knn@1'].value:.3f}")
run

# %% [markdown]
# ## Score it on new images
#
# The images that were kept aside are named by the training images.

# %%
on_new = api.evaluate_on(run.path, "new")
print(f"knn@1 on new images {on_new['scores']['knn@1']['value']:.3f}, of {on_new['scores']['knn@1']['n']}")

# %% [markdown]
# ## Name one image
#
# `predict` votes among the nearest training images, and lists them.

# %%
image = sorted(new.rglob("*.png"))[0]
(answer,) = likewise.predict(run.path, [image], k=3)
print(f"{image} is named {answer['class']}")

# %% [markdown]
# ## Where to go next
#
# [Your own data](../docs/your-data.md) has tables, groups and splits. To decide whether two images are of one class,
# [choose a threshold](choosing_a_threshold.py). To name images and know when to say "unknown", go on to [a
# gallery](gallery_and_service.py).
