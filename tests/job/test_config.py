"""The job file: what it may say, how it is overridden, what an error tells, what a resume may change."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xattr_cli.errors import ExitCode, JobError
from xattr_cli.job.config import Explain, Target, load_job, parse_job, to_yaml
from xattr_cli.job.identity import identity
from xattr_cli.job.yaml_text import plain_values

FOLDER = Path("/jobs")
PLAIN = {
    "model": {"kind": "python", "factory": "nets:build"},
    "dataset": {"kind": "arrays", "path": "data.npz"},
    "engines": {"saliency": None},
    "output": {"path": "maps.h5"},
}


def job(*overrides, **sections):
    text = yaml.safe_dump({**PLAIN, **sections}, sort_keys=False)
    return parse_job(text, folder=FOLDER, overrides=overrides)


def fault(*overrides, **sections):
    """The message with which a job is refused."""
    with pytest.raises(JobError) as caught:
        job(*overrides, **sections)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def integrated(**options):
    return {"ig": {"engine": "integrated_gradients", **options}}


# --- unknown keys and wrong values --------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "datasets={}",
            "datasets: {}: unknown key. Allowed: allow_inconsistent, compute, dataset, engines, .*mean 'dataset'?",
        ),
        (
            "compute.devise=cpu",
            "compute.devise: 'cpu': unknown key. Allowed: arithmetic, .*mean 'device'?",
        ),
        ("compute={3: cpu}", "compute.3: 'cpu': unknown key. Allowed: arithmetic, batch_rows, "),
        ("output.parts=3", "output.parts: 3: unknown key. Allowed: compression, keep_parts, .*store_inputs."),
        ("model.checkpont=a.pt", "model.checkpont: 'a.pt': unknown key.*mean 'checkpoint'?"),
        ("dataset.input=[X]", "dataset.input: ['X']: unknown key.*mean 'inputs'?"),
        ("engines.saliency.rtol=0.1", "engines.saliency.rtol: 0.1: unknown key. Allowed: signed."),
        ("engines.integrated_gradients.rtoll=1", "engines.integrated_gradients.rtoll: 1: .*mean 'rtol'?"),
        ("target.indx=3", "--set 'target.indx=3': target is 'all', which has no keys; set target as a whole."),
        (
            "explain={input: [X]}",
            "explain.input: ['X']: unknown key. Allowed: embedding, inputs, layer, part, "
            "reduce, side, store. Did you mean 'inputs'?",
        ),
        (
            "engines.ig={engine: integrated_gradients, baseline: {kind: blur, sigm: 2}}",
            "engines.ig.baseline.sigm: 2: unknown key. Allowed: sigma. Did you mean 'sigma'?",
        ),
        (
            "engines.eg={engine: expected_gradients, baseline: {kind: samples, dataset: {kind: arrays, pat: a}}}",
            "engines.eg.baseline.dataset.pat: 'a': unknown key.*mean 'path'?",
        ),
        (
            "dataset={kind: images, path: a, transform: {resise: 3}}",
            "dataset.transform.resise: 3: unknown key.*mean 'resize'?",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_value_and_what_is_allowed(override, message):
    assert_matches(fault(override, target="all"), message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=pythn", "model: unknown model kind 'pythn'. Allowed: exported, .*mean 'python'?"),
        ("model={factory: a}", "model: {'factory': 'a'}: the key 'kind' is missing. Allowed: exported, onnx, "),
        ("dataset=null", "dataset: null: must be a name, or a mapping with the key 'kind'"),
        ("dataset.path=null", "dataset.path: null: must be a path"),
        ("dataset.limit=ten", "dataset.limit: 'ten': must be an integer"),
        ("dataset.limit=0", "dataset.limit: 0: must be greater than or equal to 1"),
        ("dataset.limit=yes", "dataset.limit: true: must not be true or false"),
        ("dataset.mean=[0, true]", "dataset.mean: [0, True]: must not be true or false"),
        ("dataset.mean=[0, x]", "dataset.mean.1: 'x': must be a number"),
        ("dataset.mean={X: [x]}", "dataset.mean.X.0: 'x': must be a number"),
        ("dataset.dtype=float23", "dataset.dtype: 'float23': must be 'float16', .*or a mapping.*'float32'?"),
        ("dataset.dtype={X: float23}", "dataset.dtype.X: 'float23': must be 'float16', .*mean 'float32'?"),
        ("dataset.class_names=cat", "dataset.class_names: 'cat': must be a list of names, or a file of them that"),
        ("dataset.class_names=null", "dataset.class_names: null: must be a list of names, or a file"),
        ("dataset.class_names=[[a]]", "dataset.class_names.0: ['a']: must be a text"),
        ("dataset={kind: table, path: a, standardise: {mean: {}}}", "dataset.standardise.std: this key is"),
        ("score=logits", "score: unknown score 'logits'. Allowed: auto, .*mean 'logit'?"),
        ("engines.ig=integrated_gradient", "engines.ig: unknown engine 'integrated_gradient'. Allowed: "),
        ("engines.saliancy=null", "engines.saliancy: unknown engine 'saliancy'. .*mean 'saliency'?"),
        ("engines=[saliancy]", "engines: unknown engine 'saliancy'. Allowed: .*mean 'saliency'?"),
        ("engines=[saliency, saliency]", "engines: .* an engine is named twice; give it a second label"),
        ("engines=[{saliency: {}}]", "engines: .* must be a mapping from label to options, or a list of"),
        ("engines=[]", "engines: []: no engine is named. Allowed: ace, deeplift, expected_gradients"),
        ("engines={}", "engines: {}: no engine is named."),
        ("engines={a/b: saliency}", "engines: .* the label 'a/b' may hold letters, digits"),
        ("engines.float={engine: integrated_gradients, rtol: 2}", "engines.float.rtol: 2: must be less than 1"),
        ("engines.ig={engine: integrated_gradients, nodes: 9}", "engines.ig: .*nodes: 9 goes with a fixed rule"),
        ("engines.ig={engine: integrated_gradients, baseline: blur}", "engines.ig.baseline.sigma: this key is "),
        ("target=predict", "target: 'predict': not a target. Allowed: predicted, .*mean 'predicted'?"),
        ("target={select: top}", "target.select: 'top': must be 'predicted', .*, 'all' or 'continuation'"),
        ("target={index: -1}", "target.index: -1: -1 must be the number of an output, 0 or more"),
        ("target={index: []}", "target.index: []: names no output"),
        ("target={index: [1, 0.5]}", "target.index: [1, 0.5]: 0.5 must be the number of an output, 0 or more"),
        ("target={top: 0}", "target.top: 0: must be greater than or equal to 1"),
        ("target={top: yes}", "target.top: true: must not be true or false"),
        ("target={top: 3, index: 3}", "target: {'top': 3, 'index': 3}: not a target."),
        ("explain=input", "explain: 'input': not understood. .*mean 'inputs'?"),
        ("explain={inputs: []}", "explain: {'inputs': []}: not understood."),
        ("explain={inputs: X}", "explain.inputs: 'X': must be a list"),
        ("compute.device=gpu", "compute.device: 'gpu': not a device. Allowed: auto, cpu, cuda, cuda:0, mps."),
        ("compute.batch_rows=lots", "compute.batch_rows: 'lots': must be 'auto', or an integer"),
        ("compute.seed=-1", "compute.seed: -1: must be greater than or equal to 0"),
        ("output.store_inputs=yes", "output.store_inputs: true: must not be true or false"),
        ("output=maps.h5", "output: 'maps.h5': must be a mapping"),
        ("output.path=~nobody-here/x.h5", "output.path: '~nobody-here/x.h5': this machine has no such user"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(override, message):
    text = fault(override)
    assert_matches(text, message)
    assert "\n" not in text  # a value that may have several forms is one fault


def test_every_fault_of_a_job_is_told_one_a_line():
    lines = fault("compute.seed=x", "score=logits", "output.part_rows=0", "dataset.limt=1").splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "dataset.limt", "score", "compute.seed", "output.part_rows",
    ]  # fmt: skip


@pytest.mark.parametrize("section", PLAIN)
def test_a_missing_section_is_named(section):
    rest = {name: content for name, content in PLAIN.items() if name != section}
    with pytest.raises(JobError, match=f"^{section}: this key is missing.$"):
        parse_job(yaml.safe_dump(rest), folder=FOLDER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the job file is empty; it must be a mapping with the keys model, dataset, engines, output."),
        ("- a", "the job file is a list; it must be a mapping"),
        ("a: [1", "the job file is not valid YAML, line 1, column 6: expected ',' or ']'"),
        (
            "a:\n\tb: 1",
            "the job file is not valid YAML, line 2, column 1: a tab, which.*indent by spaces",
        ),
        ("a: 1\nb: 2\na: 3", "the job file is not valid YAML, line 3, column 1: the key 'a' is given twice"),
        ("a: {x: 1, x: 2}", "the job file is not valid YAML, line 1, column 11: the key 'x' is given twice"),
        ("a: !!int x", "the job file is not valid YAML: invalid literal"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("a: &a {b: *a}", "the job file: an anchor stands for something that contains it."),
    ],
)
def test_text_that_is_no_job_is_refused(text, message):
    with pytest.raises(JobError) as caught:
        parse_job(text, folder=FOLDER)
    assert_matches(str(caught.value), message)


def assert_matches(text, message):
    """`message` is literal but for `.*`."""
    position = 0
    for piece in message.split(".*"):
        found = text.find(piece, position)
        assert found >= 0, text
        position = found + len(piece)


# --- what YAML means ----------------------------------------------------------------------------


def test_numbers_with_an_exponent_need_no_point():
    assert plain_values("a: [1e-3, 1E3, -2.e+4, .5e1, 1.5e2]")["a"] == [0.001, 1000, -20000, 5, 150]
    assert plain_values("a: ['1e-3', 1e, e3, 1e-3x]")["a"] == ["1e-3", "1e", "e3", "1e-3x"]


def test_dates_are_texts():
    assert plain_values("a: 2024-01-31") == {"a": "2024-01-31"}


def test_merged_anchors_may_be_overridden():
    text = "a: &a {x: 1, y: 1}\nb: {c: &c {<<: *a, x: 2}}\nd: {<<: *c, y: 3}"
    assert plain_values(text)["d"] == {"x": 2, "y": 3}


# --- overrides ----------------------------------------------------------------------------------


def test_an_override_reaches_any_depth_and_is_yaml():
    found = job(
        "compute.device=cpu",
        "compute.seed=7",
        "target={top: 2}",
        "engines.integrated_gradients.baseline.kind=mean",
        "engines.interior_gradients.alphas=[0.5, 1]",
        "model.kwargs.width.inner=1e-2",
        "output.path= other.h5",
    )
    assert (found.compute.device, found.compute.seed, found.target.count) == ("cpu", 7, 2)
    assert found.engines["integrated_gradients"].baseline.registered_name == "mean"
    assert found.engines["interior_gradients"].alphas == (0.5, 1.0)
    assert found.model.kwargs == {"width": {"inner": 0.01}}
    assert found.output.path == Path("/jobs/other.h5")
    assert list(found.engines) == ["saliency", "integrated_gradients", "interior_gradients"]


def test_a_later_override_wins():
    assert job("compute.seed=1", "compute.seed=2").compute.seed == 2


@pytest.mark.parametrize("engines", ["saliency", ["saliency"], {"saliency": None}, {"saliency": {}}])
@pytest.mark.parametrize("override", ["engines.input_x_gradient=null", "engines.input_x_gradient="])
def test_an_engine_is_added_however_the_others_are_written(engines, override):
    assert list(job(override, engines=engines).engines) == ["saliency", "input_x_gradient"]


def test_an_override_replaces_all_engines():
    assert list(job("engines=[input_x_gradient]").engines) == ["input_x_gradient"]


def test_null_sets_an_option_to_null():
    assert job("dataset.limit=null", dataset={**PLAIN["dataset"], "limit": 3}).dataset.limit is None


def test_a_label_with_dots_is_reached():
    found = job("engines.rtol.0.01.rtol=0.01", engines={"rtol.0.01": {"engine": "integrated_gradients"}})
    assert found.engines["rtol.0.01"].rtol == 0.01


def test_an_override_changes_one_place_of_an_anchor():
    text = yaml.safe_dump({**PLAIN, "engines": None}).replace("engines: null\n", "") + (
        "engines:\n"
        "  one: {engine: integrated_gradients, baseline: &zero {kind: zero}}\n"
        "  two: {engine: integrated_gradients, baseline: *zero}\n"
    )
    found = parse_job(text, folder=FOLDER, overrides=["engines.one.baseline.kind=mean"])
    assert [engine.baseline.registered_name for engine in found.engines.values()] == ["mean", "zero"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compute.device", "--set 'compute.device': must look like compute.device=cpu"),
        ("=cpu", "--set '=cpu': must look like"),
        ("compute..device=cpu", "--set 'compute..device=cpu': must look like"),
        ("compute.device=[a", "--set 'compute.device=[a': the value is not valid YAML, line 1, column 3"),
        ("dataset.path.name=a", "dataset.path is 'data.npz', which has no keys; set dataset.path as a whole."),
        ("dataset.class_names.0=a", "dataset.class_names is ['x'], which has no keys"),
        ("score.a.b=1", "score is 'logit', which has no keys; set score as a whole."),
    ],
)
def test_an_override_that_cannot_be_applied_is_quoted(override, message):
    dataset = {**PLAIN["dataset"], "class_names": ["x"]}
    assert message in fault(override, dataset=dataset, score="logit")


# --- environment and paths ----------------------------------------------------------------------


def test_variables_are_expanded_in_texts_and_numbers(monkeypatch):
    monkeypatch.setenv("XATTR_TEST_HOME", "/home/me")
    monkeypatch.setenv("XATTR_TEST_SEED", "11")
    found = job(
        "compute.seed=${XATTR_TEST_SEED}",
        "target={index: [0, '${XATTR_TEST_SEED}']}",
        "output.path=${XATTR_TEST_HOME}/run-${XATTR_TEST_SEED}/maps.h5",
    )
    assert found.compute.seed == 11
    assert found.target.index == (0, 11)
    assert found.output.path == Path("/home/me/run-11/maps.h5")


def test_a_variable_that_is_not_set_is_named_with_its_key(monkeypatch):
    monkeypatch.setenv("XATTR_TEST_FOLDER", "a")
    monkeypatch.delenv("XATTR_TEST_FOLDR", raising=False)
    message = fault("model.kwargs={files: [a, '${XATTR_TEST_FOLDR}/b']}")
    assert message == (
        "model.kwargs.files.1: environment variable 'XATTR_TEST_FOLDR' is not set. "
        "Did you mean 'XATTR_TEST_FOLDER'?"
    )


def test_a_doubled_dollar_is_a_dollar(monkeypatch):
    monkeypatch.setenv("HERE", "there")
    texts = ["$${HERE}", "$$${HERE}", "$HERE", "${1}", "${HERE", "a$"]
    values = plain_values(yaml.safe_dump({"a": texts}))["a"]
    assert values == ["${HERE}", "$${HERE}", "$HERE", "${1}", "${HERE", "a$"]


def test_values_of_variables_are_not_expanded_again(monkeypatch):
    monkeypatch.setenv("OUTER", "${INNER}")
    found = job("model.kwargs={a: '${OUTER}'}")
    assert found.model.kwargs == {"a": "${INNER}"}
    assert parse_job(to_yaml(found), folder=FOLDER) == found


def test_paths_start_at_the_folder_of_the_job(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "jobs").mkdir()
    file = tmp_path / "jobs" / "job.yaml"
    sections = {
        "dataset": {"kind": "arrays", "path": "../data/x.npz", "labels_path": str(tmp_path / "y.npy")},
        "model": {"kind": "torchscript", "path": "~/net.pt"},
        "engines": integrated(baseline={"kind": "file", "path": "./b.npy"}),
    }
    file.write_text(yaml.safe_dump({**PLAIN, **sections}))
    monkeypatch.chdir(tmp_path)
    for source in (str(file), "jobs/job.yaml", "jobs/../jobs/job.yaml"):
        found = load_job(source)
        assert found.dataset.path == tmp_path / "data" / "x.npz"
        assert found.dataset.labels_path == tmp_path / "y.npy"
        assert found.model.path == tmp_path / "home" / "net.pt"
        assert found.engines["ig"].baseline.path == tmp_path / "jobs" / "b.npy"
        assert found.output.path == tmp_path / "jobs" / "maps.h5"


def test_a_missing_job_file_is_named_with_its_like(tmp_path):
    (tmp_path / "digits.yaml").write_text("")
    with pytest.raises(JobError, match=r"job file .*digit.yaml: no such file. Did you mean '.*digits.yaml'\?"):
        load_job(str(tmp_path / "digit.yaml"))


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_job_file_that_cannot_be_read_is_named(tmp_path, content):
    file = tmp_path / "job.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(JobError, match=r"job file .*job.yaml: (cannot be read: |is a folder)"):
        load_job(str(file))


# --- the forms of a job -------------------------------------------------------------------------

ENGINES = {
    "one name": ("saliency", ["saliency"], ["saliency"]),
    "a list": (["saliency", "input_x_gradient"],) * 3,
    "no options": ({"saliency": None}, ["saliency"], ["saliency"]),
    "a second label": (
        {"integrated_gradients": {}, "fine": {"engine": "integrated_gradients", "rtol": 0.001}},
        ["integrated_gradients", "fine"],
        ["integrated_gradients", "integrated_gradients"],
    ),
    "a label for a name": ({"mine": "saliency"}, ["mine"], ["saliency"]),
    "a number as label": ({1: "saliency"}, ["1"], ["saliency"]),
}  # fmt: skip
TARGETS = {
    "predicted": ("predicted", Target(select="predicted")),
    "label": ("label", Target(select="label")),
    "all": ("all", Target(select="all")),
    "one index": ({"index": 3}, Target(select="index", index=(3,))),
    "indices": ({"index": [3, 0]}, Target(select="index", index=(3, 0))),
    "top": ({"top": 5}, Target(select="top", count=5)),
}
EXPLAINS = {
    "inputs": ("inputs", Explain()),
    "some": ({"inputs": ["a", "b"]}, Explain(inputs=("a", "b"))),
}


@pytest.mark.parametrize("form", ENGINES)
def test_every_form_of_engines_round_trips(form):
    written, labels, names = ENGINES[form]
    found = job(engines=written)
    assert list(found.engines) == labels
    assert [engine.registered_name for engine in found.engines.values()] == names
    assert parse_job(to_yaml(found), folder=FOLDER) == found


@pytest.mark.parametrize("form", TARGETS)
def test_every_form_of_target_round_trips(form):
    written, target = TARGETS[form]
    found = job(target=written)
    assert found.target == target
    assert parse_job(to_yaml(found), folder=FOLDER) == found


@pytest.mark.parametrize("form", EXPLAINS)
def test_every_form_of_explain_round_trips(form):
    written, explain = EXPLAINS[form]
    found = job(explain=written)
    assert found.explain == explain
    assert parse_job(to_yaml(found), folder=FOLDER) == found


@pytest.mark.parametrize("wrong", [{"select": "index"}, {"select": "top"}, {"index": (1,)}, {"count": 1}])
def test_a_target_made_in_python_is_consistent(wrong):
    with pytest.raises(ValueError, match="index goes with select='index', count with select='top'"):
        Target(**wrong)


def test_a_name_stands_for_a_plugin_without_options():
    assert job(engines=integrated(baseline="mean")) == job(engines=integrated(baseline={"kind": "mean"}))


def test_the_written_job_is_complete_and_absolute():
    written = yaml.safe_load(to_yaml(job()))
    assert written["dataset"]["path"] == "/jobs/data.npz"
    assert written["output"]["path"] == "/jobs/maps.h5"
    assert written["compute"] == {
        "device": "auto", "precision": "auto", "batch_rows": "auto", "threads": "auto", "memory": "auto",
        "memory_format": "auto", "fold_batchnorm": "auto", "arithmetic": "auto", "compile": "auto", "seed": 0,
    }  # fmt: skip
    assert written["engines"] == {"saliency": {"engine": "saliency", "signed": False}}
    assert (written["target"], written["explain"], written["score"]) == ("predicted", "inputs", "auto")


# --- random jobs --------------------------------------------------------------------------------

# PyYAML folds the three exotic line ends that it writes
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=12
) | st.sampled_from(
    ["1e-3", "null", "yes", "2024-01-31", "${HOME}", "$${HOME}", "~", "a: b", "- a", "0x1F", "1_0", "", "ünïcode"]
)
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**40), 2**40)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
LABELS = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=8).filter(
    lambda label: label[0] not in "-."
)
NAMES = st.lists(TEXTS, min_size=1, max_size=3)
PATHS = st.lists(st.text(string.ascii_letters + "._ ${}", min_size=1, max_size=6), min_size=1, max_size=3).map(
    "/".join
)


def options(**optional):
    return st.fixed_dictionaries({}, optional=optional)


BASELINES = st.one_of(
    st.sampled_from(["zero", "mean", {"kind": "uniform", "low": -1e-7, "high": 1e30}]),
    st.builds(lambda value: {"kind": "constant", "value": value}, FRACTIONS | st.lists(FRACTIONS, min_size=1)),
    st.builds(lambda path: {"kind": "file", "path": path}, PATHS),
)
METHODS = st.one_of(
    st.just({"engine": "saliency"}),
    st.just("input_x_gradient"),
    options(
        baseline=BASELINES, rtol=FRACTIONS, max_nodes=st.integers(9, 2**20), warp=st.just(1.0) | st.floats(2, 8)
    ).map(lambda given: {"engine": "integrated_gradients", **given}),
    options(layers=NAMES, alphas=st.sets(FRACTIONS).map(sorted)).map(
        lambda given: {"engine": "interior_gradients", **given}
    ),
)
JOBS = st.fixed_dictionaries(
    {
        "model": options(kwargs=st.dictionaries(TEXTS, VALUES, max_size=3)).map(
            lambda given: {"kind": "python", "factory": "nets:build", **given}
        ),
        "dataset": options(limit=st.none() | st.integers(1, 10**12), class_names=NAMES, mean=FRACTIONS).map(
            lambda given: {"kind": "arrays", "path": "x.npz", **given}
        ),
        "engines": st.dictionaries(LABELS, METHODS, min_size=1, max_size=3),
        "output": options(compression=st.sampled_from(["none", "gzip", "lzf"]), keep_parts=st.booleans()).map(
            lambda given: {"path": "maps.h5", **given}
        ),
    },
    optional={
        "target": st.sampled_from(["predicted", "label", "all"])
        | st.builds(lambda top: {"top": top}, st.integers(1, 9))
        | st.builds(lambda index: {"index": index}, st.lists(st.integers(0, 9), min_size=1)),
        "explain": st.just("inputs") | st.builds(lambda names: {"inputs": names}, NAMES),
        "score": st.sampled_from(["auto", "logit", "probability", "log_probability", "raw"]),
        "compute": options(
            seed=st.integers(0, 2**63 - 1),
            device=st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "mps"]),
            batch_rows=st.just("auto") | st.integers(1, 2**20),
        ),
    },
)  # fmt: skip


def literally(values):
    """YAML in which every text is quoted and no variable is looked up."""
    return yaml.safe_dump(values, default_style='"', sort_keys=False).replace("${", "$${")


@settings(max_examples=150, deadline=None)
@given(JOBS)
def test_a_written_job_is_read_as_the_same_job(values):
    found = parse_job(literally(values), folder=FOLDER)
    again = parse_job(to_yaml(found), folder=FOLDER)
    assert again == found
    assert to_yaml(again) == to_yaml(found)
    assert json.dumps(identity(again)) == json.dumps(identity(found))


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from(["model", "dataset", "target", "score", "explain", "engines", "compute", "output"]))
def test_any_value_is_accepted_or_refused_with_a_message(value, section):
    try:
        parse_job(literally({**PLAIN, section: value}), folder=FOLDER)
    except JobError as error:
        assert str(error).startswith(section)


# --- what may change between a kill and its resume ----------------------------------------------

FREE = {
    "compute.device": "cuda:1",
    "compute.batch_rows": 17,
    "compute.memory": "1GiB",
    "compute.memory_format": "channels_last",
    "compute.fold_batchnorm": True,
    "compute.compile": False,
    "compute.threads": 3,
    "output.path": "/elsewhere/maps.h5",
    "output.keep_parts": True,
}
DECISIVE = {
    "compute.precision": "float64",
    "compute.arithmetic": "tf32",
    "compute.seed": 1,
    "output.compression": "gzip",
    "output.part_rows": 7,
    "output.store_inputs": "none",
    "target": "all",
    "score": "raw",
    "explain": {"inputs": ["X"]},
    "model.factory": "nets:other",
    "model.checkpoint": "b.pt",
    "model.kwargs": {"width": 3},
    "dataset.path": "b.npz",
    "dataset.limit": 3,
    "dataset.labels": "z",
    "dataset.class_names": ["cat", "dog"],
    "engines.ig.rtol": 0.01,
    "engines.ig.baseline": "mean",
    "engines.more": "saliency",
}


def changed(key, value):
    return identity(job(f"{key}={json.dumps(value)}", engines=integrated()))


@pytest.mark.parametrize("key", FREE)
def test_a_resume_may_change_how_the_device_is_used_and_where_the_file_goes(key):
    assert changed(key, FREE[key]) == identity(job(engines=integrated()))


@pytest.mark.parametrize("key", DECISIVE)
def test_a_resume_may_change_nothing_that_decides_a_number(key):
    assert changed(key, DECISIVE[key]) != identity(job(engines=integrated()))


def test_every_key_of_compute_and_output_is_free_or_decisive():
    found = job().model_dump(mode="json")
    keys = {f"{section}.{key}" for section in ("compute", "output") for key in found[section]}
    assert keys == {key for key in {*FREE, *DECISIVE} if key.startswith(("compute.", "output."))}


def test_the_identity_does_not_depend_on_how_the_job_is_written():
    assert identity(job(engines=["saliency"], target={"index": 2})) == identity(
        job(engines={"saliency": {"engine": "saliency"}}, target={"index": [2]})
    )


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_infinities_are_not_taken_for_null(number):
    found = job(f"model.kwargs={{x: .{number}}}".replace(".-", "-."))
    assert identity(found) != identity(job("model.kwargs={x: null}"))
    assert str(parse_job(to_yaml(found), folder=FOLDER).model.kwargs["x"]) == number
