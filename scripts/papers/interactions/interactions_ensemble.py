"""Many small networks trained at once: one batched product for the same layer of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from xattr_cli.models.zoo import mlp

__all__ = ["HIDDEN", "Activation", "Ensemble", "Recipe", "Split", "train"]

Activation = Literal["relu", "gelu"]

HIDDEN = (64, 64, 64)
ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "gelu": nn.functional.gelu}
NETWORKS_AT_ONCE = 32  # their activations stay in the cache; measured, one core: 190 µs a network and step,
#                        against 580 µs alone and 210 µs for 256


@dataclass(frozen=True)
class Recipe:
    """What a network is and how it is trained; defaults as the paper's authors have them.

    Attributes:
        activation: after each hidden layer.
        epochs: at most.
        patience: epochs without a lower validation error until a network is finished.
        batch: samples per step.
        rate: of Adam.
    """

    activation: Activation = "relu"
    epochs: int = 200
    patience: int = 5
    batch: int = 128
    rate: float = 5e-3


@dataclass(frozen=True)
class Split:
    """Which samples are for what; they are exchangeable, so slices do.

    Attributes:
        training, validation, test: of the samples: 64, 16 and 20 %.
    """

    training: slice
    validation: slice
    test: slice

    @classmethod
    def of(cls, samples: int) -> Split:
        """The split of so many samples."""
        first, second = round(0.64 * samples), round(0.8 * samples)
        return cls(slice(0, first), slice(first, second), slice(second, samples))


class Ensemble:
    """Networks of one architecture with one output; called, it answers (networks, samples).

    Attributes:
        parameters: weights (networks, in, out) and biases (networks, 1, out) of the layers in turn.
        activation: after each hidden layer.
    """

    def __init__(self, parameters: Sequence[Tensor], activation: Activation = "relu") -> None:
        self.parameters = list(parameters)
        self.activation = activation

    @classmethod
    def initial(cls, networks: int, features: int, seed: int, activation: Activation = "relu") -> Ensemble:
        """Untrained networks, all of them alike: Glorot's uniform weights, no biases."""
        generator = torch.Generator().manual_seed(seed)
        parameters = []
        for before, after in pairwise((features, *HIDDEN, 1)):
            bound = (6 / (before + after)) ** 0.5
            weight = bound * (2 * torch.rand(before, after, generator=generator) - 1)
            parameters += [weight.repeat(networks, 1, 1), torch.zeros(networks, 1, after)]
        return cls(parameters, activation)

    def __len__(self) -> int:
        return len(self.parameters[0])

    def __call__(self, inputs: Tensor) -> Tensor:
        hidden = inputs.expand(len(self), *inputs.shape)
        *layers, last = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for weight, bias in layers:
            hidden = ACTIVATIONS[self.activation](torch.baddbmm(bias, hidden, weight))
        weight, bias = last
        return torch.baddbmm(bias, hidden, weight)[..., 0]

    def squared_error(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """(networks,) mean over the samples; `labels` are (networks, samples)."""
        return (self(inputs) - labels).square().mean(dim=1)

    def network(self, number: int) -> nn.Sequential:
        """One of the networks, as `xattr_cli.models.zoo:mlp` makes it."""
        found = mlp(self.parameters[0].shape[1], HIDDEN, 1, self.activation)
        layers = [layer for layer in found if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, self.parameters[::2], self.parameters[1::2], strict=True):
                layer.weight.copy_(weight[number].T)
                layer.bias.copy_(bias[number, 0])
        return found.eval()

    @classmethod
    def joined(cls, ensembles: Sequence[Ensemble]) -> Ensemble:
        """All networks, in order."""
        parameters = zip(*(ensemble.parameters for ensemble in ensembles), strict=True)
        return cls([torch.cat(alike) for alike in parameters], ensembles[0].activation)


@torch.no_grad()
def train(
    inputs: Tensor,
    labels: Tensor,
    *,
    seed: int,
    recipe: Recipe,
    progress: Callable[[int], None] = lambda networks: None,
) -> tuple[Ensemble, Tensor]:
    """Train one network per row of labels; each keeps the weights of its best epoch on the validation samples.

    All networks begin alike and see the samples in the same order, so that their labels alone make the
    difference, and a network does not depend on how many are trained beside it.

    Arguments:
        inputs: (samples, features), the same for all networks.
        labels: (networks, samples).
        seed: of the first weights and of the order of the samples.
        recipe: how they are trained.
        progress: told how many networks have been finished.

    Returns:
        The networks, and (networks,) their mean squared errors on the test samples.
    """
    test = Split.of(len(inputs)).test
    trained, errors = [], []
    for some in labels.split(NETWORKS_AT_ONCE):
        ensemble = _train(inputs, some, seed, recipe)
        trained.append(ensemble)
        errors.append(ensemble.squared_error(inputs[test], some[:, test]))
        progress(len(some))
    return Ensemble.joined(trained), torch.cat(errors)


def _train(inputs: Tensor, labels: Tensor, seed: int, recipe: Recipe) -> Ensemble:
    split = Split.of(len(inputs))
    generator = torch.Generator().manual_seed(seed)
    best = Ensemble.initial(len(labels), inputs.shape[1], seed, recipe.activation)
    team = _Team(Ensemble.initial(len(labels), inputs.shape[1], seed, recipe.activation), recipe)
    lowest, at = torch.full((len(labels),), torch.inf), torch.zeros(len(labels))
    for epoch in range(recipe.epochs):
        for batch in torch.randperm(split.training.stop, generator=generator).split(recipe.batch):
            team.step(inputs[batch], labels[team.members][:, batch])
        error = team.ensemble.squared_error(inputs[split.validation], labels[team.members][:, split.validation])
        better = error < lowest[team.members]
        improved = team.members[better]
        lowest[improved], at[improved] = error[better], float(epoch)
        for kept, now in zip(best.parameters, team.ensemble.parameters, strict=True):
            kept[improved] = now[better]
        team.keep(epoch - at[team.members] < recipe.patience)
        if len(team.members) == 0:
            break
    return best


class _Team:
    """The networks still in training, and Adam's memory of them; finished ones leave, so they cost nothing."""

    def __init__(self, ensemble: Ensemble, recipe: Recipe) -> None:
        self.ensemble = ensemble
        self.members = torch.arange(len(ensemble))
        self.adam = torch.optim.Adam(ensemble.parameters, lr=recipe.rate, fused=True)

    @torch.enable_grad()
    def step(self, inputs: Tensor, labels: Tensor) -> None:
        parameters = self.ensemble.parameters
        for parameter in parameters:
            parameter.requires_grad_()
        error = self.ensemble.squared_error(inputs, labels).sum()
        for parameter, gradient in zip(parameters, torch.autograd.grad(error, parameters), strict=True):
            parameter.requires_grad_(False).grad = gradient
        self.adam.step()

    def keep(self, staying: Tensor) -> None:
        if staying.all():
            return
        self.members = self.members[staying]
        for group in self.adam.param_groups:
            group["params"] = [self._kept(parameter, staying) for parameter in group["params"]]
        self.ensemble = Ensemble(self.adam.param_groups[0]["params"], self.ensemble.activation)

    def _kept(self, parameter: Tensor, staying: Tensor) -> Tensor:
        kept, memory = parameter[staying], self.adam.state.pop(parameter)
        moments = {name: value[staying] if value.ndim else value for name, value in memory.items()}
        self.adam.state[kept] = moments
        return kept
