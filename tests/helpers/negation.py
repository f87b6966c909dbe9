"""A small language whose grammar makes words act together: "not good" is bad; and an LSTM that has learnt it."""

from __future__ import annotations

from itertools import product

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from helpers.weights import with_weights

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


def trained():
    """An LSTM that has read every sentence of the language, with gaps in them; its answers are all right."""
    return with_weights(Reader(), "negation")


def numbered():
    """Ids of all sentences (n, L) with their mask, and whether each is praise (n,)."""
    texts, praise = zip(*sentences(), strict=True)
    numbers = [[WORDS.index(word) for word in text.split()] for text in texts]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in numbers], batch_first=True)
    return ids, ids > 0, torch.tensor(praise)
