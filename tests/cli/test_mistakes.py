"""What people write at first, and what they are told: the true reason, and what to write instead."""

from __future__ import annotations

import shutil

import pytest
from helpers.cli import invoke, run, write_data, write_job

from xattr_cli.registry import BASELINES, ENGINES, SCORES

IG = "engines.integrated_gradients"

SETS = {
    # words of captum, SHAP and people for engines, scores, baselines and kinds
    "engines=ig": "unknown engine 'ig'.*Did you mean 'integrated_gradients'?",
    "engines=IntegratedGradients": "Did you mean 'integrated_gradients'?",
    "engines=deep_lift": "Did you mean 'deeplift'?",
    "engines=gradient_shap": "Did you mean 'expected_gradients'?",
    "engines=GradientShap": "Did you mean 'expected_gradients'?",
    "engines=KernelExplainer": "Did you mean 'shapley'?",
    "engines=feature_ablation": "Did you mean 'occlusion'?",
    "engines=vanilla_gradient": "Did you mean 'saliency'?",
    "engines=InputXGradient": "Did you mean 'input_x_gradient'?",
    "engines=gradcam": "unknown engine 'gradcam'. Allowed: ace,",
    "score=softmax": "unknown score 'softmax'.*Did you mean 'probability'?",
    "score=prob": "Did you mean 'probability'?",
    "score=logits": "Did you mean 'logit'?",
    "score=cross_entropy": "Did you mean 'loss'?",
    f"{IG}.baseline=zeros": "unknown baseline kind 'zeros'.*Did you mean 'zero'?",
    f"{IG}.baseline=black": "Did you mean 'zero'?",
    f"{IG}.baseline.kind=white": "Did you mean 'constant'?",
    f"{IG}.baseline=0": "that number everywhere is {kind: constant, value: 0}",
    "model=resnet18": "A network of torchvision is {kind: torchvision, name: resnet18}",
    "model=model.pt": "Weights stand beside the network.*{kind: torchvision, name: …, checkpoint: model.pt}",
    "model=net.onnx": "A file is given as {kind: onnx, path: net.onnx}",
    "model.kind=huggingface": "Did you mean 'transformers'?",
    "dataset=data.npz": "A file is given as {kind: arrays, path: data.npz}",
    "dataset.kind=csv": "Did you mean 'table'?",
    "dataset.kind=ImageFolder": "Did you mean 'images'?",
    # keys in another place, or of another program
    "rtol=": f"rtol: null: unknown key. Here it is {IG}.rtol.",
    "rtol=0.01": f"rtol: 0.01: unknown key. Here it is {IG}.rtol.",
    "engines.rtol=.01": f"'rtol' is an option of an engine, not an engine: {IG}.rtol.",
    "device=cpu": "Here it is compute.device.",
    "limit=3": "Here it is dataset.limit.",
    "checkpoint=m.pt": "Here it is model.checkpoint.",
    "batch_size=3": "Here it is compute.batch_rows.",
    "engine=saliency": "Did you mean 'engines'?",
    f"{IG}.n_steps=50": "set rtol.*integrated_gradients: {rule: midpoint, nodes: 50}",
    f"{IG}.internal_batch_size=8": "compute.memory and compute.batch_rows bound them",
    f"{IG}.baselines=0": "Here it is baseline: {kind: ...}",
    # values
    f"{IG}.rtol=5%": f"{IG}.rtol: '5%': must be a number; 5% is 0.05",
    "compute.device=gpu": "Did you mean 'cuda'?",
    "output=x.h5": "output: 'x.h5': must be a mapping: {path: x.h5}",
    "target=cat": "The class cat is {index: cat}.",
    "target=3": "The output 3 is {index: 3}.",
    "target=labels": "Did you mean 'label'?",
    "target={index: cat}": "target.index: 'cat': the classes have no names; set dataset.class_names",
    "target={index: 12}": "out of range; the model has 4 outputs, 0 to 3",
    "target={column: cls}": "has no array 'cls'. Allowed: X, y",
    "explain=conv1": "A layer of that name is {layer: conv1}.",
    # files
    "dataset.path=dta.npz": "dta.npz: no such file. Did you mean",
    "model.checkpoint=modl.pt": "modl.pt: no such file. Did you mean",
    "dataset.labels=labels": "has no array 'labels'. Allowed: X, y",
}
"""A value of --set → what the message holds, pieces between `.*` in this order."""

FILES = {
    "list.yaml": ("- model: x\n", "the job file is a list; it must be a mapping with the keys"),
    "text.yaml": ("hello\n", "the job file is a single value"),
    "empty.yaml": ("", "the job file is empty.*`xattr-cli init` writes one"),
    "tabs.yaml": ("model:\n\tkind: python\n", "line 2, column 1: a tab.*indent by spaces"),
}

LINES = {
    ("run", "out.h5"): "out.h5: is an HDF5 file, such as a result, not a job. `xattr-cli inspect out.h5`",
    ("plan", "data.npz"): "data.npz: is an archive, such as .npz or .pt, not a job",
    ("run", "."): "job file .: is a folder; name a job in it: job.yaml.",
    ("run", "jobs.yaml"): "no such file. Did you mean 'job.yaml'?",
    (
        "run",
        "job.yaml",
        "--device",
        "cpu",
    ): "No such option '--device'. It is a key of the job: --set compute.device=…",
    ("run", "job.yaml", "--limit", "3"): "--set dataset.limit=…",
    ("plan", "job.yaml", "--batch-size", "3"): "--set compute.batch_rows=…",
    ("run", "job.yaml", "--output", "x.h5"): "--set output.path=…",
    ("run", "job.yaml", "--rtol", "0.1"): "--set engines.NAME.rtol=…",
    ("run", "job.yaml", "--nothing"): "No such option '--nothing'.",
    ("inspect", "job.yaml"): "job.yaml: a job, not a result. Give the file that it names under output.path.",
    ("engines", "IntegratedGradients"): "Did you mean 'integrated_gradients'?",
    ("top", "out.h5", "--engine", "ig"): "no engine 'ig'. Allowed: integrated_gradients.",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    write_data(folder)
    run(write_job(folder), "--quiet")
    (folder / "model.pt").write_bytes(b"")
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_told(done, message):
    assert done.exit_code == 2, done.output
    place = 0
    for piece in message.split(".*"):
        place = done.stderr.find(piece, place)
        assert place >= 0, done.stderr


@pytest.mark.parametrize("given", SETS)
def test_a_mistaken_value_is_told_with_what_to_write(given, here):
    assert_told(invoke("run", "job.yaml", "--set", given), SETS[given])


@pytest.mark.parametrize("name", FILES)
def test_a_mistaken_file_is_told_with_what_to_write(name, here):
    content, message = FILES[name]
    (here / name).write_text(content)
    assert_told(invoke("run", name), message)


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_mistaken_line_is_told_with_what_to_write(line, here):
    assert_told(invoke(*line), LINES[line])


def test_a_class_that_is_not_there_is_told_with_the_nearest(here):
    (here / "names.yaml").write_text((here / "job.yaml").read_text())
    names = "dataset.class_names=[setosa, versicolor, virginica, other]"
    done = invoke("run", "names.yaml", "--set", names, "--set", "target={index: virginca}")
    assert_told(done, "no such class. Allowed: setosa, versicolor, virginica, other. Did you mean 'virginica'?")


@pytest.mark.parametrize("registry", [ENGINES, SCORES, BASELINES], ids=lambda registry: registry.noun)
def test_no_other_word_for_a_plugin_is_the_name_of_one(registry):
    names = {name.replace("_", "") for name in registry.names()}
    for other, name in registry._elsewhere.items():
        assert name in registry.names() and (other not in names or other == name.replace("_", ""))
