"""`xattr-cli explain`: the job that a line of options stands for, and that it is the same job."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from helpers.cli import digits_job, invoke, run, samples, write_data
from PIL import Image
from torchvision.models import get_model

from xattr_cli.store.results.reader import Results

NETWORK = ("--model", "helpers.networks:plain")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with data."""
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*arguments, code=0):
    done = invoke("explain", *arguments)
    assert done.exit_code == code, done.stderr
    return done


def job_of(*arguments):
    """The job that a line stands for."""
    return yaml.safe_load(explain(*arguments, "--print-job").stdout)


def test_the_written_job_is_the_job_that_was_run(here):
    explain(*NETWORK, "--arrays", "data.npz", "--label", "y", "--limit", 6, "--target", "1", "-o", "results/a.h5")
    with Results.open(here / "results" / "a.h5") as results:
        assert results.rows.target.tolist() == [1] * 6 and results.rows.has_label.all()
    again = json.loads(run(here / "results" / "a.yaml", "--json").stdout)
    assert again["computed"] == 0 and again["output"] == str(here / "results" / "a.h5")


def test_the_same_line_with_another_engine_computes_that_one_only(here):
    line = (*NETWORK, "--data", "data.npz", "--engine", "integrated_gradients", "-o", "a.h5")
    explain(*line)
    done = explain(*line, "--engine", "saliency")
    assert "reused: integrated_gradients of 20 rows; computed: saliency of all rows" in done.stderr
    assert set(yaml.safe_load((here / "a.yaml").read_text())["engines"]) == {"integrated_gradients", "saliency"}


def test_a_line_gives_the_numbers_of_the_job_file(tmp_path, monkeypatch):
    job = digits_job(tmp_path, 6, engines={"integrated_gradients": {"rtol": 0.01}}, output={"path": "file.h5"})
    run(job)
    monkeypatch.chdir(tmp_path)
    explain(
        "--model", "xattr_cli.models.zoo:digits_cnn", "--checkpoint", "model.pt", "--data", "data.npz",
        "--label", "y", "--rtol", 0.01, "--set", "compute.device=cpu", "-o", "line.h5",
    )  # fmt: skip
    with Results.open(tmp_path / "file.h5") as one, Results.open(tmp_path / "line.h5") as two:
        maps = [each.engine("integrated_gradients").attribution(slice(0, 6)) for each in (one, two)]
        assert np.array_equal(*maps) and one.attributes["job_hash"] == two.attributes["job_hash"]


def test_code_of_the_working_folder_is_found_again_by_the_job(here):
    (here / "mine.py").write_text("from helpers.networks import plain as network\n")
    explain("--model", "mine:network", "--data", "data.npz", "-o", "results/a.h5")
    assert json.loads(run(here / "a.yaml", "--json").stdout)["computed"] == 0


def test_pictures_are_prepared_as_the_network_wants_them(here):
    (here / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(here / "photos" / "black.png")
    own = job_of("--model", "torchvision:squeezenet1_1", "--images", "photos")["dataset"]
    assert own == {
        "kind": "images", "path": "photos", "transform": {"weights": "SqueezeNet1_1_Weights.DEFAULT"}
    }  # fmt: skip
    tuned = job_of(
        "--model", "torchvision:squeezenet1_1", "--data", "photos", "--set", "model.kwargs.num_classes=3"
    )
    assert tuned["dataset"]["transform"]["center_crop"] == 224  # three outputs are not called after ImageNet's
    of_timm = job_of("--model", "timm:resnet18", "--data", "photos")["dataset"]["transform"]
    assert (of_timm["resize"], of_timm["center_crop"], of_timm["interpolation"]) == (235, 224, "bicubic")
    given = job_of("--model", "timm:resnet18", "--data", "photos", "--set", "dataset.transform.resize=64")
    assert given["dataset"]["transform"] == {"resize": 64}


@pytest.mark.slow
def test_photographs_by_a_network_of_torchvision(here):
    torch.save(get_model("squeezenet1_1").state_dict(), here / "m.pt")
    (here / "photos").mkdir()
    for name in ("a", "b"):
        noise = np.random.default_rng(len(name)).integers(0, 255, (240, 300, 3), np.uint8)
        Image.fromarray(noise).save(here / "photos" / f"{name}.png")
    line = ("--model", "torchvision:squeezenet1_1", "--checkpoint", "m.pt", "--images", "photos")
    explain(*line, "--engine", "saliency", "-o", "p.h5")
    with Results.open(here / "p.h5") as results:
        assert results.keys_of(np.arange(2)).tolist() == ["a.png", "b.png"] and len(results.classes) == 1000


def test_texts_and_tables_are_told_by_their_files(here):
    (here / "data.csv").write_text("a,b,class\n1,2,x\n3,4,y\n")
    table = job_of(*NETWORK, "--data", "data.csv", "--label", "class", "--engine", "shapley", "--baseline", "mean")
    assert table["dataset"] == {"kind": "table", "path": "data.csv", "label": "class"}
    assert table["engines"] == {"shapley": {"baseline": {"kind": "mean"}}}
    text = job_of(*NETWORK, "--text", "data.csv", "--label", "class", "--target", "top: 2")
    assert text["dataset"]["kind"] == "text" and text["explain"] == {"embedding": "auto"}
    assert text["target"] == {"top": 2}
    (here / "bert").mkdir()
    (here / "bert" / "config.json").write_text("{}")
    transformers = job_of("--model", "bert", "--data", "data.csv", "--score", "probability")
    assert transformers["model"] == {"kind": "transformers", "path": "bert"}
    assert transformers["dataset"]["kind"] == "text" and transformers["score"] == "probability"
    builtin = job_of("--model", "net.onnx", "--data", "builtin:iris", "--target", "setosa")
    assert builtin["model"] == {"kind": "onnx", "path": "net.onnx"}
    assert builtin["dataset"] == {"kind": "builtin", "name": "iris"} and builtin["target"] == {"index": "setosa"}


WRONG = {
    ("--model", "resnet18", "--data", "data.npz"): "such as torchvision:resnet18 or timm:resnet18",
    ("--model", "torchvison:resnet18", "--data", "data.npz"): "Did you mean torchvision:resnet18?",
    ("--model", "weights.pt", "--data", "data.npz"): "--model torchvision:resnet18 --checkpoint weights.pt",
    (*NETWORK, "--data", "dta.npz"): "no such file",
    (*NETWORK, "--data", "dta.bin"): "--data dta.bin: no such file or folder.",
    (*NETWORK, "--data", "data.bin"): "its name does not say what it holds; write KIND:data.bin",
    (*NETWORK, "--data", "table:"): "--data table:: give table:path",
    (*NETWORK, "--data", "data.npz", "--table", "data.csv"): "the data are named by another option already",
    NETWORK: "Missing option '--data', or one of --images, --table",
    (
        *NETWORK,
        "--data",
        "data.npz",
        "--engine",
        "saliency",
        "--rtol",
        "0.1",
    ): "--rtol: none of the engines has it",
    (*NETWORK, "--data", "data.npz", "-o", ""): "--output: names no file",
    (*NETWORK, "--data", "data.npz", "--set", "output.path=b.h5"): "give --output instead",
    (*NETWORK, "--data", "data.npz", "--set", "dataset=5"): "dataset: 5: must be a name, or a mapping",
    (*NETWORK, "--data", "data.npz", "--target", "["): "--target [ is not valid YAML",
    (*NETWORK, "--data", "data.npz", "-o", "a.yaml"): "a result is an HDF5 file, such as a.h5",
    (*NETWORK, "--data", "data.npz", "--engines", "ig"): "'--engine'",
    (*NETWORK, "--data", "data.npz", "--device", "cpu"): "--set compute.device=…",
    (*NETWORK, "--data", "data.npz", "--engine", "shaply"): "Did you mean 'shapley'?",
    (*NETWORK, "--data", "builtin:iris", "--label", "y"): "a dataset of kind 'builtin' has no such option",
}


@pytest.mark.parametrize("line", WRONG, ids=" ".join)
def test_what_is_unclear_is_said_with_what_to_add(line, here):
    (here / "data.bin").write_bytes(b"")
    done = explain(*line, code=2)
    assert WRONG[line] in done.stderr
    assert not list(here.glob("*.yaml")) + list(here.glob("*.h5"))


def test_a_job_that_somebody_else_has_written_is_kept(here):
    (here / "a.yaml").write_text("model: mine\n")
    done = explain(*NETWORK, "--data", "data.npz", "-o", "a.h5", code=2)
    assert "a.yaml: exists, and is not written by" in done.stderr
    assert (here / "a.yaml").read_text() == "model: mine\n" and not (here / "a.h5").exists()


def test_a_refused_line_leaves_the_job_of_the_result(here):
    line = (*NETWORK, "--data", "data.npz", "-o", "a.h5")
    explain(*line)
    before = (here / "a.yaml").read_text()
    write_data(here, *samples(rows=7, seed=3), name="other.npz")
    explain(*NETWORK, "--data", "other.npz", "-o", "a.h5", code=1)
    assert (here / "a.yaml").read_text() == before
    explain(*NETWORK, "--data", "other.npz", "-o", "a.h5", "--overwrite")
    assert "other.npz" in (here / "a.yaml").read_text()
