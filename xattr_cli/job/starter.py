"""The commented job files that `xattr-cli init` writes: each runs as it is, on data that packages bring along."""

from __future__ import annotations

from collections.abc import Mapping

from .starter_texts import texts_csv, tokenizer_json

__all__ = ["STARTERS", "STARTER_JOB", "files_beside"]

STARTER_JOB = """\
# A job of xattr-cli: which network, which data, which outputs, which methods, where the answer goes.
# Check it with `xattr-cli plan`, run it with `xattr-cli run`. Relative paths start at this file;
# ${VAR} is taken from the environment; `xattr-cli schema` gives editors a schema of every key.

model:
  kind: python                      # python | torchvision | torchscript | exported
  factory: xattr_cli.models.starters:images   # module:callable; this one trains a small network at once
  # checkpoint: model.pt            # state dict of yours: .pt, .pth or .safetensors
  # checkpoint_key: state_dict      # where in the checkpoint it is, if not at the top

dataset:
  kind: builtin                     # arrays | table | images | torchvision | builtin | python
  name: digits
  split: test
  limit: 200                        # the first 200 samples; delete this line to explain all
  # kind: arrays
  # path: test.npz                  # .npz, .npy or .h5; read in blocks, never as a whole
  # inputs: X
  # labels: y

target: predicted                   # predicted | label | all | {index: 3} | {top: 5}
score: auto                         # auto | logit | probability | log_probability | raw

engines:                            # `xattr-cli engines NAME` documents every option
  integrated_gradients:
    baseline: {kind: zero}          # zero | constant | mean | blur | uniform | gaussian | file
    rtol: 0.05                      # every row is refined until its map is this accurate
  expected_gradients:
    baseline: {kind: samples, count: 64}
  # interior_gradients: {alphas: [0.1, 0.25, 0.5, 1.0]}
  # saliency:
  # from_mean: {engine: integrated_gradients, baseline: {kind: mean}}   # a second run of one engine

compute:
  device: auto                      # auto | cpu | cuda | cuda:N | mps
  seed: 0

output:
  path: attributions.h5
"""


def _starter(model: str, dataset: str, rest: str) -> str:
    return f"""\
# A job of xattr-cli that runs as it is: check it with `xattr-cli plan`, run it with `xattr-cli run`. Then put in
# your own network and data. `xattr-cli init` alone writes more comments; `xattr-cli engines NAME` tells options.

model:
  kind: python
  factory: xattr_cli.models.starters:{model}     # module:callable; this one trains a small network at once
  # checkpoint: model.pt

dataset:
{dataset}
{rest}
output:
  path: attributions.h5
"""


STARTERS: Mapping[str, str] = {
    "images": STARTER_JOB,
    "table": _starter(
        "table",
        "  kind: builtin\n  name: breast_cancer\n  split: test\n  # kind: table\n  # path: data.csv\n  # label: "
        "class\n"
        "  # standardise: {mean: {…}, std: {…}}    # those of the training data\n",
        "target: predicted\n\nengines:\n  integrated_gradients: {baseline: {kind: mean}, rtol: 0.05}\n"
        "  shapley: {baseline: {kind: mean}, groups: features}    # asks for no gradient\n",
    ),
    "regression": _starter(
        "regression",
        "  kind: builtin\n  name: diabetes\n  limit: 100\n",
        "score: raw\n\nengines:\n  integrated_gradients: {baseline: {kind: mean}, rtol: 0.05}\n",
    ),
    "text": _starter(
        "text",
        "  kind: text\n  path: texts.csv\n  label: label\n  class_names: [negative, positive]\n"
        "  tokenizer: tokenizer.json\n",
        "explain: {embedding: auto}\n\nengines:\n  integrated_gradients: {baseline: {kind: zero}, rtol: 0.05}\n",
    ),
}
"""Kind of data → a job that runs."""


def files_beside(kind: str) -> dict[str, str]:
    """Further files that the job of a kind of data needs: name -> content.

    Example:
        >>> sorted(files_beside("text")), files_beside("table")
        (['texts.csv', 'tokenizer.json'], {})
    """
    return {"texts.csv": texts_csv(), "tokenizer.json": tokenizer_json()} if kind == "text" else {}
