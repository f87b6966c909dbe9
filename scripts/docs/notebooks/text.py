# %% [markdown]
# # Notebook: text
#
# Words are numbers to a network, and numbers have no gradient: what is explained are the vectors that they are
# looked up in. Here is a small language in which words act together, "not good" being bad, and an LSTM that
# learns it.

# %%
import tempfile
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

import xattr_cli

GOOD, BAD = ["good", "great", "charming"], ["bad", "dull", "tedious"]
phrases = product(["the film", "the plot", "the cast"], ["is", "was"], ["", "really", "not"], GOOD + BAD)
texts = [" ".join(filter(None, phrase)).split() for phrase in phrases]
praise = torch.tensor([("not" in words) != (words[-1] in GOOD) for words in texts]).float()
vocabulary = ["[PAD]", *sorted({word for words in texts for word in words})]
ids = pad_sequence([torch.tensor([vocabulary.index(word) for word in words]) for words in texts], batch_first=True)


class Reader(nn.Module):
    """Ids and lengths to the log-odds of praise, from the state after the last word."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(vocabulary), 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.head = nn.Linear(12, 1)

    def forward(self, ids, lengths):
        states = self.lstm(self.embed(ids))[0]
        return self.head(states[torch.arange(len(ids)), lengths - 1])[:, 0]


torch.manual_seed(0)
network, lengths = Reader(), torch.tensor([len(words) for words in texts])
optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
for _ in range(150):
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(network(ids, lengths), praise)
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f} after reading {len(texts)} sentences")

# %% [markdown]
# ## Explain
#
# A tuple holds the inputs as the network takes them; `embedding: auto` finds the table of vectors. `tokens` are
# the words: where a text has none, there is padding, which gets exactly nothing.

# %%
chosen = [number for number, words in enumerate(texts) if words[1:3] == ["film", "is"]]
results = xattr_cli.explain(
    network,
    (ids[chosen], lengths[chosen]),
    engines={
        "integrated_gradients": {"rtol": 0.02},
        "integrated_hessians": {"groups": "tokens", "rtol": 0.05},
    },
    explain={"embedding": "auto", "reduce": "sum"},
    tokens=[texts[number] for number in chosen],
    score="raw",
)
results

# %% [markdown]
# ## Which words count
#
# One line per word: the attributions of its vector are summed. What does a word add to the score, with and
# without "not"?

# %%
table = results.frame(engines=["integrated_gradients"])
table["denied"] = table.groupby("row").token.transform(lambda words: "not" in set(words))
table.pivot_table("attribution", "token", "denied", observed=True).loc[GOOD + BAD].round(1)

# %%
results.figures("tokens", engines=["integrated_gradients"], samples=6)

# %% [markdown]
# ## Which words act together
#
# Integrated Hessians say how much of a word's attribution is due to another word: "not" turns "good" around.

# %%
place = [texts[number] for number in chosen].index("the film is not good".split())
matrix = results.engine("integrated_hessians").interaction([place])[0]
print(f"not with good: {2 * matrix[3, 4]:+.1f}, the with film: {2 * matrix[0, 1]:+.1f}")
assert matrix[3, 4] < -3 * abs(matrix[0, 1])

# %% [markdown]
# ## From files
#
# A table of texts and a tokenizer make a job, such as the one that `xattr-cli init job.yaml --kind text` writes.
# What the commands `plan` and `run` do, functions do; killed, a run goes on where it was.

# %%
folder = Path(tempfile.mkdtemp())
# !xattr-cli init {folder}/job.yaml --kind text
report = xattr_cli.run(folder / "job.yaml")
xattr_cli.open_results(report.output)
