"""The whole way from a job file to a result: targets, scores, inputs, shards, plans, streams, memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.cli import (
    datasets,
    differences,
    digits_job,
    explained,
    fork,
    invoke,
    parts_of,
    relative,
    run,
    samples,
    write_data,
    write_job,
)
from helpers.networks import CLASSES, Lent, flat_output, looks_up, plain, single_output, two_inputs, wide
from numpy.polynomial.legendre import leggauss
from torch.nn import functional

from xattr_cli.store.results.reader import Results

NODES = 16
ENGINES = {"saliency": None, "integrated_gradients": {"rule": "gauss_legendre", "nodes": NODES}}
DOUBLE = {"precision": "float64"}


@pytest.fixture
def folder(tmp_path):
    """A folder with data for a network of three features and four classes."""
    write_data(tmp_path)
    return tmp_path


def built(factory):
    """The network as a job builds it, in double precision."""
    torch.manual_seed(0)
    return factory().double().eval().requires_grad_(False)


def direct(network, score, x, target, *context):
    """Scores, gradients and integrated gradients from zero, (rows,) and (rows, features), by plain autograd."""

    def scores(points):
        return score(network(points, *context)).gather(1, target[:, None])[:, 0]

    def gradient(points):
        points = points.clone().requires_grad_()
        return torch.autograd.grad(scores(points).sum(), points)[0]

    nodes, weights = leggauss(NODES)
    integral = sum(w / 2 * gradient((t + 1) / 2 * x) for t, w in zip(nodes, weights, strict=True))
    return scores(x).numpy(), gradient(x).numpy(), (x * integral).numpy()


def check(found, rows, scores, gradients, maps):
    """A result against `direct` on its rows."""
    at = "engines/integrated_gradients"
    assert np.array_equal(found["rows/id"], np.arange(rows))
    np.testing.assert_allclose(found[f"{at}/score_input"], scores, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["engines/saliency/attribution"], abs(gradients), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[f"{at}/attribution"], maps, rtol=1e-9, atol=1e-12)
    gap = maps.sum(axis=1) - (scores - found[f"{at}/score_baseline"])
    np.testing.assert_allclose(found[f"{at}/completeness_gap"], gap, atol=1e-12)


# --- targets and scores -------------------------------------------------------------------------

SCORES = {
    "auto": lambda outputs: outputs,
    "raw": lambda outputs: outputs,
    "logit": lambda outputs: outputs,
    "probability": lambda outputs: outputs.softmax(1),
    "log_probability": lambda outputs: outputs.log_softmax(1),
}
TARGETS = {
    "predicted": ("predicted", lambda logits, y: logits.argmax(1)[:, None]),
    "label": ("label", lambda logits, y: y[:, None]),
    "all": ("all", lambda logits, y: torch.arange(CLASSES).expand(len(y), -1)),
    "one": ({"index": 2}, lambda logits, y: torch.full((len(y), 1), 2)),
    "two": ({"index": [3, 1]}, lambda logits, y: torch.tensor([3, 1]).expand(len(y), -1)),
    "top": ({"top": 3}, lambda logits, y: logits.argsort(1, descending=True)[:, :3]),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("target", TARGETS)
def test_classes_against_plain_autograd(folder, target, score):
    written, chosen = TARGETS[target]
    network, (x, y) = built(plain), map(torch.from_numpy, samples())
    targets = chosen(network(x.double()), y)
    rows, per_sample = targets.numel(), targets.shape[1]
    sections = {"compute": DOUBLE, "engines": ENGINES, "target": written, "score": score}
    found = explained(folder, output={"part_rows": 7}, **sections)  # parts that cut samples in two
    assert np.array_equal(found["rows/target"], targets.reshape(-1))
    assert np.array_equal(found["rows/sample"], np.arange(20).repeat(per_sample))
    assert np.array_equal(found["rows/label"], y.repeat_interleave(per_sample))
    assert np.array_equal(found["rows/prediction"], network(x.double()).argmax(1).repeat_interleave(per_sample))
    repeated = x.double().repeat_interleave(per_sample, dim=0)
    check(found, rows, *direct(network, SCORES[score], repeated, targets.reshape(-1)))
    assert np.array_equal(found["samples/index"], np.arange(20))
    assert np.array_equal(found["inputs/X/values"], x)


BINARY = {
    "logit": lambda z: torch.cat([-z, z], 1),
    "probability": lambda z: torch.cat([torch.sigmoid(-z), torch.sigmoid(z)], 1),
    "log_probability": lambda z: functional.logsigmoid(torch.cat([-z, z], 1)),
}


@pytest.mark.parametrize("score", BINARY)
@pytest.mark.parametrize("target", ["predicted", "label", "all", "index"])
def test_a_single_output_as_the_log_odds_of_two_classes(folder, target, score):
    x, y = samples()
    write_data(folder, x, y % 2)
    network, x, y = built(single_output), torch.from_numpy(x).double(), torch.from_numpy(y % 2)
    predicted = (network(x)[:, 0] > 0).long()
    assert 0 < predicted.sum() < 20
    targets = {
        "predicted": predicted[:, None], "label": y[:, None],
        "all": torch.tensor([0, 1]).expand(20, 2), "index": torch.zeros(20, 1, dtype=torch.int64),
    }[target]  # fmt: skip
    found = explained(
        folder, model={"factory": "helpers.networks:single_output"}, compute=DOUBLE, engines=ENGINES,
        target={"index": 0} if target == "index" else target, score=score,
    )  # fmt: skip
    assert np.array_equal(found["rows/target"], targets.reshape(-1))
    assert np.array_equal(found["rows/prediction"], predicted.repeat_interleave(targets.shape[1]))
    repeated = x.repeat_interleave(targets.shape[1], dim=0)
    check(found, targets.numel(), *direct(network, BINARY[score], repeated, targets.reshape(-1)))


@pytest.mark.parametrize("factory", [single_output, flat_output])
@pytest.mark.parametrize("score", ["auto", "raw"])
@pytest.mark.parametrize("target", ["predicted", "label", "all", {"index": 0}])
def test_a_regression_has_one_target_whatever_is_asked_for(folder, factory, score, target):
    x, y = samples()
    write_data(folder, x, y + 0.5)
    network, x = built(factory), torch.from_numpy(x).double()
    found = explained(
        folder, model={"factory": f"helpers.networks:{factory.__name__}"}, compute=DOUBLE, engines=ENGINES,
        target=target, score=score,
    )  # fmt: skip
    np.testing.assert_allclose(found["rows/prediction"], network(x).reshape(-1), rtol=1e-9)
    assert np.array_equal(found["rows/label"], y + 0.5)
    zeros = torch.zeros(20, dtype=torch.int64)
    check(found, 20, *direct(network, lambda out: out.reshape(20, 1), x, zeros))


def test_a_class_that_is_ruled_out_spoils_no_other(folder):
    network, x = built(plain), torch.from_numpy(samples()[0]).double()
    model = {"factory": "helpers.networks:rules_out_class_3"}
    found = explained(folder, model=model, compute=DOUBLE, target="all",
                      engines=ENGINES)  # fmt: skip
    assert np.array_equal(found["rows/prediction"][::4], network(x)[:, :3].argmax(1))
    status = found["engines/integrated_gradients/status"].reshape(20, 4)
    assert (status == [4, 4, 4, 2]).all()
    target = torch.arange(3).repeat(20)
    _, gradients, maps = direct(network, SCORES["raw"], x.repeat_interleave(3, 0), target)
    kept = found["rows/target"] < 3
    np.testing.assert_allclose(
        found["engines/integrated_gradients/attribution"][kept], maps, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(found["engines/saliency/attribution"][kept], abs(gradients), rtol=1e-9, atol=1e-12)


# --- several inputs -----------------------------------------------------------------------------


def pair_of_inputs(folder):
    a, y = samples(seed=1)
    b = samples(seed=2)[0]
    write_data(folder, None, y, a=a, b=b)
    return torch.from_numpy(a).double(), torch.from_numpy(b).double()


def test_several_inputs_have_a_map_each(folder):
    a, b = pair_of_inputs(folder)
    network = built(two_inputs)
    found = explained(folder, model={"factory": "helpers.networks:two_inputs"}, dataset={"inputs": ["a", "b"]},
                      compute=DOUBLE, engines=ENGINES)  # fmt: skip
    target = torch.from_numpy(found["rows/target"])
    together = lambda points: network(points[:, :3], points[:, 3:])  # noqa: E731
    scores, gradients, maps = direct(together, SCORES["raw"], torch.cat([a, b], 1), target)
    for name, part in (("a", slice(0, 3)), ("b", slice(3, 6))):
        np.testing.assert_allclose(
            found[f"engines/saliency/attribution/{name}"], abs(gradients[:, part]), rtol=1e-9
        )
        np.testing.assert_allclose(
            found[f"engines/integrated_gradients/attribution/{name}"], maps[:, part], rtol=1e-9
        )
    np.testing.assert_allclose(found["engines/integrated_gradients/score_input"], scores, rtol=1e-9)


@pytest.mark.parametrize("explain", [["a"], ["b"]])
@pytest.mark.parametrize("batch_rows", ["auto", 3])
def test_an_input_that_is_not_explained_is_context_of_its_own_row(folder, explain, batch_rows):
    a, b = pair_of_inputs(folder)
    network = built(two_inputs)
    found = explained(
        folder, model={"factory": "helpers.networks:two_inputs"}, dataset={"inputs": ["a", "b"]},
        explain={"inputs": explain}, compute={**DOUBLE, "batch_rows": batch_rows}, engines=ENGINES,
        target={"top": 2}, output={"part_rows": 7},
    )  # fmt: skip
    target = torch.from_numpy(found["rows/target"])
    x, context = (a, b) if explain == ["a"] else (b, a)
    x, context = x.repeat_interleave(2, 0), context.repeat_interleave(2, 0)  # f is symmetric in a and b
    check(found, 40, *direct(network, SCORES["raw"], x, target, context))


def test_expected_gradients_in_the_context_of_each_row(folder):
    a, b = pair_of_inputs(folder)
    network = built(two_inputs)
    found = explained(
        folder, model={"factory": "helpers.networks:two_inputs"}, dataset={"inputs": ["a", "b"]},
        explain={"inputs": ["a"]}, compute=DOUBLE, engines=["expected_gradients"],
    )  # fmt: skip
    at, target = "engines/expected_gradients", torch.from_numpy(found["rows/target"])
    # its background are the samples themselves: of `a`, each in the context of the row's own `b`
    over_background = network(a.repeat(20, 1), b.repeat_interleave(20, 0)).view(20, 20, CLASSES).mean(dim=1)
    expected = over_background.gather(1, target[:, None])[:, 0]
    np.testing.assert_allclose(found[f"{at}/score_baseline"], expected, rtol=1e-9)
    size = np.linalg.norm(found[f"{at}/attribution"], axis=1)
    assert (abs(found[f"{at}/completeness_gap"]) < 3 * found[f"{at}/relative_error"] * size).all()
    assert (found[f"{at}/status"] == 0).all()


def test_integers_may_be_context(folder):
    x, y = samples()
    kind = np.arange(20) % 5
    write_data(folder, None, y, a=x, kind=kind)
    network = built(looks_up)
    found = explained(folder, model={"factory": "helpers.networks:looks_up"}, dataset={"inputs": ["a", "kind"]},
                      explain={"inputs": ["a"]}, compute=DOUBLE, engines=ENGINES)  # fmt: skip
    target = torch.from_numpy(found["rows/target"])
    check(found, 20, *direct(network, SCORES["raw"], torch.from_numpy(x).double(), target, torch.from_numpy(kind)))


# --- shards -------------------------------------------------------------------------------------


def test_shards_merge_to_the_bytes_of_a_plain_run(folder):
    job = write_job(folder, engines=["saliency", "integrated_gradients"], target="all", output={"part_rows": 9})
    run(job, "--quiet", "--set", "output.path=plain.h5")
    assert run(job, "--shard", "1/3").stdout == ""
    assert parts_of(folder) == ["part-00001.h5", "part-00004.h5", "part-00007.h5"]
    refused = invoke("merge", job)
    assert refused.exit_code == 1 and refused.stdout == ""
    assert "parts 0, 2-3, 5-6, 8 of 9 are missing: run --shard 2-3/3 again" in refused.stderr
    outcome = run(job, "--shard", "3/3")
    assert "3 parts of other shards are missing. Then: xattr-cli merge JOB" in outcome.stderr
    outcome = run(job, "--shard", "2/3")
    assert "and so are all others. Now: xattr-cli merge JOB" in outcome.stderr
    assert not (folder / "out.h5").exists()
    merged = invoke("merge", job)
    assert merged.exit_code == 0 and merged.stdout == f"{folder / 'out.h5'}\n"
    assert differences(folder / "out.h5", folder / "plain.h5") == []
    assert not (folder / "out.h5.parts").exists()


def test_merging_again_is_fine_and_merging_another_job_is_not(folder):
    job = write_job(folder)
    refused = invoke("merge", job)
    assert refused.exit_code == 1 and "there are no parts of out.h5; run the job first" in refused.stderr
    run(job, "--quiet")
    before = (folder / "out.h5").stat().st_mtime_ns
    assert invoke("merge", job).exit_code == 0
    assert (folder / "out.h5").stat().st_mtime_ns == before
    refused = invoke("merge", job, "--set", "score=probability")
    assert refused.exit_code == 1
    assert "out.h5: is the result of another job" in refused.stderr and "score" in refused.stderr


def test_a_slurm_array_task_takes_its_shard(folder, monkeypatch):
    job = write_job(folder, output={"part_rows": 4})
    run(job, "--quiet", "--set", "output.path=plain.h5")
    for name, value in (("MIN", 0), ("MAX", 1), ("COUNT", 2), ("STEP", 1)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    for task in (0, 1):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        assert f"Slurm array job: computing shard {task or 2}/2" in run(job).stderr
    assert len(parts_of(folder)) == 5
    assert invoke("merge", job).exit_code == 0
    assert differences(folder / "out.h5", folder / "plain.h5") == []


def test_a_partial_slurm_array_computes_just_the_shards_that_are_missing(folder, monkeypatch):
    job = write_job(folder, output={"part_rows": 2})  # ten parts
    for index in (1, 2, 4):
        run(job, "--quiet", "--shard", f"{index}/4")
    for name, value in (("ID", 3), ("MIN", 3), ("MAX", 3), ("COUNT", 1), ("STEP", 1)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    (folder / "out.h5.parts" / "part-00001.h5").unlink()  # of shard 1: nobody asked for it
    outcome = run(job)
    assert "computing shard 3/4" in outcome.stderr and "1 parts of other shards are missing" in outcome.stderr
    assert len(parts_of(folder)) == 9
    run(job, "--quiet", "--shard", "1,2/4")
    assert invoke("merge", job).exit_code == 0


def test_a_shard_of_a_finished_job_has_nothing_to_do(folder):
    job = write_job(folder)
    run(job, "--quiet")
    assert json.loads(run(job, "--shard", "1/2", "--json").stdout)["computed"] == 0
    assert not (folder / "out.h5.parts").exists()


def test_more_shards_than_parts(folder):
    job = write_job(folder, output={"part_rows": 15})
    for shard in ("3/3", "1/3", "2/3"):
        run(job, "--shard", shard)
    assert invoke("merge", job).exit_code == 0
    assert len(datasets(folder / "out.h5")["rows/id"]) == 20


# --- plan ---------------------------------------------------------------------------------------


def parsed(text):
    """One JSON object, with nothing in it that JSON does not know."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(text, parse_constant=refuse)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("target", ["predicted", {"top": 3}])
def test_plan_foretells_the_run(tmp_path, target):
    job = digits_job(tmp_path, 80, target=target, output={"part_rows": 50})
    before = sorted(path.name for path in tmp_path.iterdir())
    foretold = parsed(invoke("plan", job, "--json").stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    report = parsed(run(job, "--json").stdout)
    assert foretold["rows"] == report["rows"] == (80 if target == "predicted" else 240)
    assert foretold["parts"] == -(-foretold["rows"] // 50)
    with h5py.File(tmp_path / "out.h5") as file:
        assert foretold["batch_rows"] == file.attrs["batch_rows"]
        assert foretold["device"] == file.attrs["device"]
        assert ", ".join(foretold["kinks"]) == file.attrs["kinks"]
    found = datasets(tmp_path / "out.h5")
    assert foretold["evaluations"].keys() == {"saliency", "integrated_gradients", "interior_gradients",
                                              "expected_gradients"}  # fmt: skip
    for label, evaluations in foretold["evaluations"].items():
        assert evaluations == pytest.approx(found[f"engines/{label}/evaluations"].sum(), rel=0.2)
    assert foretold["disk_bytes"] == pytest.approx((tmp_path / "out.h5").stat().st_size, rel=0.2)
    assert foretold["seconds"] > 0 and foretold["memory_bytes"] > 50 * 2**20
    assert foretold["not_converged"] == dict.fromkeys(foretold["evaluations"], 0)


def test_plan_in_words(tmp_path):
    job = digits_job(
        tmp_path, 30, engines={"integrated_gradients": {"rtol": 1e-4, "max_nodes": 9, "rule": "gradient"}}
    )
    text = invoke("plan", job).stdout
    for line in ("rows         30 in 1 parts", "device       cpu", "network      kinks: ", "time         about ",
                 "memory       about ", "disk         about "):  # fmt: skip
        assert line in text
    assert "evaluations  integrated_gradients  about 300 (10 a row); 30 probe rows did not converge" in text


# --- streams ------------------------------------------------------------------------------------


def test_data_go_to_standard_output_and_everything_else_to_standard_error(folder):
    outcome = run(write_job(folder))
    assert "integrated_gradients" in outcome.stdout and "20 rows" not in outcome.stdout
    assert outcome.stderr.splitlines()[0] == "20 rows to compute"
    assert outcome.stderr.splitlines()[-1].startswith("20/20 rows, ")


def test_a_factory_that_prints_does_not_spoil_the_output(folder):
    (folder / "chatty.py").write_text(
        "from helpers import networks\nprint('importing')\n"
        "def build():\n    print('building')\n    return networks.plain()\n"
    )
    outcome = run(write_job(folder, model={"factory": "chatty:build"}), "--json")
    assert parsed(outcome.stdout)["rows"] == 20
    assert "building" in outcome.stderr


def test_quiet_says_nothing_and_json_prints_one_object(folder):
    job = write_job(folder)
    outcome = run(job, "--quiet")
    assert (outcome.stdout, outcome.stderr) == ("", "")
    outcome = run(job, "--overwrite", "--quiet", "--json")
    report = parsed(outcome.stdout)
    assert outcome.stderr == "" and report["rows"] == report["computed"] == 20 and report["merged"] is True
    assert report["engines"]["integrated_gradients"]["converged"] == 20
    (folder / "out.h5").unlink()
    report = parsed(run(job, "--shard", "1/2", "--json").stdout)  # the only part is of shard 2/2
    assert report["merged"] is False and report["parts_missing"] == 1 and report["computed"] == 0


def test_json_holds_for_rows_that_failed(folder):
    x, y = samples()
    write_data(folder, x * np.nan, y)
    job = write_job(folder, dataset={"bad_rows": "quarantine"}, engines=["saliency", "integrated_gradients"])
    report = parsed(run(job, "--json").stdout)
    assert report["engines"]["integrated_gradients"]["quarantined"] == 20
    parsed(invoke("plan", job, "--json").stdout)
    assert "20" in run(job).stdout


def test_a_job_from_standard_input(folder, monkeypatch):
    """Its relative paths start at the current folder."""
    job = write_job(folder)
    run(job, "--quiet", "--set", "output.path=named.h5")
    monkeypatch.chdir(folder)
    run("-", "--quiet", input=job.read_text())
    assert differences("out.h5", "named.h5") == []
    outcome = invoke("plan", "-", "--json", input=job.read_text())
    assert parsed(outcome.stdout)["rows"] == 20


def test_overrides_and_variables(folder, monkeypatch):
    monkeypatch.setenv("DATA", str(folder))
    job = write_job(folder, dataset={"path": "${DATA}/data.npz"})
    report = parsed(run(job, "--json", "--set", "dataset.limit=3", "--set", "engines=[saliency]").stdout)
    assert report["rows"] == 3 and list(report["engines"]) == ["saliency"]


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_compression_changes_no_number(folder, compression):
    plain_run = explained(folder, output={"part_rows": 8})
    compressed = explained(folder, output={"part_rows": 8, "compression": compression})
    assert plain_run.keys() == compressed.keys()
    for name, values in plain_run.items():
        assert np.array_equal(values, compressed[name], equal_nan=values.dtype.kind == "f"), name


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells how much is mapped")
def test_running_out_of_memory_makes_the_calls_smaller_and_loses_nothing(folder):
    """A real failure: calls of 2000 rows want 2 GB where the process may take 1 GB more.

    The gigabyte is for what is not ours: libraries that end the process where their own few megabytes fail.
    """
    write_data(folder, *samples(500))
    sections = {"model": {"factory": "helpers.networks:wide"}}
    job = write_job(folder, compute={"batch_rows": 2000}, **sections)
    free = fork(folder, "run", job, "--quiet", "--set", "output.path=free.h5")
    assert free.wait() == 0, free.stderr
    tight = fork(folder, "run", job, spare_memory=2**30)
    assert tight.wait() == 0, tight.stderr
    assert "out of memory; going on with 1000 rows per device call" in tight.stderr
    found, expected = datasets(folder / "out.h5"), datasets(folder / "free.h5")
    at = "engines/integrated_gradients"
    assert relative(found[f"{at}/attribution"], expected[f"{at}/attribution"]).max() < 1e-6
    for name in (f"{at}/status", f"{at}/evaluations", "rows/target", "rows/prediction"):
        assert np.array_equal(found[name], expected[name])


def test_memory_that_does_not_suffice_for_one_row_is_told(folder):
    (folder / "huge.py").write_text(
        "import torch\nfrom pathlib import Path\nfrom helpers.networks import Formula\n"
        "def grow(net, x):\n"
        "    if any(Path(__file__).parent.glob('out.h5.parts/part-*.h5')):  # once a part is finished\n"
        "        torch.empty(2**50)\n"
        "    return net(x)\n"
        "def build():\n    return Formula(grow)\n"
    )
    job = write_job(folder, model={"factory": "huge:build"}, compute={"batch_rows": 4}, output={"part_rows": 2})
    outcome = run(job, code=1)
    assert "out of memory with 1 rows per device call, the fewest possible" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert parts_of(folder) != [] and not (folder / "out.h5").exists()


# --- programs, and the user's own module --------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 3, 6, 64])
def test_a_program_of_fixed_batch_size_gives_the_maps_of_its_network(folder, batch):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(plain().eval(), (torch.zeros(batch, 3),)), folder / "net.pt2")
    # the functions of an exported program have other names, of which no secants are known
    engines = {"saliency": {}, "integrated_gradients": {"rule": "gradient"}, "expected_gradients": {}}
    pinned = {"arithmetic": "float32"}  # what is fastest depends on what else the machine does
    expected = explained(folder, engines=engines, compute=pinned)
    model = {"kind": "exported", "path": "net.pt2", "factory": None}
    found = explained(folder, engines=engines, model=model, compute=pinned)
    assert np.array_equal(found["rows/prediction"], expected["rows/prediction"])
    for engine in engines:
        at = f"engines/{engine}"
        assert np.array_equal(found[f"{at}/status"], expected[f"{at}/status"])
        assert relative(found[f"{at}/attribution"], expected[f"{at}/attribution"]).max() < 1e-5


def test_the_network_is_handed_back_as_it_was(folder):
    torch.manual_seed(0)
    network = torch.nn.Sequential(plain(), torch.nn.BatchNorm1d(CLASSES), torch.nn.Dropout(0.5)).train()
    network[0].inner[0].weight.requires_grad_(False)
    network[1].eval()
    seen = []
    network[2].register_forward_hook(lambda *_: seen.append(1))
    (network(torch.rand(5, 3)).sum() + 0 * network[1].weight.sum()).backward()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parameters = {name: (id(p), p.requires_grad, p.grad) for name, p in network.named_parameters()}
    modes = [module.training for module in network.modules()]
    random_state = torch.random.get_rng_state()
    Lent.network = network
    try:
        engines = {"interior_gradients": {"layers": ["0.inner.1"]}, "expected_gradients": None}
        explained(folder, model={"factory": "helpers.networks:lent_network"}, compute=DOUBLE, engines=engines)
    finally:
        Lent.network = None
    assert [module.training for module in network.modules()] == modes
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]), name
    for name, parameter in network.named_parameters():
        identity, wanted, gradient = parameters[name]
        assert (id(parameter), parameter.requires_grad) == (identity, wanted)
        assert parameter.grad is gradient
    assert len(network[2]._forward_hooks) == 1 and len(network[0].inner[1]._forward_hooks) == 0
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert len(seen) > 1  # hooks of the user's stay where they are


def test_wide_network_of_these_tests_is_wide():
    """What the memory test relies on: 65536 activations a row."""
    assert wide()[0].out_features == 2**16


def test_processes_of_torchrun_share_a_job_and_the_first_merges(tmp_path):
    job = digits_job(tmp_path, 60, engines={"integrated_gradients": None}, output={"part_rows": 10})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "xattr_cli", "run", job], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    # of both together; parts that one had finished before the other looked are not to be computed any more
    assert re.search(r"(\d+) rows to compute\n(.*\n)*\1/\1 rows", done.stderr)
    assert done.stdout.count("integrated_gradients") == 1  # one of them speaks
    (together,) = tmp_path.glob("*.h5")
    assert not (tmp_path / f"{together.name}.parts").exists()
    alone = tmp_path / "alone.h5"
    assert invoke("run", job, "--set", f"output.path={alone}").exit_code == 0
    with Results.open(together) as found, Results.open(alone) as expected:
        maps = [one.engine("integrated_gradients").attribution(slice(None)) for one in (found, expected)]
    np.testing.assert_array_equal(*maps)
