"""What once slipped through: a result says only what is true of the code and the data that it names."""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.cli import differences, fork, invoke, parts_of, run, write_job

from xattr_cli import fingerprint
from xattr_cli.fingerprint import fingerprint_file, hash_file
from xattr_cli.pipeline.provenance import code
from xattr_cli.pipeline.provenance.code import _is_installed

ROWS, FEATURES, PART = 16, 5, 1

NETWORK = """
import time
from pathlib import Path
import torch
from torch import nn
from slip_layers import scale

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        time.sleep({pause})
        return torch.tanh(self.linear(x)) * scale() {more}

def build():
    return Slow()
"""
LAYERS = "def scale():\n    return {factor}\n"


def write_network(folder, pause=0.0, more="", factor=1.0):
    (folder / "slip_network.py").write_text(NETWORK.format(pause=pause, more=more))
    (folder / "slip_layers.py").write_text(LAYERS.format(factor=factor))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A job of 16 parts on a network of two modules of the user's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_network(tmp_path)
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("f4"))
    job(tmp_path)
    return tmp_path


def job(folder, name="job.yaml", **sections):
    sections = {
        "model": {"factory": "slip_network:build"},
        "dataset": {"labels": None},
        "engines": {"saliency": None},
        "output": {"part_rows": PART},
        **sections,
    }
    return write_job(folder, name, **sections)


def killed(folder, parts=6):
    """Run the job slowly, and kill it when `parts` are finished."""
    write_network(folder, pause=0.02)
    running = fork(folder, "run", folder / "job.yaml", "--quiet")
    running.wait_for(lambda: len(parts_of(folder)) >= parts)
    running.signal(9)
    running.wait()


def forget_modules():
    for name in [name for name in sys.modules if name.startswith("slip_")]:
        del sys.modules[name]


def refused(folder, *arguments, code=1):
    forget_modules()
    return run(folder / "job.yaml", *arguments, code=code).stderr


# --- code -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edited", "named"),
    [({"more": "* 1000"}, "module slip_network"), ({"factor": 1000.0}, "module slip_layers")],
)
def test_a_network_edited_midway_is_refused_naming_its_module(folder, edited, named):
    killed(folder)
    write_network(folder, pause=0.02, **edited)
    message = refused(folder)
    assert "other code" in message and named in message and "--accept-changes" in message
    assert not (folder / "out.h5").exists()


def test_an_accepted_change_is_on_record_with_the_parts_that_it_concerns(folder):
    killed(folder)
    before = len(parts_of(folder))
    write_network(folder, pause=0.02, more="* 1000")
    forget_modules()
    run(folder / "job.yaml", "--accept-changes")
    with h5py.File(folder / "out.h5") as file:
        told = file.attrs["code_changes"]
        largest = np.abs(file["engines/saliency/attribution"][()]).max(axis=1)
    assert told.startswith(f"parts {before}-15 of 16: module slip_network: was [")
    assert (largest[:before] < 10).all() and (largest[before:] > 10).all()
    assert "slip_network" in invoke("inspect", folder / "out.h5").stdout


def test_a_finished_result_of_other_code_is_not_taken_for_the_one_asked_for(folder):
    run(folder / "job.yaml")
    assert run(folder / "job.yaml").exit_code == 0
    write_network(folder, more="* 2")
    assert "module slip_network" in refused(folder)
    forget_modules()
    run(folder / "job.yaml", "--accept-changes")
    forget_modules()
    run(folder / "job.yaml", "--overwrite")
    run(folder / "job.yaml")


@pytest.mark.parametrize("package", ["torch", "xattr_cli.pipeline.provenance.code", "numpy"])
def test_another_version_is_refused_by_name(folder, package, monkeypatch):
    killed(folder)
    monkeypatch.setattr(f"{package}.__version__", "0.0.7")
    message = refused(folder)
    name = package.partition(".")[0]
    assert f"\n  {name}: was " in message and "0.0.7" in message


def test_weights_beside_an_onnx_file_count_as_the_network(folder):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnx2torch")
    weights = onnx.numpy_helper.from_array(np.ones((FEATURES, 3), "f4"), "w")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name, size in (("x", FEATURES), ("y", 3))
    ]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    program = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(program, str(folder / "net.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    job(folder, model={"kind": "onnx", "path": "net.onnx", "factory": None})
    run(folder / "job.yaml")
    (folder / "w.bin").write_bytes(np.full((FEATURES, 3), 2, "f4").tobytes())
    assert "checkpoint_hash: was [" in run(folder / "job.yaml", code=1).stderr


def test_weights_that_are_cut_off_during_a_run_are_in_memory_by_then(folder):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder / "bert")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from xattr_cli.models.huggingface.transformers import TransformersModel\n"
        "loaded = TransformersModel(path=Path(sys.argv[1])).load()\n"
        "os.truncate(Path(sys.argv[1], 'model.safetensors'), 100)\n"
        "print(sum(float(p.detach().abs().sum()) for p in loaded.module.parameters()) > 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, folder / "bert"], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "True\n", ended.stderr


def test_what_does_not_make_the_network_may_be_edited(folder):
    killed(folder)
    (folder / "notes.py").write_text("x = 1\n")
    forget_modules()
    run(folder / "job.yaml")


# --- data -----------------------------------------------------------------------------------------


FORMATS = ["npz", "npy", "h5", "csv", "mapped"]


def write_arrays(folder, kind, x):
    """The dataset section of a job on `x`, in a file of that kind."""
    path = folder / f"data.{'npy' if kind == 'mapped' else kind}"
    if kind == "npz":
        np.savez(path, X=x)
    elif kind in ("npy", "mapped"):
        np.save(path, x)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["X"] = x
    else:
        path.write_text("a,b,c,d,e\n" + "".join(",".join(map(str, row)) + "\n" for row in x.tolist()))
    if kind == "mapped":
        (folder / "slip_data.py").write_text(
            "import numpy as np\ndef load(path):\n    return {'X': np.load(path, mmap_mode='r')}\n"
        )
        return path, {"kind": "python", "path": None, "factory": "slip_data:load", "kwargs": {"path": str(path)}}
    return path, {"kind": "table" if kind == "csv" else "arrays", "path": path.name}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("change", ["overwritten", "cut off"])
def test_data_that_change_during_a_run_do_not_pass_under_the_old_hash(folder, kind, change):
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("f4")
    path, section = write_arrays(folder, kind, x)
    write_network(folder, pause=0.02)
    job(folder, dataset={"labels": None, **section})
    running = fork(folder, "run", folder / "job.yaml", "--quiet")
    running.wait_for(lambda: len(parts_of(folder)) >= 4)
    content = bytearray(path.read_bytes())
    if change == "cut off":
        os.truncate(path, len(content) // 2)
    else:
        content[len(content) // 2 :] = content[len(content) // 2 :][::-1]
        with path.open("r+b") as file:
            file.write(content)
    assert running.wait() == 1, running.stderr
    assert str(path) in running.stderr and "was written to while the job ran" in running.stderr
    assert "Traceback" not in running.stderr and not (folder / "out.h5").exists()


def test_data_that_are_only_touched_during_a_run_do_not_stop_it(folder):
    write_network(folder, pause=0.02)
    running = fork(folder, "run", folder / "job.yaml", "--quiet")
    running.wait_for(lambda: len(parts_of(folder)) >= 2)
    (folder / "data.npz").touch()
    assert running.wait() == 0, running.stderr


def test_a_changed_byte_anywhere_in_large_data_changes_their_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "large.bin"
    size = 300 * 2**20 + 17
    with path.open("wb") as file:
        file.truncate(size)
    hashes = {fingerprint_file(path)}
    for place in (2**20 + 3, size // 3, size - 1):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\1")
        hashes.add(fingerprint_file(path))
    assert len(hashes) == 4


def test_every_sample_of_a_dataset_of_python_counts(folder, monkeypatch):
    (folder / "slip_data.py").write_text(
        "import pathlib\n"
        "import numpy as np\n"
        "class Samples:\n"
        "    def __len__(self): return 200\n"
        "    def __getitem__(self, i): return np.full(5, i, 'f4') + (i == 101) * value()\n"
        "def value(): return float(pathlib.Path('slip.txt').read_text())\n"
        "def load(): return Samples()\n"
    )
    monkeypatch.chdir(folder)
    (folder / "slip.txt").write_text("0")
    job(folder, dataset={"kind": "python", "path": None, "labels": None, "factory": "slip_data:load"})
    run(folder / "job.yaml", "--set", "output.part_rows=64")
    (folder / "slip.txt").write_text("1")
    assert "dataset_hash: was [" in run(folder / "job.yaml", "--set", "output.part_rows=64", code=1).stderr


def test_a_picture_replaced_by_one_of_the_same_size_is_another_dataset(tmp_path):
    paths = [tmp_path / f"{i}.bin" for i in range(200)]
    for path in paths:
        path.write_bytes(bytes(100))
    before = fingerprint.hash_files(tmp_path, paths)
    paths[101].write_bytes(bytes(99) + b"\1")
    assert fingerprint.hash_files(tmp_path, paths).digest != before.digest
    assert before.changed(100, 102) == paths[101] and before.changed(0, 100) is None


def test_a_virtual_dataset_without_its_source_is_refused(folder):
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("f4")
    for half in (0, 1):
        with h5py.File(folder / f"half{half}.h5", "w") as file:
            file["data"] = x[8 * half : 8 * half + 8]
    layout = h5py.VirtualLayout((ROWS, FEATURES), "f4")
    for half in (0, 1):
        layout[8 * half : 8 * half + 8] = h5py.VirtualSource(f"half{half}.h5", "data", (8, FEATURES))
    with h5py.File(folder / "view.h5", "w") as file:
        file.create_virtual_dataset("X", layout, fillvalue=0)
    path = job(folder, dataset={"labels": None, "path": "view.h5"})
    run(path)
    with h5py.File(folder / "half1.h5", "r+") as file:
        file["data"][3] = 0  # the hash of a view is that of its sources too
    assert "dataset_hash: was [" in run(path, code=1).stderr
    (folder / "half1.h5").unlink()
    message = run(path, "--overwrite", code=2).stderr
    assert "half1.h5, which is not there" in message and "fill value" in message


@pytest.mark.parametrize("kind", ["arrays", "mapped"])
def test_the_same_bytes_under_another_mount_are_the_same_job(folder, kind):
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("f4")
    path, section = write_arrays(folder, "npy" if kind == "arrays" else kind, x)
    np.save(folder / "baseline.npy", np.zeros(FEATURES, "f4"))
    engines = {"integrated_gradients": {"baseline": {"kind": "file", "path": "baseline.npy"}}}
    job(folder, dataset={"labels": None, **section}, engines=engines)
    killed(folder)
    kept = parts_of(folder)
    mount = folder / "mount"
    mount.mkdir()
    for name in (path.name, "baseline.npy"):
        shutil.move(folder / name, mount / f"moved-{name}")
    section = {**section, **({"path": f"mount/moved-{path.name}"} if kind == "arrays" else {})}
    if kind == "mapped":
        section["kwargs"] = {"path": str(mount / f"moved-{path.name}")}
    engines["integrated_gradients"]["baseline"]["path"] = "mount/moved-baseline.npy"
    job(folder, dataset={"labels": None, **section}, engines=engines)
    forget_modules()
    told = json.loads(run(folder / "job.yaml", "--json").stdout)
    assert told["rows"] == ROWS and told["computed"] == ROWS - len(kept)
    assert invoke("merge", folder / "job.yaml").exit_code == 0


# --- parts and results ----------------------------------------------------------------------------


def test_a_flipped_bit_in_a_part_is_found_by_the_merge_and_computed_again(folder):
    job(folder, output={"part_rows": 2, "keep_parts": True})
    run(folder / "job.yaml")
    shutil.copy(folder / "out.h5", folder / "right.h5")
    rng = random.Random(0)
    for part in (folder / "out.h5.parts" / name for name in parts_of(folder)[:5]):
        content = bytearray(part.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        part.write_bytes(content)
    (folder / "out.h5").unlink()
    alone = invoke("merge", folder / "job.yaml")
    assert alone.exit_code == 1 and "set aside" in alone.stderr and not (folder / "out.h5").exists()
    told = json.loads(run(folder / "job.yaml", "--json").stdout)
    assert told["computed"] == 10 and told["merged"]
    assert differences(folder / "right.h5", folder / "out.h5") == []


def test_a_run_that_meets_a_damaged_part_at_its_end_computes_it_again(folder):
    killed(folder)
    part = folder / "out.h5.parts" / parts_of(folder)[2]
    content = bytearray(part.read_bytes())
    with h5py.File(part) as file:
        content[file["engines/saliency/attribution"].id.get_offset() + 3] ^= 0x40
    part.write_bytes(content)
    forget_modules()
    run(folder / "job.yaml")
    assert invoke("inspect", "--verify", folder / "out.h5").exit_code == 0


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_inspect_verify_names_what_is_damaged_in_a_result(folder, compression):
    job(folder, output={"part_rows": 4, "compression": compression})
    run(folder / "job.yaml")
    whole = invoke("inspect", "--verify", folder / "out.h5")
    assert whole.exit_code == 0 and "checksums" in whole.stdout
    with h5py.File(folder / "out.h5", "r+") as file:
        file["engines/saliency/attribution"][3, 1] *= -1
    outcome = invoke("inspect", "--verify", folder / "out.h5")
    assert outcome.exit_code == 2 and "/engines/saliency/attribution" in outcome.stderr
    assert invoke("inspect", folder / "out.h5").exit_code == 0


def test_inspect_verify_sees_a_changed_attribute(folder):
    run(folder / "job.yaml")
    with h5py.File(folder / "out.h5", "r+") as file:
        file.attrs["seed"] = 8
    outcome = invoke("inspect", "--verify", folder / "out.h5")
    assert outcome.exit_code == 2 and "attributes" in outcome.stderr


# --- the cache of hashes --------------------------------------------------------------------------


def test_hashes_of_large_files_are_found_again_by_another_process_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(17 * 2**20))
    long_ago = time.time() - 100
    os.utime(path, (long_ago, long_ago))
    code = (
        "import sys, pathlib\nfrom xattr_cli.fingerprint import *\n"
        "print(fingerprint_file(pathlib.Path(sys.argv[1])), hashing_cost().read)\n"
    )

    def elsewhere():
        words = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        return words.stdout.split()

    time.sleep(2.1)  # a hash is kept only of what was at rest for two seconds
    first = elsewhere()
    assert elsewhere() == [first[0], "0"] and int(first[1]) == 17 * 2**20
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, (long_ago, long_ago))  # as rsync would
    assert elsewhere()[0] != first[0]
    (entry,) = (tmp_path / "cache" / "xattr-cli" / "hashes").iterdir()
    entry.write_text("{}")
    assert hash_file(path).digest == elsewhere()[0]


def test_plan_says_what_hashing_took(folder):
    outcome = invoke("plan", folder / "job.yaml")
    assert outcome.exit_code == 0 and "hashing" in outcome.stdout
    assert json.loads(invoke("plan", folder / "job.yaml", "--json").stdout)["hashed_bytes"] >= 0


def test_packages_of_another_environment_are_installed_ones():
    """As with PYTHONPATH, or a .pth file: an import is not followed through all of torch."""
    place = "lib/python3.11"
    assert _is_installed(Path(f"/elsewhere/{place}/site-packages/torch/__init__.py"))
    assert _is_installed(Path(f"/usr/{place}/dist-packages/one.py"))
    assert not _is_installed(Path("/home/me/project/network.py"))


def test_no_import_of_this_package_is_overlooked():
    of_statements, of_all = set(), set()
    for path in sorted(Path(code.__file__).parents[2].rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        of_statements |= {(path, node.lineno) for node in code._statements(tree) if _is_import(node)}
        of_all |= {(path, node.lineno) for node in ast.walk(tree) if _is_import(node)}
    assert of_statements == of_all and len(of_all) > 1000


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    class A:\n        import helper",
        "try:\n    pass\nexcept* ValueError:\n    import helper\nelse:\n    pass",
        "match 1:\n    case 1:\n        import helper",
        "async def f():\n    async with a:\n        for b in c: pass\n        else:\n            import helper",
        "while a:\n    with b:\n        if c:\n            pass\n        elif d:\n            import helper",
    ],
)
def test_an_import_is_seen_however_deep(text):
    assert any(_is_import(node) for node in code._statements(ast.parse(text)))


def _is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)
