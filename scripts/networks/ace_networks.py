"""The networks of the average-causal-effect experiments, so that a job file can name them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

__all__ = ["ConditionalVAE", "forecaster", "iris", "pixels", "reader", "vowels"]


def iris() -> nn.Sequential:
    """4-8-3 with ReLU, as in the paper; the softmax is the job's `score: probability`."""
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


class Reader(nn.Module):
    """A GRU over sequences (n, steps) that are padded at the end; one output from the last real step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.recurrence = nn.GRU(1, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 1)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self.recurrence(sequence[..., None])
        return self.readout(states[torch.arange(len(states)), lengths - 1])


def reader(hidden: int = 1) -> Reader:
    """The paper's network of one hidden unit."""
    return Reader(hidden)


class Vowels(nn.Module):
    """An LSTM in each direction over padded sequences (n, steps, coefficients); classes from both ends."""

    def __init__(self, coefficients: int, hidden: int, speakers: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(coefficients, hidden, batch_first=True)
        self.backward = nn.LSTM(coefficients, hidden, batch_first=True)
        self.readout = nn.Linear(2 * hidden, speakers)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        rows, steps = torch.arange(len(sequence)), torch.arange(sequence.shape[1])
        mirrored = (lengths[:, None] - 1 - steps).clamp(min=0)  # the real steps in reverse order
        ends = [
            states[rows, lengths - 1]
            for states in (
                self.onward(sequence)[0],
                self.backward(sequence.gather(1, mirrored[..., None].expand_as(sequence)))[0],
            )
        ]
        return self.readout(torch.cat(ends, dim=1))


def vowels(coefficients: int = 12, hidden: int = 24, speakers: int = 9) -> Vowels:
    """A bidirectional LSTM for JapaneseVowels."""
    return Vowels(coefficients, hidden, speakers)


class Forecaster(nn.Module):
    """An MLP from the last steps of a series (n, steps, channels) to the next one (n, channels)."""

    def __init__(self, channels: int, window: int, hidden: int) -> None:
        super().__init__()
        self.window = window
        self.layers = nn.Sequential(nn.Linear(window * channels, hidden), nn.Tanh(), nn.Linear(hidden, channels))

    def forward(self, series: Tensor) -> Tensor:
        return self.layers(series[:, -self.window :].flatten(1))


def forecaster(channels: int = 3, window: int = 6, hidden: int = 32) -> Forecaster:
    """One-step forecaster that is rolled out through its own predictions."""
    return Forecaster(channels, window, hidden)


class ConditionalVAE(nn.Module):
    """A β-VAE of 28 × 28 digits whose encoder and decoder are told the class."""

    def __init__(self, latents: int = 10, hidden: int = 256) -> None:
        super().__init__()
        self.latents = latents
        self.encode = nn.Sequential(nn.Linear(784 + 10, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latents))
        self.decode = nn.Sequential(nn.Linear(latents + 10, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def forward(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel logits, and mean and log variance of the latents."""
        code = one_hot(classes, 10).float()
        mean, log_variance = self.encode(torch.cat([images, code], dim=1)).chunk(2, dim=1)
        latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decode(torch.cat([latents, code], dim=1)), mean, log_variance


class Pixels(nn.Module):
    """Latents (n, latents) to pixels (n, 784) of a digit of one class."""

    def __init__(self, digit: int, latents: int = 10) -> None:
        super().__init__()
        self.digit = digit
        self.vae = ConditionalVAE(latents)

    def forward(self, latents: Tensor) -> Tensor:
        code = one_hot(torch.full((len(latents),), self.digit, device=latents.device), 10).to(latents)
        return torch.sigmoid(self.vae.decode(torch.cat([latents, code], dim=1)))


def pixels(digit: int) -> Pixels:
    """The decoder, for one digit; its checkpoint is that of the whole `ConditionalVAE`."""
    return Pixels(digit)
