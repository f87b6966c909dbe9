"""A network whose only weights are one matrix in a .npy file."""

import numpy as np
import torch
from pydantic import Field
from torch import nn

from xattr_cli.plugins import JobPath, LoadedModel, ModelSource, fingerprint_file


class Readout(ModelSource):
    """Scores tanh(gain · x) W of a vector x, with W (features, outputs) from a .npy file."""

    weights: JobPath = Field(description=".npy file of W")
    gain: float = Field(default=1.0, gt=0, description="slope at 0; a high one saturates early")

    def load(self) -> LoadedModel:
        matrix = torch.from_numpy(np.load(self.weights))
        return LoadedModel(_Readout(matrix, self.gain), fingerprint_file(self.weights))


class _Readout(nn.Module):
    def __init__(self, matrix: torch.Tensor, gain: float) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.gain * x) @ self.matrix
