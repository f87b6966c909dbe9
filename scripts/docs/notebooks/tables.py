# %% [markdown]
# # Notebook: tables
#
# Which measurements of its cells make a tumour malignant, to a small network? A data frame brings the names of
# its columns along.

# %%
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

import xattr_cli
from xattr_cli.models import starters

network = starters.table()
data = load_breast_cancer(as_frame=True)
scaled = (data.data - data.data.mean()) / data.data.std(ddof=0)
shown, labels = scaled.head(60), data.target.head(60)

# %% [markdown]
# ## Explain
#
# Zero is the mean of standardised columns, and so the baseline. Shapley values ask for no gradient, and serve for
# comparison; integrated Hessians split every attribution into pairs of columns. The class is given by its name.

# %%
results = xattr_cli.explain(
    network,
    shown,
    engines={
        "integrated_gradients": {"rtol": 0.01},
        "shapley": {"groups": "features", "rtol": 0.1},
        "integrated_hessians": {"rtol": 0.05},
    },
    target="malignant",
    class_names=data.target_names,
    labels=labels,
)
results

# %% [markdown]
# ## The columns that matter

# %%
table = results.frame(engines=["integrated_gradients", "shapley"])
table["size"] = table.attribution.abs()
table.pivot_table("size", "feature", "engine", observed=True).nlargest(6, "shapley").round(3)

# %% [markdown]
# Two methods, one of which has never seen a gradient, should agree about most rows:

# %%
paths, orders = (results.engine(label).attribution() for label in ("integrated_gradients", "shapley"))
agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(paths, orders, strict=True)]
print(f"correlation of the two maps of a row: median {np.median(agreement):.3f}, least {min(agreement):.3f}")
assert np.median(agreement) > 0.9

# %% [markdown]
# ## Which columns act together?
#
# Each row of the matrix of a sample sums to the attribution of its column. The network's kinks are smoothed for
# this; the file says how far that moves the score.

# %%
pairs = np.abs(results.engine("integrated_hessians").interaction(slice(None))).mean(0)
a, b = np.triu_indices(len(pairs), k=1)
named = pd.DataFrame({"one": shown.columns[a], "other": shown.columns[b], "strength": pairs[a, b]})
named.nlargest(5, "strength")

# %%
results.figures("interactions")
