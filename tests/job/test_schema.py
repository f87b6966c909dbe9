"""The JSON Schema of the job file: valid, and of one mind with the parser about what a job may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from xattr_cli.errors import JobError
from xattr_cli.job.config import parse_job, to_yaml
from xattr_cli.job.schema import job_schema
from xattr_cli.job.starter import STARTER_JOB
from xattr_cli.job.yaml_text import plain_values
from xattr_cli.registry import BASELINES, DATASETS, ENGINES, MODELS

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PLAIN = {
    "model": {"kind": "python", "factory": "nets:build"},
    "dataset": {"kind": "arrays", "path": "data.npz"},
    "engines": {"saliency": None},
    "output": {"path": "maps.h5"},
}

GOOD = """\
engines: saliency
engines: [saliency, input_x_gradient]
engines: {saliency: null, input_x_gradient: {}}
engines: {saliency: {engine: saliency}}
engines: {mine: saliency}
engines: {saliency: input_x_gradient}
engines: {mine: {engine: integrated_gradients, rtol: 1e-3}}
engines: {integrated_gradients: {engine: saliency}}
engines: {integrated_gradients: {rule: midpoint, nodes: 50}}
engines: {integrated_gradients: {baseline: mean}}
engines: {integrated_gradients: {baseline: {kind: blur, sigma: 2}}}
engines: {integrated_gradients: {baseline: {kind: constant, value: 0.5}}}
engines: {integrated_gradients: {baseline: {kind: constant, value: [0.5, 1]}}}
engines: {integrated_gradients: {baseline: {kind: constant, value: {X: [0.5, 1], Z: 0}}}}
engines: {expected_gradients: {baseline: {kind: samples, dataset: {kind: arrays, path: train.npz}}}}
engines: {interior_gradients: {alphas: [0.5, 1], layers: [conv]}}
target: predicted
target: label
target: all
target: {index: 3}
target: {index: [3, 0]}
target: {top: 5}
score: logit
explain: inputs
explain: {inputs: [X]}
compute: {}
compute: {device: "cuda:1", precision: float64, batch_rows: 64, threads: 2, seed: 9}
compute: {batch_rows: auto}
output: {path: a.h5, compression: lzf, part_rows: 5, store_inputs: 7, keep_parts: true}
model: {kind: torchscript, path: net.pt}
model: {kind: torchvision, name: resnet18, kwargs: {num_classes: 3, deep: {er: [1, null]}}}
dataset: {kind: builtin, name: digits}
dataset: {kind: arrays, path: a.npz, inputs: [X, Z], dtype: {X: float32}, mean: [1, 2], limit: null}
dataset: {kind: table, path: a.csv, standardise: true}
dataset: {kind: table, path: a.csv, standardise: statistics.json}
dataset: {kind: table, path: a.csv, standardise: {mean: {a: 1}, std: {a: 2.5}}}
dataset: {kind: images, path: photos, transform: {resize: 64}}
dataset: {kind: molecules, path: a.smi, features: morgan}
dataset: {kind: molecules, path: a.smi, features: {morgan: {radius: 3}}}
dataset: {kind: images, path: photos, class_names: [cat, dog]}
dataset: {kind: images, path: photos, class_names: names.txt}
dataset: {kind: images, path: photos, class_names: a/names.JSON}
""".splitlines()

WITH_VARIABLES = """\
compute: {seed: "${NUMBER}", batch_rows: "${NUMBER}", device: "cuda:${NUMBER}"}
output: {path: "${NUMBER}/maps.h5", keep_parts: "${FLAG}"}
dataset: {kind: arrays, path: "${NUMBER}.npz", limit: "${NUMBER}"}
target: {index: ["${NUMBER}"]}
score: ${SCORE}
""".splitlines()

BAD = """\
engine: saliency
engines: null
engines: []
engines: {}
engines: 3
engines: saliancy
engines: [saliancy]
engines: [saliency, saliency]
engines: [{engine: saliency}]
engines: {saliancy: null}
engines: {a/b: saliency}
engines: {-a: saliency}
engines: {mine: null}
engines: {mine: {}}
engines: {mine: {engine: saliancy}}
engines: {mine: {rtol: 0.1}}
engines: {saliency: {rtol: 0.1}}
engines: {saliency: 3}
engines: {integrated_gradients: {rtoll: 0.1}}
engines: {integrated_gradients: {rtol: 0}}
engines: {integrated_gradients: {rtol: 1}}
engines: {integrated_gradients: {rtol: fine}}
engines: {integrated_gradients: {max_nodes: 8}}
engines: {integrated_gradients: {max_nodes: 9.5}}
engines: {integrated_gradients: {max_nodes: true}}
engines: {integrated_gradients: {rule: midpoin, nodes: 5}}
engines: {integrated_gradients: {baseline: blurr}}
engines: {integrated_gradients: {baseline: blur}}
engines: {integrated_gradients: {baseline: {sigma: 2}}}
engines: {integrated_gradients: {baseline: {kind: blur}}}
engines: {integrated_gradients: {baseline: {kind: blur, sigma: -1}}}
engines: {integrated_gradients: {baseline: {kind: blur, sigma: 1, x: 1}}}
engines: {integrated_gradients: {baseline: null}}
engines: {integrated_gradients: {baseline: {kind: constant, value: [a]}}}
engines: {interior_gradients: {layers: conv}}
target: predict
target: null
target: 3
target: {}
target: {index: -1}
target: {index: []}
target: {index: [0.5]}
target: {index: 1.5}
target: {top: 0}
target: {top: 1, index: 1}
target: {select: top}
score: logits
score: null
explain: input
explain: {}
explain: {inputs: []}
explain: {inputs: X}
explain: {input: [X]}
compute: null
compute: cpu
compute: {devise: cpu}
compute: {device: gpu}
compute: {device: "cuda:"}
compute: {precision: float16}
compute: {batch_rows: 0}
compute: {batch_rows: many}
compute: {batch_rows: true}
compute: {seed: -1}
compute: {seed: 9223372036854775808}
output: maps.h5
output: {}
output: {path: null}
output: {path: a.h5, part_rows: 0}
output: {path: a.h5, store_inputs: some}
output: {path: a.h5, keep_parts: 7}
output: {path: a.h5, parts: 7}
model: null
model: python
model: pythn
model: {factory: a}
model: {kind: python}
model: {kind: pythn, factory: a}
model: {kind: python, factory: 3}
model: {kind: python, factory: a, kwargs: [1]}
model: {kind: python, factory: a, trust_pickle: maybe}
dataset: arrays
dataset: {kind: arrays}
dataset: {kind: arrays, path: a.npz, limit: 0}
dataset: {kind: arrays, path: a.npz, limit: true}
dataset: {kind: arrays, path: a.npz, dtype: float23}
dataset: {kind: arrays, path: a.npz, dtype: {X: float23}}
dataset: {kind: arrays, path: a.npz, mean: {X: [a]}}
dataset: {kind: arrays, path: a.npz, class_names: cat}
dataset: {kind: arrays, path: a.npz, class_names: names.csv}
dataset: {kind: arrays, path: a.npz, class_names: [[cat]]}
dataset: {kind: arrays, path: a.npz, class_names: null}
dataset: {kind: molecules, path: a.smi, features: {morgan: {radios: 3}}}
dataset: {kind: molecules, path: a.smi, features: {morgan: null}}
dataset: {kind: builtin, name: digit}
dataset: {kind: table, path: a.csv, standardise: {mean: {a: 1}}}
dataset: {kind: table, path: a.csv, standardise: 3}
dataset: {kind: images, path: photos, transform: {resise: 64}}
""".splitlines()


@pytest.fixture(scope="module")
def schema():
    return job_schema()


@pytest.fixture(scope="module")
def accepts(schema):
    return Draft202012Validator(schema).is_valid


def as_written(text):
    """What an editor sees: the YAML, with `${VAR}` as it stands."""
    return plain_values(text.replace("${", "$${"))


def whole_job(line):
    return {**PLAIN, **as_written(line)}


def parsed(values):
    return parse_job(yaml.safe_dump(values, sort_keys=False), folder=Path("/jobs"))


def parses(line):
    try:
        parsed(whole_job(line))
    except JobError:
        return False
    return True


def test_the_schema_is_one(schema):
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_every_reference_has_a_definition(schema):
    def references(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for inner in node.values():
                yield from references(inner)
        if isinstance(node, list):
            for inner in node:
                yield from references(inner)

    found = set(references(schema))
    assert found <= {f"#/$defs/{key}" for key in schema["$defs"]}
    assert not any(" " in reference for reference in found)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_schema_accepts_the_jobs_of_the_project(path, accepts):
    assert accepts(as_written(path.read_text(encoding="utf-8")))


def test_the_schema_accepts_the_starter_job(accepts):
    assert accepts(as_written(STARTER_JOB))


@pytest.mark.parametrize("line", GOOD)
def test_schema_and_parser_accept_a_good_job(line, accepts):
    assert parses(line)
    assert accepts(whole_job(line))


@pytest.mark.parametrize("line", BAD)
def test_schema_and_parser_refuse_a_bad_job(line, accepts):
    assert not parses(line)
    assert not accepts(whole_job(line))


@pytest.mark.parametrize("line", WITH_VARIABLES)
def test_schema_and_parser_accept_variables_where_a_text_would_be_wrong(line, accepts, monkeypatch):
    monkeypatch.setenv("NUMBER", "3")
    monkeypatch.setenv("FLAG", "true")
    monkeypatch.setenv("SCORE", "logit")
    assert parses(line)
    assert accepts(whole_job(line))


@pytest.mark.parametrize("section", PLAIN)
def test_schema_and_parser_miss_a_section(section, accepts):
    rest = {name: content for name, content in PLAIN.items() if name != section}
    assert not accepts(rest)
    with pytest.raises(JobError, match=section):
        parsed(rest)


def test_the_written_job_is_accepted_too(accepts):
    for line in GOOD:
        assert accepts(yaml.safe_load(to_yaml(parsed(whole_job(line))))), line


@pytest.mark.parametrize("registry", [ENGINES, MODELS, DATASETS, BASELINES], ids=lambda registry: registry.noun)
def test_every_plugin_is_described_with_its_options(registry, schema):
    for name in registry.names():
        described = schema["$defs"][f"{registry.noun.replace(' ', '-')}.{name}"]
        assert set(described["properties"]) == {registry.tag, *registry.get(name).model_fields}
        assert described["description"]
        assert described["additionalProperties"] is False


def test_sections_are_explained_for_editors(schema):
    for section in ("target", "score", "explain", "engines"):
        assert schema["properties"][section]["description"]
    for section in ("Compute", "Output"):
        options = schema["$defs"][f"job.{section}"]["properties"]
        assert all(option.get("description") or name == "path" for name, option in options.items())
