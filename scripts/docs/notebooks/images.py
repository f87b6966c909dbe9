# %% [markdown]
# # Notebook: images
#
# Handwritten digits and a small convolutional network, which is trained here in two seconds. In the place of both
# stands what you have: a `torch.nn.Module`, and the tensors that you would call it with.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

import xattr_cli
from xattr_cli.models import starters

network = starters.images()
digits = load_digits()
images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
shown, labels, background = images[:40], digits.target[:40], images[100:164]

# %% [markdown]
# ## Explain
#
# Engines are named with their options; what is left out has a default. `rtol` is the error that every map may
# have: easy images stop after a few gradients, hard ones take more. A baseline may be a number, a tensor, or, for
# expected gradients, a set of images.

# %%
results = xattr_cli.explain(
    network,
    shown,
    engines={
        "integrated_gradients": {"baseline": 0, "rtol": 0.02},
        "expected_gradients": {"baseline": background, "rtol": 0.05},
    },
    labels=labels,
    class_names=digits.target_names,
)
results

# %% [markdown]
# A cell shows how many rows converged, at which error and cost, and the first figure. The module is as it was: on
# its device, in its mode, with its gradients.
#
# ## How far can a map be trusted?
#
# Beside every map stands the error that it may have. The sum of a map has to be the change of the score from the
# baseline to the image; what is missing is stored too, but an error bar says more, as errors cancel in a sum.

# %%
rows = results.rows_frame()
columns = ["score_input", "relative_error", "completeness_gap", "evaluations"]
rows[["label", "target", *(f"integrated_gradients.{name}" for name in columns)]].nlargest(
    5, "integrated_gradients.relative_error"
)

# %%
engine = results.engine("integrated_gradients")
maps = engine.attribution()  # (40, 1, 8, 8)
gap = maps.sum(axis=(1, 2, 3)) - (engine.score_input - engine.score_baseline)
print(f"largest error bar {engine.relative_error.max():.1%}, largest gap {np.abs(gap).max():.3f}")

# %% [markdown]
# ## Does it matter to the network?
#
# Black out the pixels of the largest attribution, and others at random: if maps are right, the score falls
# faster.


# %%
def score_without(order, count):
    """Mean logit of the explained class when the first pixels of an order are black."""
    changed = shown.flatten(1).clone()
    changed.scatter_(1, torch.as_tensor(order[:, :count].copy()), 0.0)
    with torch.no_grad():
        logits = network(changed.view_as(shown))
    return logits[np.arange(len(shown)), results.rows.target].mean().item()


flat = maps.reshape(len(maps), -1)
orders = {
    "largest first": np.argsort(-flat, axis=1),
    "at random": np.argsort(np.random.default_rng(0).random(flat.shape), axis=1),
}
counts = range(0, 33, 4)
falls = {name: [score_without(order, count) for count in counts] for name, order in orders.items()}
for name, scores in falls.items():
    plt.plot(counts, scores, label=name)
plt.xlabel("black pixels")
plt.ylabel("mean logit")
legend = plt.legend()
assert max(falls["largest first"][1:]) < min(falls["at random"])

# %% [markdown]
# ## Further
#
# The figures of `xattr-cli plot`, of rows that you choose; long tables for pandas; arrays with names for xarray.
# `output="digits.h5"` keeps the file, of which `xattr-cli report digits.h5` makes a page to send around.

# %%
results.figures("samples", rows=results.find(target=3)[:2])

# %%
table = results.frame(engines=["expected_gradients"], top=2)
table[["row", "target_name", "feature", "attribution", "standard_error"]].head()

# %%
means = results.xarray("integrated_gradients").attribution.groupby("target").mean("row")
grid = means.isel(channel=0).plot(col="target", col_wrap=5, yincrease=False, size=1.6)
