"""Output tokens of language models: scores and maps as transformers and captum have them, a row per token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput
from helpers.cli import datasets, invoke, relative, run, write_job

import xattr_cli
from xattr_cli.models.huggingface.continuation import DecoderOnly, continuation_of
from xattr_cli.models.huggingface.heads import NextToken

helpers = pytest.importorskip("helpers.continuations", reason="transformers is not installed")
transformers = helpers.transformers
RECORDS, encode = helpers.RECORDS, helpers.encode
CONFIGS = Path(__file__).parents[2] / "configs"
ENGINE = "engines/integrated_gradients"
FIXED = {"baseline": {"kind": "token", "token": 0}, "rule": "gauss_legendre", "nodes": 20}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Family → folder and network, and a file of prompts beside them."""
    folder = tmp_path_factory.mktemp("continuations")
    helpers.write_records(folder)
    return {
        family: (folder / family, helpers.save_network(folder / family, family)) for family in helpers.FAMILIES
    }


def sections(folder, *, engine=None, **more):
    dataset = {"kind": "prompts", "path": str(folder.parent / "prompts.jsonl"), "labels": None}
    return {
        "model": {"kind": "transformers", "factory": None, "path": str(folder), **more.pop("model", {})},
        "dataset": {**dataset, "continuation": "continuation", **more.pop("dataset", {})},
        "explain": {"embedding": "auto"},
        "target": "continuation",
        "score": "log_probability",
        "engines": {"integrated_gradients": FIXED if engine is None else engine},
        **more,
    }


def explained(folder, **given):
    output = given.pop("output", {"path": "out.h5"})
    run(write_job(folder, output=output, **given))
    return datasets(folder / output["path"])


def alone(network, record, column="continuation"):
    """(tokens, vocabulary) log-probabilities at each token of a continuation, one prompt at a time."""
    prompt, output = encode(record["text"]), encode(record[column])
    with torch.no_grad():
        if network.config.is_encoder_decoder:
            given = {
                "input_ids": torch.tensor([[*prompt, 0]]),
                "decoder_input_ids": torch.tensor([[0, *output[:-1]]]),
            }
            logits = network(**given).logits[0]
        else:
            logits = network(input_ids=torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1), torch.tensor(output)


def scores_alone(network, record, column="continuation"):
    logs, output = alone(network, record, column)
    return logs.gather(1, output[:, None])[:, 0].numpy()


# --- scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", helpers.FAMILIES)
def test_every_output_token_is_a_row_with_its_score(tmp_path, networks, family):
    folder, network = networks[family]
    found = explained(tmp_path, **sections(folder))
    expected = np.concatenate([scores_alone(network, record) for record in RECORDS])
    assert found[f"{ENGINE}/score_input"] == pytest.approx(expected, abs=1e-5)
    assert found["rows/sample"].tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert found["rows/target"].tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    with xattr_cli.open_results(tmp_path / "out.h5") as results:
        assert results.rows_frame()["target_name"].tolist()[:2] == ["the", "mat"]
    top = invoke("top", tmp_path / "out.h5", "--row", 1, "--count", 1)
    assert "target 1 (mat), integrated_gradients: score" in top.output
    assert found["rows/output"].tolist() == " ".join(record["continuation"] for record in RECORDS).split()
    steps = 5 if network.config.is_encoder_decoder else 4
    assert found[f"{ENGINE}/attribution"].shape == (8, steps, 16)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_contrast_is_scored_after_its_own_tokens(tmp_path, networks, family):
    folder, network = networks[family]
    given = sections(folder, dataset={"contrast": "contrast"})
    found = explained(tmp_path, **given)
    pairs = [(scores_alone(network, r), scores_alone(network, r, "contrast")) for r in RECORDS]
    # the first token of the first pair is the same in both, and the last has no counterpart
    places = [(0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert found[f"{ENGINE}/score_input"] == pytest.approx(
        [pairs[s][0][k] - pairs[s][1][k] for s, k in places], abs=1e-5
    )
    assert list(zip(found["rows/sample"], found["rows/target"], strict=True)) == places
    assert found["rows/output"][:2].tolist() == ["mat (not road)", "ran (not sat)"]
    given["target"] = {"select": "continuation", "reduce": "sum"}
    given["output"] = {"path": "sum.h5"}
    summed = explained(tmp_path, **given)
    assert summed[f"{ENGINE}/score_input"] == pytest.approx([a.sum() - b.sum() for a, b in pairs], abs=1e-5)
    assert summed["rows/output"][1] == "ran (not sat on)"


def test_the_mean_over_a_continuation_and_other_scores(tmp_path, networks):
    folder, network = networks["gpt2"]
    logs, output = alone(network, RECORDS[0])
    margin = logs.gather(1, output[:, None])[:, 0] - logs.scatter(1, output[:, None], -torch.inf).amax(1)
    entropy = -(logs.exp() * logs).sum(1)
    for score, expected in (("margin", margin), ("entropy", entropy)):
        given = sections(
            folder, score=score, dataset={"limit": 1}, target={"select": "continuation", "reduce": "mean"}
        )
        found = explained(tmp_path, **given, output={"path": f"{score}.h5"})
        assert found[f"{ENGINE}/score_input"] == pytest.approx([float(expected.mean())], abs=1e-5)


@pytest.mark.parametrize("family", helpers.FAMILIES)
def test_a_continuation_that_nobody_gave_is_the_likeliest(tmp_path, networks, family):
    folder, network = networks[family]
    found = explained(tmp_path, **sections(folder, dataset={"continuation": None, "new_tokens": 3, "limit": 2}))
    for sample in (0, 1):
        words = found["rows/output"][found["rows/sample"] == sample].tolist()
        logs, output = alone(network, {**RECORDS[sample], "continuation": " ".join(words)})
        assert 1 <= len(words) <= 3 and torch.equal(logs.argmax(1), output)


# --- maps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_layer_integrated_gradients_of_captum_per_output_token(tmp_path, networks, family):
    folder, network = networks[family]
    found = explained(tmp_path, **sections(folder, explain={"embedding": "auto", "reduce": "sum"}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = None  # which would end the prompt
    peer = LLMGradientAttribution(LayerIntegratedGradients(network, network.get_input_embeddings()), tokenizer)
    for sample, record in enumerate(RECORDS):
        prompt = TextTokenInput(record["text"], tokenizer)
        theirs = peer.attribute(
            prompt, target=torch.tensor(encode(record["continuation"])), n_steps=20, method="gausslegendre"
        ).token_attr  # fmt: skip
        ours = found[f"{ENGINE}/reduced"][found["rows/sample"] == sample]
        assert relative(ours[:, : theirs.shape[1]], theirs.numpy()).max() < 1e-5
        assert (ours[:, theirs.shape[1] :] == 0).all()


@pytest.mark.parametrize("family", helpers.FAMILIES)
def test_the_prefix_is_explained_beside_the_prompt(tmp_path, networks, family):
    """By an integral of our own over the vectors of both, at Gauss-Legendre nodes."""
    folder, network = networks[family]
    engine = {**FIXED, "baseline": {"kind": "zero"}}
    found = explained(tmp_path, **sections(folder, engine=engine, explain={"embedding": ["source", "prefix"]}))
    prompt, output = encode(RECORDS[0]["text"]), encode(RECORDS[0]["continuation"])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    is_pair = network.config.is_encoder_decoder
    encoder = network.get_encoder().get_input_embeddings() if is_pair else network.get_input_embeddings()
    decoder = network.get_decoder().get_input_embeddings() if is_pair else encoder
    source = encoder(torch.tensor([[*prompt, 0] if is_pair else prompt])).detach()
    prefix = decoder(torch.tensor([[0, *output[:-1]] if is_pair else output[:-1]])).detach()
    total = [torch.zeros_like(source), torch.zeros_like(prefix)]
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        ends = [(float(node) * one).requires_grad_() for one in (source, prefix)]
        if is_pair:
            logits = network(inputs_embeds=ends[0], decoder_inputs_embeds=ends[1]).logits[0]
        else:
            logits = network(inputs_embeds=torch.cat(ends, dim=1)).logits[0, len(prompt) - 1 :]
        score = logits.log_softmax(-1)[2, output[2]]
        for held, end, gradient in zip(total, (source, prefix), torch.autograd.grad(score, ends), strict=True):
            held += float(weight) * end * gradient
    row = 2
    for name, peer in zip(("source", "prefix"), total, strict=True):
        ours = found[f"{ENGINE}/attribution/{name}"][row][: peer.shape[1]]
        assert relative(ours[None], peer.numpy()).max() < 1e-4
    assert found["inputs/prefix/tokens"][0].tolist()[:2] == (["</s>", "the"] if is_pair else ["the", "mat"])
    first = found[f"{ENGINE}/attribution/prefix"][0]
    assert (first[1 if is_pair else 0 :] == 0).all()  # no output token is moved by a later one


def test_the_rows_of_a_prompt_share_their_forward_passes(tmp_path, networks, monkeypatch):
    """Twenty more nodes are twenty more passes of each of 3 prompts, and twenty evaluations of each of 8 rows."""
    folder, _ = networks["gpt2"]
    passed = []
    logits = DecoderOnly.logits

    def counted(self, prompt, *others):
        passed[-1] += len(prompt[0])
        return logits(self, prompt, *others)

    monkeypatch.setattr(DecoderOnly, "logits", counted)
    for nodes in (20, 40):
        passed.append(0)
        engine = {**FIXED, "nodes": nodes}
        compute = {"device": "cpu", "batch_rows": 5}
        found = explained(
            tmp_path, **sections(folder, engine=engine), compute=compute, output={"path": f"{nodes}.h5"}
        )
        assert found[f"{ENGINE}/evaluations"].sum() >= 8 * nodes
    assert passed[1] - passed[0] == 3 * 20
    took = []
    for rtol in (0.03, 0.0003):
        passed.append(0)
        given = sections(folder, engine={"rule": "gradient", "rtol": rtol, "baseline": {"kind": "zero"}})
        found = explained(tmp_path, **given, compute=compute, output={"path": f"{rtol}.h5"})
        took.append(found[f"{ENGINE}/evaluations"].sum())
    assert passed[-1] - passed[-2] < 0.75 * (took[1] - took[0])


def test_a_row_depends_on_no_company(tmp_path, networks):
    folder, _ = networks["gpt2"]
    engine = {"rtol": 0.01, "rule": "gradient"}
    found = explained(tmp_path, **sections(folder, engine=engine))
    assert (found[f"{ENGINE}/status"] == 0).all()
    gap = np.abs(found[f"{ENGINE}/completeness_gap"])
    assert (gap < 0.05 * np.abs(found[f"{ENGINE}/score_input"])).all()
    (tmp_path / "prompts.jsonl").write_text(json.dumps(RECORDS[2]))
    given = sections(folder, engine=engine, dataset={"path": str(tmp_path / "prompts.jsonl")})
    lonely = explained(tmp_path, **given, output={"path": "lonely.h5"})
    assert relative(lonely[f"{ENGINE}/attribution"], found[f"{ENGINE}/attribution"][4:]).max() < 1e-4


def test_parts_and_shards_of_unequal_samples_are_the_whole(tmp_path, networks):
    """Parts of three rows cut through the samples, which have 3, 1 and 4."""
    folder, _ = networks["gpt2"]
    whole = explained(tmp_path, **sections(folder))
    job = write_job(tmp_path, **sections(folder), output={"path": "parts.h5", "part_rows": 3})
    for shard in ("1/2", "2/2"):
        assert invoke("run", job, "--shard", shard).exit_code == 0
    assert invoke("merge", job).exit_code == 0
    found = datasets(tmp_path / "parts.h5")
    for name in ("rows/sample", "rows/target", "rows/output", f"{ENGINE}/attribution", "samples/index"):
        assert np.array_equal(found[name], whole[name]), name


# --- what stands around a prompt ----------------------------------------------------------------


def test_left_padding_changes_nothing(networks):
    """Padding on either side of the ids; other lengths may round otherwise."""
    folder, network = networks["gpt2"]
    prompt, output = torch.tensor([encode("the cat sat on")]), torch.tensor([encode("the mat")])
    mask, prefix = torch.ones_like(prompt), output[:, :1]
    module = continuation_of(transformers.AutoModelForCausalLM.from_pretrained(folder))
    plain = module(prompt, mask, output, prefix, torch.ones_like(prefix))
    pad = torch.zeros(1, 3, dtype=torch.int64)
    for sides in ((pad, prompt), (prompt, pad)):
        masks = [torch.ones_like(one) if one is prompt else one for one in sides]
        found = module(torch.cat(sides, 1), torch.cat(masks, 1), output, prefix, torch.ones_like(prefix))
        torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    following = NextToken(transformers.AutoModelForCausalLM.from_pretrained(folder))
    left = following(torch.cat([pad, prompt], 1), torch.cat([pad, mask], 1))
    assert torch.allclose(left, following(prompt, mask), atol=1e-5)
    assert torch.allclose(left, network(input_ids=prompt).logits[:, -1], atol=1e-5)


def test_a_chat_template_and_its_messages_as_segments(tmp_path):
    folder = tmp_path / "gpt2"
    network = helpers.save_network(folder, "gpt2", chat=True)
    messages = [{"role": "user", "content": "is it good"}, {"role": "assistant", "content": "yes"}]
    messages.append({"role": "user", "content": "very good"})
    helpers.write_records(
        tmp_path, [{"text": messages, "continuation": "no"}, {"text": "is it", "continuation": "yes"}]
    )
    engine = {"engine": "shapley", "baseline": {"kind": "zero"}, "groups": "segments"}
    given = sections(folder, dataset={"chat": True}, engine=engine)
    found = explained(tmp_path, **given)
    text = "user : is it good . assistant : yes . user : very good . assistant :"
    assert found["inputs/source/tokens"][0].tolist() == text.split()
    record = {"text": text, "continuation": "no"}
    assert found[f"{ENGINE}/score_input"][0] == pytest.approx(scores_alone(network, record)[0], abs=1e-5)
    assert list(found["inputs/segment_ids/categories"]) == ["user", "assistant", "user 2"]
    names = list(found[f"{ENGINE}/groups"])
    assert names == ["user", "assistant", "user 2", "rest"]
    effects = found[f"{ENGINE}/group_effect"]
    # the second prompt has one message: the others do nothing there
    assert (effects[1, 1:3] == 0).all() and effects[1, 0] != 0
    gain = found[f"{ENGINE}/score_input"] - found[f"{ENGINE}/score_baseline"]
    assert effects.sum(1) == pytest.approx(gain, abs=1e-5)


def test_prompts_of_named_segments(tmp_path, networks):
    folder, _ = networks["gpt2"]
    records = [
        {"text": {"context": "the dog ran", "question": "is it loud"}, "continuation": "yes"},
        {"text": ["the cat sat", "is it good"], "continuation": "no"},
    ]
    helpers.write_records(tmp_path, records)
    given = sections(folder, dataset={"path": str(tmp_path / "prompts.jsonl"), "separator": " . "})
    given["engines"] = {"occlusion": {"groups": "segments"}}
    found = explained(tmp_path, **given)
    names = ["context", "question", "segment 1", "segment 2", "rest"]
    assert list(found["engines/occlusion/groups"]) == names
    assert found["inputs/segment_ids/values"][0].tolist() == [0, 0, 0, -1, 1, 1, 1]
    assert (found["engines/occlusion/group_effect"] != 0).tolist() == [
        [True, True, False, False, True],
        [False, False, True, True, True],
    ]


# --- half precision -----------------------------------------------------------------------------


def test_weights_of_half_precision_as_they_are_stored(tmp_path):
    """Points of a path are in the embeddings' own type, sums in float32; the drift is on record."""
    folder = tmp_path / "gpt2"
    helpers.save_network(folder, "gpt2", dtype=torch.bfloat16)
    helpers.write_records(tmp_path)
    given = sections(folder, engine={"rule": "gauss_legendre", "nodes": 20})
    exact = explained(tmp_path, **given)
    job = write_job(
        tmp_path, **given, compute={"device": "cpu", "precision": "as_stored"}, output={"path": "half.h5"}
    )
    outcome = invoke("run", job)
    assert outcome.exit_code == 0, outcome.stderr
    assert "weights bfloat16 as stored: on the first 4 rows scores differ by 0.0" in outcome.output
    found = datasets(tmp_path / "half.h5")
    apart = np.abs(found[f"{ENGINE}/attribution"] - exact[f"{ENGINE}/attribution"])
    assert found[f"{ENGINE}/attribution"].dtype == np.float32
    assert 0 < apart.max() < 0.1 * np.abs(exact[f"{ENGINE}/attribution"]).max()


def test_quantised_weights_in_a_network_of_ones_own(tmp_path, networks):
    """int8 in the layers, bfloat16 elsewhere; any module that answers as `continuation_of` does takes prompts."""
    folder, _ = networks["llama"]
    given = sections(folder, engine={**FIXED, "baseline": {"kind": "token", "token": "unk"}})
    given["dataset"]["tokenizer"] = str(folder)
    exact = explained(tmp_path, **given)
    factory = {"factory": "helpers.continuations:quantised_llama", "kwargs": {"folder": str(folder)}}
    given["model"] = {"kind": "python", **factory}
    compute = {"device": "cpu", "precision": "as_stored"}
    outcome = invoke("run", write_job(tmp_path, **given, compute=compute, output={"path": "int8.h5"}))
    assert outcome.exit_code == 0, outcome.stderr
    assert "weights bfloat16 as stored: on the first 4 rows scores differ by 0.0" in outcome.output
    found = datasets(tmp_path / "int8.h5")[f"{ENGINE}/attribution"]
    apart = np.linalg.norm(found - exact[f"{ENGINE}/attribution"]) / np.linalg.norm(exact[f"{ENGINE}/attribution"])
    assert 0.001 < apart < 0.1


def test_the_answers_of_the_small_llama(tmp_path):
    """The job of configs/answers.yaml: what the network itself says is the right answer, and every row settles."""
    job = CONFIGS / "answers.yaml"
    changes = ["dataset.limit=2", "dataset.continuation=null", f"output.path={tmp_path / 'out.h5'}"]
    outcome = invoke("run", job, *(word for change in changes for word in ("--set", change)))
    assert outcome.exit_code == 0, outcome.stderr
    found = datasets(tmp_path / "out.h5")
    lines = (CONFIGS / "answers" / "prompts.jsonl").read_text().splitlines()[:2]
    for sample, line in enumerate(lines):
        words = found["rows/output"][found["rows/sample"] == sample]
        assert " ".join(words) == json.loads(line)["continuation"]
    assert (found[f"{ENGINE}/status"] == 0).all()


# --- what cannot be -----------------------------------------------------------------------------


def refused(folder, **given):
    outcome = invoke("run", write_job(folder, **given))
    assert outcome.exit_code == 2, outcome.output
    return outcome.stderr


def test_reasons(tmp_path, networks):
    folder, _ = networks["gpt2"]
    assert "target: continuation for a row per output token" in refused(
        tmp_path, **sections(folder, target="predicted")
    )
    assert "no chat template" in refused(tmp_path, **sections(folder, dataset={"chat": True}))
    assert "'prompts' asks for the tokens of continuations" in refused(
        tmp_path, **sections(folder, model={"task": "next_token"})
    )
    assert "has no column 'answer'" in refused(tmp_path, **sections(folder, dataset={"continuation": "answer"}))
    long = [{"text": "the " * 23, "continuation": "cat sat"}]
    helpers.write_records(tmp_path, long)
    given = sections(folder, dataset={"path": str(tmp_path / "prompts.jsonl")})
    assert "have 25 tokens, but the model takes 24" in refused(tmp_path, **given)
    same = sections(folder, dataset={"contrast": "continuation"})
    assert "the same column: every score would be zero" in refused(tmp_path, **same)
    given = sections(folder)
    given["dataset"] = {"kind": "text", "path": str(tmp_path / "prompts.jsonl"), "labels": None}
    assert "dataset kind 'text' has no continuations" in refused(tmp_path, **given)


# --- inseq --------------------------------------------------------------------------------------

INSEQ = {
    "gpt2": [
        [0.160078, 0.101872, -0.019618, 0.264261, 0.654395],
        [-0.557188, 1.497256, 0.23988, 0.157833, -0.674438, 2.601391],
        [1.290954, 0.487643, -0.704209, -0.175989, 0.660154],
        [0.048744, -0.309883, -0.399822, -0.307597, 0.154138, -0.524844],
        [0.122163, 0.119881, 0.255292, 0.10937, 0.032221, -0.187048, -0.551186],
    ],
    "llama": [
        [-1.611768, 1.30713, 0.709349, 0.599461, 0.652914],
        [0.05305, 0.199551, -0.082243, 0.085183, -0.960636, 0.161752],
        [0.536544, -0.357497, 0.458654, 0.276703, -2.147814],
        [0.587231, 1.979306, 0.405201, -0.463377, 0.114768, -0.624912],
        [0.189837, -0.740928, -1.172241, 0.226209, 0.132895, 0.147578, -0.809687],
    ],
    "t5": [
        [-0.343185, -0.071549, -0.159327, 0.323079],
        [-0.015821, -0.565606, 0.092688, -0.854904],
        [-0.057365, 0.060161, 0.07822, 0.124542],
        [0.103976, 0.582951, 0.006997, -0.368642],
        [0.06252, 0.357062, 0.646215, -0.01294],
        [-0.107776, -0.292054, -0.278478, 0.213534],
        [-0.072919, 0.372492, 0.303923, 0.066374],
    ],
}
"""What inseq 0.7.1 gives for the first and the last prompt: `load_model(folder, "integrated_gradients")`, and
`attribute(prompt, prompt + continuation, n_steps=20, attributed_fn="logit")`, summed over the embedding. It
explains the prefix of a decoder alone, not of a decoder beside an encoder; its baseline is the unknown token."""


@pytest.mark.parametrize("family", INSEQ)
def test_integrated_gradients_of_inseq(tmp_path, networks, family):
    folder, network = networks[family]
    is_pair = network.config.is_encoder_decoder
    helpers.write_records(tmp_path, [RECORDS[0], RECORDS[2]])
    engine = {**FIXED, "baseline": {"kind": "token", "token": "unk"}}
    explain = {"embedding": ["source"] if is_pair else ["source", "prefix"], "reduce": "sum", "store": "reduced"}
    dataset = {"path": str(tmp_path / "prompts.jsonl")}
    found = explained(tmp_path, **sections(folder, engine=engine, explain=explain, dataset=dataset, score="logit"))
    maps = found[f"{ENGINE}/attribution"] if is_pair else found[f"{ENGINE}/attribution/source"][:, :4]
    if not is_pair:
        maps = np.concatenate([maps, found[f"{ENGINE}/attribution/prefix"]], axis=1)
    first = 0 if is_pair else 1  # inseq takes the first output token of a decoder, here, as the end of the prompt
    rows = [row for row, target in enumerate(found["rows/target"]) if target >= first]
    for row, theirs in zip(rows, INSEQ[family], strict=True):
        assert maps[row, : len(theirs)] == pytest.approx(theirs, abs=1e-5)
