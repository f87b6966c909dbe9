"""Texts: read from files, cut up by a tokenizer, padded; every fault has a message."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xattr_cli.datasets import open_dataset
from xattr_cli.errors import DataError
from xattr_cli.job.config import resolve_plugin
from xattr_cli.registry import DATASETS

language = pytest.importorskip("helpers.language", reason="transformers is not installed")
VOCABULARY = language.VOCABULARY

TEXTS = ["The cat sat on the mat.", "A very good film", "barked"]
PIECES = [
    ["[CLS]", "the", "cat", "sat", "on", "the", "mat", ".", "[SEP]"],
    ["[CLS]", "a", "very", "good", "film", "[SEP]"],
    ["[CLS]", "bark", "##ed", "[SEP]"],
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    language.save_tokenizer(folder)
    return folder


def texts(path, tokenizer, **options):
    given = {
        "kind": "text",
        "path": str(path),
        "tokenizer": None if tokenizer is None else str(tokenizer),
        **options,
    }
    return open_dataset(resolve_plugin(DATASETS, given))


def lines(folder, content=None, name="texts.txt"):
    path = folder / name
    path.write_text("\n".join(TEXTS) + "\n" if content is None else content, encoding="utf-8")
    return path


def numbers(pieces):
    return [VOCABULARY.index(piece) for piece in pieces]


def test_ids_masks_and_names_of_tokens(tmp_path, tokenizer):
    samples = texts(lines(tmp_path), tokenizer)
    batch = samples.read(0, 3)
    assert [spec.name for spec in samples.inputs] == ["input_ids", "attention_mask"]
    assert [spec.explainable for spec in samples.inputs] == [True, False]
    assert {spec.sequence for spec in samples.inputs} == {"text"}
    for row, pieces in enumerate(PIECES):
        length = len(pieces)
        assert batch.inputs["input_ids"][row].tolist() == numbers(pieces) + [0] * (9 - length)
        assert batch.inputs["attention_mask"][row].tolist() == [1] * length + [0] * (9 - length)
        assert batch.real["text"][row].tolist() == [True] * length + [False] * (9 - length)
        assert batch.tokens["text"][row].tolist() == pieces + [""] * (9 - length)
    assert samples.read(1, 2).tokens["text"][0, :6].tolist() == PIECES[1]
    assert batch.labels is None and samples.known_labels() is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "\ufeffThe cat sat on the mat.\n\n  A very good film  \r\nbarked"),
        ("texts.csv", 'text,other\nThe cat sat on the mat.,1\n"A very good film",2\nbarked,3\n'),
        ("texts.jsonl", "".join(json.dumps({"text": text, "n": 1}) + "\n\n" for text in TEXTS)),
    ],
)
def test_every_kind_of_file_holds_the_same(tmp_path, tokenizer, name, content):
    samples = texts(lines(tmp_path, content, name), tokenizer)
    assert np.array_equal(samples.read(0, 3).inputs["input_ids"][:, :9], _ids())
    assert samples.fingerprint == texts(lines(tmp_path), tokenizer).fingerprint


def _ids():
    return np.array([numbers(pieces) + [0] * (9 - len(pieces)) for pieces in PIECES])


def test_labels_and_keys(tmp_path, tokenizer):
    content = "".join(
        json.dumps({"text": text, "label": label, "share": share, "name": f"t{i}", "sort": sort}) + "\n"
        for i, (text, label, share, sort) in enumerate(
            zip(TEXTS, (1, 0, 2), (0.5, 1, 2.5), ("b", "a", "b"), strict=True)
        )
    )
    path = lines(tmp_path, content, "texts.jsonl")
    batch = texts(path, tokenizer, label="label", key="name").read(1, 3)
    assert batch.labels.tolist() == [0, 2] and batch.labels.dtype == np.int64 and batch.keys == ("t1", "t2")
    assert texts(path, tokenizer, label="share").known_labels().tolist() == [0.5, 1.0, 2.5]
    named = texts(path, tokenizer, label="sort")
    assert named.known_labels().tolist() == [1, 0, 1] and named.classes == ("a", "b")
    csv = lines(tmp_path, "text,label\na cat,1\na dog,0\n", "texts.csv")
    assert texts(csv, tokenizer, label="label").known_labels().tolist() == [1, 0]


def test_pairs_of_texts(tmp_path, tokenizer):
    path = lines(tmp_path, "text,partner\na cat,the dog ran\nfilm,bad\n", "pairs.csv")
    batch = texts(path, tokenizer, partner="partner").read(0, 2)
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0]]
    assert batch.tokens["text"][1].tolist() == ["[CLS]", "film", "[SEP]", "bad", "[SEP]", "", "", ""]


def test_the_last_token_as_label(tmp_path, tokenizer):
    samples = texts(lines(tmp_path), tokenizer, next_token=True)
    batch = samples.read(0, 3)
    assert [VOCABULARY[number] for number in batch.labels] == [".", "film", "##ed"]
    assert batch.tokens["text"][1].tolist() == ["[CLS]", "a", "very", "good", "", "", ""]
    assert samples.classes == tuple(VOCABULARY)


def test_lengths(tmp_path, tokenizer):
    path = lines(tmp_path)
    assert texts(path, tokenizer, max_length=12).inputs[0].shape == (12,)
    assert texts(path, tokenizer, limit=1).inputs[0].shape == (9,)
    cut = texts(path, tokenizer, max_length=5, truncate=True).read(0, 3)
    assert cut.tokens["text"][0].tolist() == ["[CLS]", "the", "cat", "sat", "[SEP]"]
    assert cut.tokens["text"][2].tolist() == ["[CLS]", "bark", "##ed", "[SEP]", ""]
    with pytest.raises(
        DataError, match=r"texts.txt, line 1: the text has 9 tokens, but dataset.max_length allows 5"
    ):
        texts(path, tokenizer, max_length=5)
    long = lines(tmp_path, "a cat\n" + "cat " * 20, "long.txt")
    with pytest.raises(
        DataError, match=r"line 2: the text has 22 tokens, but the model takes 16. .*truncate: true"
    ):
        texts(long, tokenizer)
    assert texts(long, tokenizer, truncate=True).inputs[0].shape == (16,)


def test_a_single_file_is_a_tokenizer_too(tmp_path, tokenizer):
    samples = texts(lines(tmp_path), tokenizer / "tokenizer.json")
    assert np.array_equal(samples.read(0, 3).inputs["input_ids"], _ids())
    assert samples.vocabulary.number("pad") == 0 and samples.vocabulary.number("film") == VOCABULARY.index("film")


@pytest.mark.parametrize(
    ("name", "content", "options", "text"),
    [
        ("t.txt", "\n \n", {}, "t.txt: the dataset is empty"),
        ("t.doc", "a", {}, "unknown type of file. Allowed: .txt, .csv, .jsonl"),
        ("t.csv", "txt\na cat\n", {}, "t.csv has no column 'text'. Allowed: txt. Did you mean 'txt'?"),
        ("t.csv", "text,x\na cat\n", {}, "t.csv, line 2: as many values as the header has names are needed"),
        ("t.csv", "text,text\na,b\n", {}, "several columns are called 'text'"),
        ("t.csv", "text,x\na cat,1\n  ,2\n", {}, "t.csv, line 3: 'text' is empty"),
        ("t.jsonl", '{"text": "a"}\n{"text": 3}\n', {}, "t.jsonl, line 2: 'text' is 3, no text"),
        ("t.jsonl", '{"text": "a"}\n{"txt": "b"}\n', {}, "t.jsonl has no column 'text'. Allowed: txt"),
        ("t.jsonl", '{"text": "a"\n', {}, "t.jsonl, line 1: is no JSON"),
        ("t.jsonl", "[1]\n", {}, "t.jsonl, line 1: an object such as"),
        ("t.csv", "text,y\na cat,\n", {"label": "y"}, "t.csv, line 2: 'y' has no label"),
        (
            "t.txt",
            "a\n",
            {"next_token": True, "max_length": 1},
            "the text has 3 tokens, but dataset.max_length allows 1",
        ),
    ],
)
def test_faults_of_files(tmp_path, tokenizer, name, content, options, text):
    with pytest.raises(DataError) as error:
        texts(lines(tmp_path, content, name), tokenizer, **options)
    assert text in str(error.value)


def test_a_file_in_another_encoding(tmp_path, tokenizer):
    (tmp_path / "t.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(DataError, match="is not in UTF-8"):
        texts(tmp_path / "t.txt", tokenizer)


def test_no_tokenizer(tmp_path, tokenizer):
    path = lines(tmp_path)
    with pytest.raises(DataError, match=r"dataset.tokenizer: no tokenizer is named"):
        texts(path, None)
    with pytest.raises(DataError, match=r"bert-base-uncased: no such file or folder. Nothing is ever downloaded"):
        texts(path, tmp_path / "bert-base-uncased")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no tokenizer that can be read"):
        texts(path, tmp_path / "empty")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json holds no tokenizer that can be read"):
        texts(path, tmp_path / "tokenizer.json")


def test_tokens_that_the_vocabulary_lacks(tmp_path, tokenizer):
    vocabulary = texts(lines(tmp_path), tokenizer).vocabulary
    with pytest.raises(DataError, match=r"no token 'films'; it is made of \['\[UNK\]'\]. Did you mean 'film'\?"):
        vocabulary.number("films")
    with pytest.raises(DataError, match=r"has no bos token. It has: pad, mask, unk, cls, sep"):
        vocabulary.number("bos")
    assert vocabulary.special == {0, 2, 3}


def test_next_token_goes_with_no_label(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="goes with neither label nor partner"):
        texts(lines(tmp_path), tokenizer, next_token=True, label="y")
    with pytest.raises(DataError, match=r"line 1: nothing is left before the last token"):
        texts(lines(tmp_path, "[CLS]\n", "s.txt"), tokenizer / "tokenizer.json", next_token=True)
