"""The commented job file that `xattr-cli init` writes."""

__all__ = ["STARTER_JOB"]

STARTER_JOB = """\
# A job of xattr-cli: which network, which data, which outputs, which methods, where the answer goes.
# Check it with `xattr-cli plan`, run it with `xattr-cli run`. Relative paths start at this file;
# ${VAR} is taken from the environment; `xattr-cli schema` gives editors a schema of every key.

model:
  kind: python                      # python | torchvision | torchscript | exported
  factory: xattr_cli.models.zoo:digits_cnn   # module:callable that returns the network
  checkpoint: model.pt              # state dict: .pt, .pth or .safetensors
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
