# %% [markdown]
# # Signatures
#
# Does this signature come from the claimed writer? The writers of the test have not been trained on, and every writer
# of this set signed the same name, so that only the hand tells them apart. Each signed on paper, on a tablet and on a
# phone.
#
# It needs the data set `cross-media-signatures` below `LIKEWISE_DATA`. This notebook uses 70 of the 93 writers, small
# images: its error rates show the way, not what is possible.

# %%
import sys

import likewise
from likewise import api
from likewise.data.options import AbsentError

try:
    signed = likewise.load_data("signatures", size=64, max_classes=70)
except AbsentError as absent:
    print(f"skipped: {absent}")
    sys.exit()
print(f"{len(signed):,} signatures of {len(signed.classes)} writers on {', '.join(sorted(set(signed.groups or ())))}")
signed

# %% [markdown]
# ## Train with writers held out

# %%
recipe = likewise.load_recipe("signatures").replace(size=64, max_classes=70)
run = likewise.train(recipe, out="runs", name="signatures")
scores = run.scores()
print(
    f"equal error rate of new writers {scores['eer'].value:.3f} ({scores['eer'].low:.3f} to {scores['eer'].high:.3f})"
)
run

# %% [markdown]
# ## Within a medium, and across media
#
# Pairs of test writers: both signatures on one medium, or on two. Comparing paper with a tablet is harder than paper
# with paper.

# %%
for groups in ("within", "across"):
    file = f"{groups}.csv"
    api.make_pairs(run.path, file, groups=groups, per_class=40)
    measured = api.evaluate_pairs(run.path, file)
    eer = measured["scores"]["eer"]
    print(f"{groups:7} EER {eer['value']:.3f} ({eer['low']:.3f} to {eer['high']:.3f})")

# %% [markdown]
# ## Where to go next
#
# `likewise train signatures` trains on all writers at full size in two minutes.
# [Verification](../docs/verification.md) has skilled forgeries, levels of false accepts, and gaps between groups.
