"""Networks of the jobs beside this file: a language model, a solubility model, and a screening network."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NextWord", "Solubility", "graph", "next_word", "screening", "solubility"]


class NextWord(nn.Module):
    """An LSTM over token ids (n, steps), padded at the end; logits (n, vocabulary) of the word that follows.

    Words are read and predicted by the same vectors.
    """

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.recurrence = nn.LSTM(width, width, batch_first=True)
        self.state = nn.Identity()  # a name for what the whole text has become
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def logits(self, states: Tensor) -> Tensor:
        """(..., vocabulary) of states (..., width)."""
        return self.dropout(states) @ self.embedding.weight.T + self.bias

    def states(self, input_ids: Tensor) -> Tensor:
        """(n, steps, width) after every word."""
        states: Tensor = self.recurrence(self.dropout(self.embedding(input_ids)))[0]
        return states

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits after the last real word of every text."""
        last = attention_mask.sum(dim=1) - 1
        rows = torch.arange(len(input_ids), device=last.device)
        return self.logits(self.state(self.states(input_ids)[rows, last]))


def next_word(vocabulary: int = 4000, width: int = 128, dropout: float = 0.3) -> NextWord:
    """A language model that a single core trains in minutes."""
    return NextWord(vocabulary, width, dropout)


class Solubility(nn.Module):
    """SolTranNet: atom features (n, atoms, 28) to the logarithm of the solubility in mol/l, (n, 1).

    Its first "atom" is a dummy that is bonded to nothing. The mask says which atoms are real, so that it
    does not change while features are scaled down; bonds (n, atoms, atoms) may be wider than the atoms.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, atoms: Tensor, bonds: Tensor, mask: Tensor) -> Tensor:
        """(n, 1)."""
        count = atoms.shape[1]
        found: Tensor = self.network(atoms, mask, bonds[:, :count, :count], None)
        return found


def solubility() -> Solubility:
    """The network and the weights that the package soltrannet brings."""
    network = _part_of_soltrannet("transformer.py").make_model()
    weights = torch.load(_soltrannet() / "soltrannet_aqsol_trained.weights", map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return Solubility(network.eval())


def graph(molecule: Any) -> dict[str, Any]:
    """`atoms` (1 + atoms, 28) and `bonds` (1 + atoms, 1 + atoms) of an RDKit molecule, as SolTranNet has them."""
    atoms, bonds = _part_of_soltrannet("data_utils.py").featurize_mol(molecule, add_dummy_node=True)
    names = [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in molecule.GetAtoms()]
    return {"atoms": atoms.astype("float32"), "bonds": bonds.astype("float32"), "steps": ["dummy", *names]}


def _soltrannet() -> Path:
    # the package itself is not imported: it asks for setuptools of years ago
    spec = find_spec("soltrannet")
    if spec is None or spec.origin is None:
        raise ImportError("soltrannet is not installed: make install brings it")
    return Path(spec.origin).parent


@cache
def _part_of_soltrannet(name: str) -> ModuleType:
    spec = spec_from_file_location(f"soltrannet_{Path(name).stem}", _soltrannet() / name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} of soltrannet cannot be imported")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def screening(bits: int = 2048, hidden: tuple[int, ...] = (128, 64)) -> nn.Sequential:
    """Fingerprints (n, bits) of zeros and ones to the log-odds that a molecule is active, (n, 1)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(pairwise([bits, *hidden]), start=1):
        layers[f"linear{number}"] = nn.Linear(before, after)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"dropout{number}"] = nn.Dropout(0.3)
    layers["log_odds"] = nn.Linear(hidden[-1], 1)
    return nn.Sequential(layers)
