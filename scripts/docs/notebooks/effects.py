# %% [markdown]
# # Notebook: effects and contributions
#
# Maps are about single rows. What setting a feature does on average, and where the variation of an output comes
# from, are questions about a whole dataset. Here the truth is known: W drives X and Z, and only these two reach
# the output.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

import xattr_cli
from xattr_cli.models.zoo import mlp

generator = np.random.default_rng(0)
w, noise_x, noise_z = generator.uniform(-1, 1, (3, 600))
x, z = np.tanh(2 * w) / 2 + noise_x, w + noise_z / 2
table = pd.DataFrame({"W": w, "X": x, "Z": z}, dtype=np.float32)
inputs, output = torch.tensor(table.to_numpy()), torch.tensor(x + z + x * z, dtype=torch.float32)[:, None]

torch.manual_seed(0)
network = mlp(3, [32, 32], 1, "softplus")
optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
for _ in range(40):
    for part in torch.randperm(len(inputs)).split(50):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(inputs[part]), output[part]).backward()
        optimizer.step()

# %% [markdown]
# ## Three questions
#
# `ace` sets one input to a value, leaves the others as they are, and averages; `sobol` takes the inputs as
# independent; `icc` knows the graph, fits noise to every node, and credits what an input merely passes on to its
# causes.

# %%
results = xattr_cli.explain(
    network,
    table,
    engines={
        "ace": {"alphas": 40, "estimator": "empirical"},
        "sobol": {"rtol": 0.01},
        "icc": {"graph": {"X": ["W"], "Z": ["W"]}, "rtol": 0.02},
    },
)
results

# %% [markdown]
# ## What setting an input does
#
# Set W, and the network's output stays where it is: it reaches the output through X and Z alone.

# %%
effects = results.xarray("ace", effects=True)
for name in effects.feature.values:
    curve = effects.sel(feature=name).isel(target=0)
    plt.plot(curve.alpha, curve.ace, label=name)
    plt.fill_between(
        curve.alpha, curve.ace - 2 * curve.standard_error, curve.ace + 2 * curve.standard_error, alpha=0.2
    )
plt.xlabel("set to")
plt.ylabel("average causal effect")
legend = plt.legend()
# %% [markdown]
# ## Where the variation originates
#
# And yet most of the variation originates in W, which `sobol` cannot know. Every share has a standard error.

# %%
shares = results.xarray("icc")[["topological", "topological_standard_error"]].isel(target=0).to_dataframe()
shares["sobol_total"] = results.xarray("sobol").total.isel(target=0).values
shares.drop(columns="target").round(3)

# %%
assert shares.topological.idxmax() == "W" and shares.sobol_total.idxmin() == "W"
results.figures("contributions", engines=["icc"])
