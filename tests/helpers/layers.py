"""Networks with an inside worth explaining, named by job files as `helpers.layers:...`; random weights."""

from __future__ import annotations

import torch
from torch import nn

WORDS, WIDTH, CLASSES = 30, 6, 3
SIDE = 6


class Conv(nn.Module):
    """(n, 2, 6, 6) → (n, 3), with a layer of every sort."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.rectify = nn.ReLU(inplace=True)
        self.block = nn.ModuleDict({"second": nn.Conv2d(4, 3, 3), "smooth": nn.GELU()})
        self.head = nn.Linear(3 * 16, CLASSES)

    def forward(self, x):
        hidden = self.rectify(self.first(x))
        return self.head(self.block["smooth"](self.block["second"](hidden)).flatten(1))


class Fork(nn.Module):
    """Two tensors in, one by its name; two out, one inside a mapping inside a tuple."""

    def split(self, x, scale):
        return torch.tanh(x) * scale, torch.sigmoid(x).mean(dim=(2, 3)) + scale.flatten(1).mean(1, keepdim=True)

    def forward(self, x, scale):
        low, high = self.split(x, scale)
        return low, {"high": high, "count": len(x)}


class Forked(nn.Module):
    """(n, 2, 6, 6) → (n, 3), both tensors of the layer in a product."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.fork = Fork()
        self.head = nn.Linear(4, CLASSES)

    def join(self, low, high):
        return self.head(low.mean(dim=(2, 3)) * torch.exp(high))

    def forward(self, x):
        low, more = self.fork(self.first(x), scale=x[:, :1] ** 2)
        return self.join(low, more["high"])


class Words(nn.Module):
    """Ids and a mask (n, L) → (n, 3): embedded, read by a GRU in both directions, averaged over real steps."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.unused = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def hidden(self, ids, mask):
        vectors = torch.tanh(self.mix(self.embed(ids)))
        attention = (vectors @ vectors.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf).softmax(dim=2)
        return attention @ vectors

    def forward(self, ids, mask):
        weights = mask[..., None].to(self.head.weight.dtype)
        return self.head((self.hidden(ids, mask) * weights).sum(1) / weights.sum(1))


class WholeLength(Words):
    """Its score depends on how far a sequence is padded."""

    def forward(self, ids, mask):
        return self.head(self.hidden(ids, mask).mean(dim=1))


class OneEmbeddingTwice(Words):
    """Calls its embedding in two places."""

    def forward(self, ids, mask):
        return super().forward(ids, mask) + self.head(self.embed(ids).mean(dim=1))


class Recurrent(nn.Module):
    """Ids (n, L) → (n, 3) by an LSTM, which returns a tuple."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=batch_first)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.batch_first = batch_first

    def forward(self, ids):
        vectors = self.embed(ids)
        if self.batch_first:
            return self.head(self.lstm(vectors)[0][:, -1])
        return self.head(self.lstm(vectors.transpose(0, 1))[0][-1])


class Pair(nn.Module):
    """Two embeddings, of ids and of kinds, and numbers beside them."""

    def __init__(self):
        super().__init__()
        self.ids = nn.Embedding(WORDS, WIDTH)
        self.kinds = nn.Embedding(WORDS, WIDTH)
        self.head = nn.Linear(WIDTH + 4, CLASSES)

    def forward(self, ids, kinds, numbers):
        both = torch.tanh(self.ids(ids)).mean(dim=1) * torch.sigmoid(self.kinds(kinds)).mean(dim=1)
        return self.head(torch.cat([both, numbers**2], dim=1))


class Encoder(nn.Module):
    """(n, 4, 8) → (n, 3) by an encoder layer of torch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.layer(x).mean(dim=1))


class Lengths(nn.Module):
    """Values (n, L, 2) and lengths (n,) → (n, 3) by a packed GRU."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, values, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.gru(packed)[1][0])


def forked():
    return Forked()


def conv():
    return Conv()


def words():
    return Words()


def whole_length():
    return WholeLength()


def one_embedding_twice():
    return OneEmbeddingTwice()


def recurrent(batch_first=True):
    return Recurrent(batch_first)


def pair():
    return Pair()


def encoder():
    return Encoder()


def lengths():
    return Lengths()


def three_tensors():
    """f(a, b, c) of tensors of different shapes."""
    return Three()


class Three(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(10, 8), nn.Linear(1, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, a, b, c):
        return self.head(torch.tanh(self.a(a)) * torch.relu(self.b(b.flatten(1))) + self.c(c).sin())


def built(factory, **kwargs):
    """The network that a job gets from this factory."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return factory(**kwargs).eval()
