"""A small language whose grammar makes words act together: "not good" is bad; and an LSTM that has learnt it."""

from __future__ import annotations

from itertools import product

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

PADDING = "[PAD]"
SUBJECTS = ("the film", "the plot", "the cast of the film")
GOOD, BAD = ("good", "great", "charming"), ("bad", "dull", "tedious")
WORDS = (PADDING, "the", "film", "plot", "cast", "of", "is", "was", "not", "really", *GOOD, *BAD)
WIDTH, UNITS = 6, 12


class Reader(nn.Module):
    """Ids and a mask (n, L) → (n, 1): the log-odds of praise, from the state after the last word."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), WIDTH, padding_idx=0)
        self.lstm = nn.LSTM(WIDTH, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, input_ids, attention_mask):
        states = self.lstm(self.embed(input_ids))[0]
        last = attention_mask.long().sum(1) - 1
        return self.head(states[torch.arange(len(states), device=states.device), last])


def reader():
    return Reader()


def sentences():
    """All sentences of the language, and whether each is praise."""
    found = []
    for subject, verb, adverbs, word in product(
        SUBJECTS, ("is", "was"), ("", "really ", "not ", "not really "), GOOD + BAD
    ):
        found.append((f"{subject} {verb} {adverbs}{word}", ("not" in adverbs) != (word in GOOD)))
    return found


def save_tokenizer(path):
    """The vocabulary as a file of the tokenizers package."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=PADDING))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def trained(epochs=300):
    """An LSTM that has read every sentence of the language, with gaps in them; its answers are all right."""
    texts, praise = zip(*sentences(), strict=True)
    numbers = [[WORDS.index(word) for word in text.split()] for text in texts]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in numbers], batch_first=True)
    mask = ids > 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Reader()
        adam = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=0.1)
        for _ in range(epochs):
            read = ids.where(torch.rand(ids.shape) > 0.25, 0)
            adam.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(network(read, mask), praised(read)).backward()
            adam.step()
    with torch.no_grad():
        assert ((network(ids, mask)[:, 0] > 0) == torch.tensor(praise)).all()
    return network.eval()


def praised(ids):
    """(n, 1): 1 for praise, 0 for blame, a half where no word says which."""
    good, bad, turned = (_holds(ids, words) for words in (GOOD, BAD, ("not",)))
    return torch.where(good | bad, (good ^ turned).float(), torch.tensor(0.5))[:, None]


def _holds(ids, words):
    """(n,) whether a sentence has any of the words."""
    return torch.isin(ids, torch.tensor([WORDS.index(word) for word in words])).any(1)
