"""A small translation network and its language: words that change their order and agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scripts.networks.descent import descend

__all__ = ["SOURCE", "TARGET", "Translator", "phrases", "train_translator", "translator"]

NOUNS = {"cat": "chat", "dog": "chien", "house": "maison", "car": "voiture", "tree": "arbre", "door": "porte",
         "book": "livre", "table": "table"}  # fmt: skip
FEMININE = {"house", "car", "door", "table"}
COLOURS = {
    "red": ("rouge", "rouge"),
    "green": ("vert", "verte"),
    "black": ("noir", "noire"),
    "white": ("blanc", "blanche"),
}
VERBS = {"sees": "voit", "wants": "veut", "finds": "trouve", "takes": "prend"}
NAMES = {"Anna": "Anna", "Paul": "Paul", "Maria": "Maria", "Louis": "Louis"}
PAD, BEGIN = "<pad>", "<begin>"
SOURCE = (PAD, "the", "a", "not", *NOUNS, *COLOURS, *VERBS, *NAMES)
TARGET = (PAD, BEGIN, "le", "la", "un", "une", "ne", "pas", *NOUNS.values(), *dict.fromkeys(
    form for forms in COLOURS.values() for form in forms), *VERBS.values(), *NAMES.values())  # fmt: skip
LENGTH = 7


def phrases(count: int, seed: int) -> list[tuple[list[str], list[str], list[int]]]:
    """English, French, and for each French word the English one that it comes from.

    "Anna sees the red car" is "Anna voit la voiture rouge": adjectives follow their noun, article and adjective
    agree with it; half of the sentences have a "not", which stands around the verb.
    """
    rng = np.random.default_rng(seed)
    pick = lambda words: str(rng.choice(list(words)))  # noqa: E731
    found = []
    for _ in range(count):
        name, verb, article, noun, colour = (
            pick(NAMES),
            pick(VERBS),
            pick(("the", "a")),
            pick(NOUNS),
            pick(COLOURS),
        )
        negated, coloured = rng.random(2) < 0.5
        english = [name, *(["not"] if negated else []), verb, article, *([colour] if coloured else []), noun]
        place = {word: english.index(word) for word in english}
        gender = int(noun in FEMININE)
        french = [(name, place[name])]
        french += [("ne", place["not"])] if negated else []
        french += [(VERBS[verb], place[verb])]
        french += [("pas", place["not"])] if negated else []
        french += [({"the": ("le", "la"), "a": ("un", "une")}[article][gender], place[article])]
        french += [(NOUNS[noun], place[noun])]
        french += [(COLOURS[colour][gender], place[colour])] if coloured else []
        words, origins = zip(*french, strict=True)
        found.append((english, list(words), list(origins)))
    return found


class Translator(nn.Module):
    """GRUs that read and write, with one summary of the sentence between them: nothing in it is an alignment.

    Given source ids (n, S) and target ids (n, T), padded at the end, it answers (n, T) log-probabilities of the
    target words, each after those before it.
    """

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.read_words = nn.Embedding(len(SOURCE), 32, padding_idx=0)
        self.written_words = nn.Embedding(len(TARGET), 32, padding_idx=0)
        self.reader = nn.GRU(32, width // 2, batch_first=True, bidirectional=True)
        self.writer = nn.GRU(32, width, batch_first=True)
        self.readout = nn.Linear(width, len(TARGET))

    def logits(self, source: Tensor, target: Tensor) -> Tensor:
        """(n, T, words)."""
        _, states = self.reader(self.read_words(source))
        begin = torch.full_like(target[:, :1], TARGET.index(BEGIN))
        before = torch.cat([begin, target[:, :-1]], dim=1)
        return self.readout(self.writer(self.written_words(before), torch.cat([*states], dim=1)[None])[0])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(n, T)."""
        return self.logits(source, target).log_softmax(dim=2).gather(2, target[..., None])[..., 0]


def translator() -> Translator:
    """As a job names it."""
    return Translator()


def encoded(found: list[tuple[list[str], list[str], list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 7) source and (n, 7) target ids."""
    arrays = []
    for side, words in ((0, SOURCE), (1, TARGET)):
        ids = np.zeros((len(found), LENGTH), np.int64)
        for row, one in enumerate(found):
            ids[row, : len(one[side])] = [words.index(word) for word in one[side]]
        arrays.append(ids)
    return arrays[0], arrays[1]


def train_translator(folder: Path, seed: int, epochs: int = 12) -> float:
    """Share of the words of held-out sentences that the network gets right; leaves `model.pt`."""
    torch.manual_seed(seed)
    network = translator()
    source, target = (torch.from_numpy(each) for each in encoded(phrases(4000, 2 * seed)))
    adam = torch.optim.Adam(network.parameters(), lr=4e-3)

    def loss(part: Tensor) -> Tensor:
        logits = network.logits(source[part], target[part]).flatten(0, 1)
        return cross_entropy(logits, target[part].flatten(), ignore_index=0)

    descend(adam, loss, len(source), epochs=epochs)
    network.eval()
    torch.save(network.state_dict(), folder / "model.pt")
    source, target = (torch.from_numpy(each) for each in encoded(phrases(500, 2 * seed + 1)))
    with torch.no_grad():
        right = network.logits(source, target).argmax(dim=2) == target
    return float(right[target > 0].float().mean())
