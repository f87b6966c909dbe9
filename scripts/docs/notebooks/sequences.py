# %% [markdown]
# # Notebook: sequences
#
# Noisy recordings of different lengths, somewhere in which a short chirp rises or falls. A recurrent network
# tells the two apart; as we know where the chirps are, we can see whether the maps do.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import xattr_cli
from xattr_cli.models.zoo import sequence_classifier

generator = np.random.default_rng(0)
LONGEST, CHIRP = 60, 12


def recording(rises):
    """A sequence (steps, 2) of two microphones, and where its chirp begins."""
    steps = int(generator.integers(40, LONGEST + 1))
    start = int(generator.integers(0, steps - CHIRP))
    ramp = np.linspace(0.2, 1.2, CHIRP)[:: 1 if rises else -1]
    heard = 0.3 * generator.standard_normal((steps, 2))
    heard[start : start + CHIRP] += 2 * np.sin(np.cumsum(ramp))[:, None] * [1.0, 0.5]
    return heard.astype(np.float32), start


labels = generator.integers(0, 2, 600)
recordings, starts = zip(*(recording(rises) for rises in labels), strict=True)

# %% [markdown]
# ## Train
#
# The network reads padded sequences and is told their lengths.

# %%
lengths = torch.tensor([len(each) for each in recordings])
padded = nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in recordings], batch_first=True)
torch.manual_seed(0)
network = sequence_classifier(2, 16, 2)
optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
for _ in range(8):
    for part in torch.randperm(500).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(padded[part], lengths[part]), torch.tensor(labels)[part]).backward()
        optimizer.step()
with torch.no_grad():
    right = (network(padded[500:], lengths[500:]).argmax(1).numpy() == labels[500:]).mean()
print(f"{right:.0%} of held-out recordings are told apart")

# %% [markdown]
# ## Explain
#
# Inputs have the names of the network's arguments. Recordings of different lengths are padded here, too; lengths
# are integers, which have no gradient, so that only the recordings are explained. Silence is the baseline.

# %%
held_out = slice(500, 530)
results = xattr_cli.explain(
    network,
    {"sequence": recordings[held_out], "lengths": lengths[held_out]},
    engines={"integrated_gradients": {"baseline": 0, "rtol": 0.05}, "occlusion": {"groups": "time"}},
    labels=labels[held_out],
    class_names=["falls", "rises"],
)
results

# %% [markdown]
# ## Are the maps where the chirp is?

# %%
maps = np.abs(results.engine("integrated_gradients").attribution()).sum(-1)  # (30, 60) over both microphones
within = [
    size[start : start + CHIRP].sum() / size.sum() for size, start in zip(maps, starts[held_out], strict=True)
]
beyond = max(size[length:].max(initial=0) for size, length in zip(maps, lengths[held_out], strict=True))
chance = np.mean(CHIRP / lengths[held_out].numpy())
print(f"{np.mean(within):.0%} of a map is on its chirp, {chance:.0%} by chance; {beyond} on padding")
assert np.mean(within) > 2 * chance and beyond == 0

# %%
results.figures("lines", rows=[0, 1])

# %%
row, first = 0, starts[500]
plt.plot(recordings[500 + row])
plt.axvspan(first, first + CHIRP - 1, alpha=0.2, color="tab:orange", label="chirp")
plt.plot(maps[row] / maps[row].max() - 4, color="black", label="size of the map")
plt.xlabel("step")
legend = plt.legend()
