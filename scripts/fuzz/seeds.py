"""Good files to start from: small jobs, checkpoints, programs, data and results of every kind."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import onnx
import pandas
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

from xattr_cli import run
from xattr_cli.models.zoo import mlp

__all__ = ["BASE_JOB", "jobs", "write_data", "write_models", "write_results"]

BASE_JOB = {
    "model": {
        "kind": "python",
        "factory": "xattr_cli.models.zoo:mlp",
        "kwargs": {"inputs": 3, "hidden": [4], "outputs": 2, "activation": "tanh"},
        "checkpoint": "model.pt",
    },
    "dataset": {"kind": "arrays", "path": "data.npz", "labels": "y"},
    "engines": {"integrated_gradients": {}},
    "compute": {"device": "cpu", "batch_rows": 256},
    "output": {"path": "out.h5"},
}
"""A job that takes 50 ms."""


def jobs() -> list[dict]:
    """Jobs that use much of what a job can say."""
    table = {"kind": "table", "path": "data.csv", "label": "species", "class_names": ["b", "a"], "key": "name"}
    hessians = {
        "integrated_hessians": {"baseline": {"kind": "mean"}, "groups": {"left": ["u", "v"], "right": ["w"]}}
    }
    statistics = {"mean": {"u": 0, "v": 0, "w": 0}, "std": {"u": 1, "v": 2, "w": 1}}
    causal = {"icc": {"graph": {"u": [], "v": ["u"], "w": ["u"]}, "samples": 64}, "sobol": {"samples": 64}}
    ig = {"engine": "integrated_gradients", "baseline": {"kind": "gaussian", "sigma": 0.1}, "rtol": 0.1}
    return [
        {**BASE_JOB, "target": {"top": 2}, "score": "log_probability"},
        {
            **BASE_JOB,
            "dataset": {**BASE_JOB["dataset"], "features": ["u", "v", "w"], "divide_by": 2.0, "limit": 9},
            "engines": {"ig": ig, "expected_gradients": {"baseline": {"kind": "samples", "count": 8}}},
            "target": {"index": [0, 1]},
            "explain": {"layer": "0"},
        },
        {**BASE_JOB, "dataset": table, "engines": {**hessians, "ace": {"alphas": 20}}},
        {
            **BASE_JOB,
            "dataset": {**table, "standardise": statistics},
            "engines": causal,
            "compute": {"device": "cpu", "threads": 1, "memory": "256MiB", "seed": 3},
        },
    ]  # fmt: skip


def write_data(folder: Path) -> None:
    """data.npz, packed.npz, data.npy, data.h5, data.csv, data.parquet and pictures/: 12 samples of 3 features."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    np.savez(folder / "data.npz", X=x, y=y)
    np.savez_compressed(folder / "packed.npz", X=x, y=y)
    np.save(folder / "data.npy", x)
    with h5py.File(folder / "data.h5", "w") as file:
        file["X"], file["y"] = x, y
        file.create_dataset(
            "group/packed", data=x, chunks=(4, 3), compression="gzip", shuffle=True, fletcher32=True
        )
        file["text"] = np.array([f"s{i}" for i in range(12)], dtype=object)
        file["group/link"] = h5py.SoftLink("/X")
        file["X"].attrs["note"] = "a text"
    frame = pandas.DataFrame(x, columns=list("uvw"))
    frame["species"] = np.where(y == 1, "a", "b")
    frame["name"] = [f"n{i}" for i in range(12)]
    frame.to_csv(folder / "data.csv", index=False)
    frame.to_parquet(folder / "data.parquet")
    for number in range(4):
        place = folder / "pictures" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(place / f"{number}.png")


def write_models(folder: Path) -> None:
    """The network of `BASE_JOB`: model.pt, old.pt, model.safetensors, script.pt, program.pt2, model.onnx."""
    torch.manual_seed(0)
    network = mlp(3, [4], 2, "tanh").eval()
    example = torch.zeros(2, 3)
    torch.save(network.state_dict(), folder / "model.pt")
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, folder / "nested.pt")
    torch.save(network.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(network.state_dict(), folder / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(folder / "script.pt"))
        batch = torch.export.Dim("batch")
        torch.export.save(
            torch.export.export(network, (example,), dynamic_shapes=({0: batch},)), folder / "program.pt2"
        )
    (folder / "model.onnx").write_bytes(_onnx(network))


def _onnx(network: torch.nn.Module) -> bytes:
    """The network as ONNX, built by hand: torch's exporter needs a package more."""
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    first, second = sorted({name.split(".")[0] for name in weights})
    nodes = [
        helper.make_node("Gemm", ["x", f"{first}.weight", f"{first}.bias"], ["h"], "first", transB=1),
        helper.make_node("Tanh", ["h"], ["t"], "tanh"),
        helper.make_node("Gemm", ["t", f"{second}.weight", f"{second}.bias"], ["y"], "second", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in (("x", 3), ("y", 2))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_results(folder: Path) -> None:
    """maps.h5 with rows, effects.h5 with effects; their jobs beside them."""
    maps = {
        **jobs()[0],
        "engines": {
            "integrated_gradients": {},
            "interior_gradients": {},
            "integrated_hessians": {},
            "expected_gradients": {"baseline": {"kind": "samples", "count": 8}},
        },
        "output": {"path": "maps.h5", "compression": "gzip"},
    }
    effects = {
        **jobs()[2],
        "engines": {"ace": {"alphas": 20}, "sobol": {"samples": 64}},
        "output": {"path": "effects.h5"},
    }
    for name, job in (("maps", maps), ("effects", effects)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(job))
        run(folder / f"{name}.yaml")
