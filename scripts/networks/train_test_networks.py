"""Train the small networks that the tests read, and leave their weights in tests/helpers/trained/*.safetensors.

The tests hold for these weights on every processor; another processor makes others of the same recipe, so
run this only to change a recipe, and commit what it leaves.

Example: python -m scripts.networks.train_test_networks tests/helpers/trained
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor, nn

from scripts.networks.descent import descend

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from helpers import negation, references
from helpers import results as reports
from helpers.blocks import NETWORKS, digits
from helpers.weights import FOLDER

ROOT = Path(__file__).parents[2]

Loss = Callable[[Tensor, Tensor], Tensor]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, train in RECIPES.items():
        save_file(train().state_dict(), folder / f"{name}.safetensors")
        (folder / f"{name}.safetensors").chmod(0o644)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"{len(RECIPES)} networks, {size / 1e3:.0f} kB: {folder}")
    if folder.resolve() == FOLDER:
        references.remake()


def of_digits(name: str, epochs: int = 12, seed: int = 0) -> nn.Module:
    """One of `NETWORKS`, trained in whole epochs on the digits."""
    torch.manual_seed(seed)
    images, labels = digits()[:2]
    network = NETWORKS[name]()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    descend(
        optimizer,
        lambda part: nn.functional.cross_entropy(network(images[part]), labels[part]),
        len(images),
        epochs=epochs,
    )
    return network.eval()


# --- sentences ------------------------------------------------------------------------------------


def of_negation(epochs: int = 300) -> nn.Module:
    """A reader of all sentences, with gaps in them."""
    ids, mask, _ = negation.numbered()
    torch.manual_seed(0)
    network = negation.Reader()
    adam = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(epochs):
        read = ids.where(torch.rand(ids.shape) > 0.25, 0)
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(read, mask), praised(read)).backward()
        adam.step()
    return network.eval()


def praised(ids: Tensor) -> Tensor:
    """(n, 1): 1 for praise, 0 for blame, a half where no word says which."""
    good, bad, turned = (_holds(ids, words) for words in (negation.GOOD, negation.BAD, ("not",)))
    return torch.where(good | bad, (good ^ turned).float(), torch.tensor(0.5))[:, None]


def _holds(ids: Tensor, words: tuple[str, ...]) -> Tensor:
    """(n,) whether a sentence has any of the words."""
    return torch.isin(ids, torch.tensor([negation.WORDS.index(word) for word in words])).any(1)


# --- reports --------------------------------------------------------------------------------------


def fit(
    make: Callable[[], nn.Module], inputs: Tensor, labels: Tensor, loss: Loss, steps: int, lr: float = 1e-2
) -> nn.Module:
    """A network trained for some steps on 64 rows each."""
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (min(64, len(inputs)),), generator=generator)
        optimizer.zero_grad()
        loss(network(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


def of_report_digits() -> nn.Module:
    lines, labels = reports.digit_lines()
    loss = nn.functional.cross_entropy
    return fit(reports.digits_network, lines[:, None], torch.from_numpy(labels), loss, steps=300)


def of_lines() -> nn.Module:
    lines, labels = reports.digit_lines()
    return fit(reports.lines_network, lines, torch.from_numpy(labels), nn.functional.cross_entropy, steps=120)


def of_cancer() -> nn.Module:
    data = load_breast_cancer()
    labels = torch.from_numpy(data.target)
    table = reports.standardised(data)[0]
    return fit(reports.cancer_network, table, labels, nn.functional.cross_entropy, steps=200)


def of_diabetes() -> nn.Module:
    data = load_diabetes(scaled=False)
    labels = torch.from_numpy(data.target.astype(np.float32))[:, None]
    table = reports.standardised(data)[0]
    return fit(reports.diabetes_network, table, labels, nn.functional.mse_loss, steps=300, lr=3e-2)


def of_photographs() -> nn.Module:
    return fit(reports.photograph_network, *reports.crops(), nn.functional.cross_entropy, steps=25)


RECIPES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(of_digits, name) for name in NETWORKS},
    "negation": of_negation,
    "reports_digits": of_report_digits,
    "reports_lines": of_lines,
    "reports_cancer": of_cancer,
    "reports_diabetes": of_diabetes,
    "reports_photographs": of_photographs,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests" / "helpers" / "trained")
