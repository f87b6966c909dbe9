"""Train the networks of jobs that ask other questions, and leave each with its data.

`segmentation` and `present` look at pictures (1, 16, 16) with two digits of scikit-learn, one in each half: the
first says of every pixel which digit it belongs to (0 is background, 1 + d the digit d), the second which digits
are there, several labels of a picture. `folds` are five networks for the table of breast cancers, each trained
without another fifth of it. `steps` is a network of `wine` whose input and hidden layer are rounded, in an ONNX
file: its gradient is 0 everywhere.

Example: python -m scripts.networks.train_questions segmentation runs/segmentation
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import nn

from scripts.networks.descent import descend
from xattr_cli.models.zoo import mlp

sys.path.append(str(Path(__file__).parents[2] / "configs"))  # where the networks are

from question_networks import pixels, present

SIDE = 16
PICTURES, HELD_OUT = 4000, 100


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 1, 16, 16), and what each of their pixels belongs to (count, 16, 16)."""
    digits, rng = load_digits(), np.random.default_rng(seed)
    x = np.zeros((count, 1, SIDE, SIDE), np.float32)
    y = np.zeros((count, SIDE, SIDE), np.int64)
    for row in range(count):
        for left in (0, 8):
            which, top = rng.integers(len(digits.target)), rng.integers(0, 9)
            drawn = digits.images[which] / 16
            x[row, 0, top : top + 8, left : left + 8] = drawn
            y[row, top : top + 8, left : left + 8] = np.where(drawn > 0.25, 1 + digits.target[which], 0)
    return x, y


def fit(network: nn.Module, x: np.ndarray, y: np.ndarray, loss: nn.Module, epochs: int) -> nn.Module:
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    descend(optimizer, lambda rows: loss(network(inputs[rows]), targets[rows]), len(inputs), epochs=epochs)
    return network.eval()


def hot(pixel: np.ndarray) -> np.ndarray:
    """(n, 10) 0 and 1, which digits pixels belong to."""
    return np.stack([(pixel == 1 + digit).any(axis=(1, 2)) for digit in range(10)], axis=1).astype(np.int64)


def train_segmentation(folder: Path) -> None:
    x, y = pictures(PICTURES, 0)
    network = fit(pixels(), x, y, nn.CrossEntropyLoss(), epochs=12)
    held, truth = pictures(HELD_OUT, 1)
    right = network(torch.from_numpy(held)).argmax(1).numpy() == truth
    print(f"segmentation: {right[truth > 0].mean():.1%} of the pixels of digits are right")
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=held, pixels=truth)


def train_present(folder: Path) -> None:
    x, y = pictures(PICTURES, 0)
    network = fit(present(), x, hot(y).astype(np.float32), nn.BCEWithLogitsLoss(), epochs=8)
    held, truth = pictures(HELD_OUT, 1)
    right = (network(torch.from_numpy(held)) > 0).numpy() == hot(truth)
    print(f"present: {right.mean():.1%} of the labels are right")
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=held, present=hot(truth))


def train_folds(folder: Path) -> None:
    data = load_breast_cancer()
    x = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    for number, left_out in enumerate(np.array_split(order, 5)):
        rows = np.setdiff1d(order, left_out)
        network = fit(mlp(30, [32], 2), x[rows], data.target[rows], nn.CrossEntropyLoss(), epochs=20)
        right = network(torch.from_numpy(x[left_out])).argmax(1).numpy() == data.target[left_out]
        print(f"fold {number}: {right.mean():.1%} of what it has not seen")
        torch.save(network.state_dict(), folder / f"fold{number}.pt")
    np.savez(folder / "data.npz", X=x, y=data.target)


def train_steps(folder: Path) -> None:
    """Rounded to halves in the input and the hidden layer, as quantised networks are."""
    data = load_wine()
    x = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32)
    network = fit(mlp(13, [16], 3), x, data.target, nn.CrossEntropyLoss(), epochs=60)
    first, second = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    weights = {
        "two": np.float32(2), "A": first.weight.detach().numpy().T, "a": first.bias.detach().numpy(),
        "B": second.weight.detach().numpy().T, "b": second.bias.detach().numpy(),
    }  # fmt: skip
    steps = [
        ("Mul", ["X", "two"], "x2"), ("Floor", ["x2"], "floored"), ("Div", ["floored", "two"], "q"),
        ("MatMul", ["q", "A"], "qA"), ("Add", ["qA", "a"], "h"), ("Relu", ["h"], "r"),
        ("Mul", ["r", "two"], "r2"), ("Floor", ["r2"], "steps"), ("Div", ["steps", "two"], "s"),
        ("MatMul", ["s", "B"], "sB"), ("Add", ["sB", "b"], "scores"),
    ]  # fmt: skip
    nodes = [helper.make_node(kind, given, [made], name=f"node_{made}") for kind, given, made in steps]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "steps", [value("X", TensorProto.FLOAT, ["N", 13])], [value("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "model.onnx"
    )
    np.savez(folder / "data.npz", X=x, y=data.target)


TRAINED = {
    "segmentation": train_segmentation,
    "present": train_present,
    "folds": train_folds,
    "steps": train_steps,
}


if __name__ == "__main__":
    torch.manual_seed(0)
    name, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    TRAINED[name](target)
