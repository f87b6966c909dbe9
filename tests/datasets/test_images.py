"""Datasets of pictures: folders, and what torchvision reads."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
from helpers.datasets import opened, refused, source, whole
from PIL import Image
from torchvision import datasets as vision
from torchvision import transforms
from torchvision.models import ResNet18_Weights

from xattr_cli.datasets import finite_rows

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(height=40, width=52, seed=0, channels=3):
    """A smooth coloured picture with some noise."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + c) + seed) + np.cos(y / (4 + c)) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 0.2, (height, width, channels))
    pixels = np.clip(127 + 50 * (np.stack(waves, -1) + noise), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels.squeeze())


@pytest.fixture
def folder(tmp_path):
    """Two classes: cats with two pictures, dogs with one."""
    for seed, name in enumerate(["cats/b.png", "cats/a.png", "dogs/deep/c.png"]):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed=seed).save(path)
    (tmp_path / "pets" / "notes.txt").write_text("not a picture")
    (tmp_path / "pets" / "cats" / "._a.png").write_text("what macOS leaves")
    return tmp_path


def test_class_folders_give_labels_keys_and_a_fixed_order(folder):
    samples = opened(folder, "images", path="pets")
    batch = whole(samples)
    assert batch.keys == ("cats/a.png", "cats/b.png", "dogs/deep/c.png")
    assert samples.classes == ("cats", "dogs") and batch.labels.tolist() == [0, 0, 1]
    assert samples.inputs[0].shape == (3, 40, 52) and samples.inputs[0].offset is None
    expected = np.asarray(picture(seed=1)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(batch.inputs["X"][0], expected, atol=1e-7)
    np.testing.assert_array_equal(samples.read(1, 2).inputs["X"][0], batch.inputs["X"][1])


def test_a_flat_folder_has_no_labels(folder):
    samples = opened(folder, "images", path="pets/cats")
    assert whole(samples).labels is None and samples.classes == ()


def test_class_names_number_the_folders(folder):
    names = ["birds", "dogs", "cats"]
    samples = opened(folder, "images", path="pets", class_names=names)
    assert whole(samples).labels.tolist() == [2, 2, 1] and samples.classes == tuple(names)
    message = "'cats' is not among the 3 class names.*Did you mean 'cat'.* dataset.labels: none"
    refused(folder, message, "images", path="pets", class_names=["cat", "dogs", "birds"])


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"resize": 24}, [transforms.Resize(24)]),
        ({"resize": 24, "center_crop": 20}, [transforms.Resize(24), transforms.CenterCrop(20)]),
        ({"resize": [17, 33]}, [transforms.Resize((17, 33))]),
        ({"center_crop": [11, 30]}, [transforms.CenterCrop((11, 30))]),
        (
            {"resize": 61, "interpolation": "bicubic"},
            [transforms.Resize(61, interpolation=transforms.InterpolationMode.BICUBIC)],
        ),
        ({"grayscale": True, "resize": 24}, [transforms.Grayscale(), transforms.Resize(24)]),
    ],
)
def test_steps_agree_with_torchvision_bit_for_bit(folder, options, reference):
    values = whole(opened(folder, "images", path="pets/cats", transform=options)).inputs["X"]
    expected = transforms.Compose([*reference, transforms.ToTensor()])(picture(seed=1))
    np.testing.assert_array_equal(values[0], expected.numpy())


def test_normalising_agrees_with_torchvision_and_keeps_pixels(folder):
    samples = opened(folder, "images", path="pets/cats", transform={"normalize": "imagenet"})
    spec, values = samples.inputs[0], whole(samples).inputs["X"][0]
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*IMAGENET)])
    np.testing.assert_array_equal(values, reference(picture(seed=1)).numpy())
    pixels = (values * spec.scale + spec.offset) * 255
    np.testing.assert_allclose(pixels, np.asarray(picture(seed=1)).transpose(2, 0, 1), atol=1e-3)


def test_the_transform_of_pretrained_weights(folder):
    name = "ResNet18_Weights.DEFAULT"
    samples = opened(folder, "images", path="pets/cats", transform={"weights": name})
    expected = ResNet18_Weights.DEFAULT.transforms()(picture(seed=1)).numpy()
    np.testing.assert_array_equal(whole(samples).inputs["X"][0], expected)
    assert samples.classes[:2] == ("tench", "goldfish")
    np.testing.assert_allclose(samples.inputs[0].offset.ravel(), IMAGENET[0])
    message = "dataset.transform.weights: torchvision has no weights .* Did you mean 'ResNet18_Weights.DEFAULT'"
    refused(folder, message, "images", path="pets/cats", transform={"weights": "ResNet18_Weight.DEFAULT"})


def test_a_function_of_ones_own(folder):
    (folder / "xattr_test_prepare.py").write_text(
        textwrap.dedent(
            """
            import torch, numpy
            def corner(picture): return torch.from_numpy(numpy.asarray(picture, numpy.float32)[:2, :3, 0])
            def integers(picture): return numpy.asarray(picture)
            def broken(picture): raise KeyError("lost")
            """
        )
    )
    samples = opened(folder, "images", path="pets/cats", transform="xattr_test_prepare:corner")
    np.testing.assert_array_equal(whole(samples).inputs["X"][0], np.asarray(picture(seed=1))[:2, :3, 0])
    for name, message in [
        ("integers", "returned uint8 values; floats are needed"),
        ("broken", "KeyError: 'lost'"),
    ]:
        refused(folder, message, "images", path="pets/cats", transform=f"xattr_test_prepare:{name}")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_colour_modes_become_three_channels(tmp_path, mode):
    name = "a.tif" if mode == "CMYK" else "a.png"
    picture().convert("RGB").convert(mode).save(tmp_path / name)
    assert opened(tmp_path, "images", path=".").inputs[0].shape == (3, 40, 52)


def test_more_than_eight_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    refused(tmp_path, r"a.png: the picture has mode I.* \(more than 8 bits\)", "images", path=".")


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_picture_is_told_or_quarantined(folder, damage):
    path = folder / "pets" / "cats" / "b.png"
    path.write_bytes({"truncated": path.read_bytes()[:700], "text": b"hello", "empty": b""}[damage])
    samples = opened(folder, "images", path="pets")
    with pytest.raises(
        Exception, match=r"pets/cats/b.png is damaged or no picture.* dataset.bad_rows: quarantine"
    ):
        whole(samples)
    patient = opened(folder, "images", path="pets", damaged="quarantine")
    assert finite_rows(patient.read(0, 3)).tolist() == [True, False, True]
    assert np.isnan(whole(patient).inputs["X"][1]).all()


def test_a_damaged_first_picture_is_told_at_once_or_passed_over(folder):
    (folder / "pets" / "cats" / "a.png").write_bytes(b"")
    refused(folder, "cats/a.png is damaged", "images", path="pets")
    samples = opened(folder, "images", path="pets", damaged="quarantine")
    assert samples.inputs[0].shape == (3, 40, 52) and finite_rows(samples.read(0, 3)).tolist() == [
        False,
        True,
        True,
    ]
    for path in (folder / "pets").rglob("*.png"):
        path.write_bytes(b"")
    refused(folder, "every picture in .* is damaged", "images", path="pets", damaged="quarantine")


def test_pictures_of_different_sizes_need_a_resize(folder):
    picture(30, 30).save(folder / "pets" / "cats" / "b.png")
    samples = opened(folder, "images", path="pets")
    with pytest.raises(
        Exception,
        match=r"cats/b.png has shape \(3, 30, 30\), the first picture \(3, 40, 52\); set dataset.tr",
    ):
        whole(samples)
    alike = opened(folder, "images", path="pets", transform={"resize": 30, "center_crop": 30})
    assert whole(alike).inputs["X"].shape == (3, 3, 30, 30)


def test_links_must_not_leave_the_folder_unless_allowed(folder):
    picture(seed=9).save(folder / "outside.png")
    (folder / "pets" / "cats" / "z.png").symlink_to(folder / "outside.png")
    refused(
        folder,
        "z.png leads out of the folder, to .*outside.png.* dataset.follow_links: true",
        "images",
        path="pets",
    )
    assert len(opened(folder, "images", path="pets", follow_links=True)) == 4


def test_links_to_folders_outside_in_circles_and_to_nowhere(folder):
    link = folder / "pets" / "cats" / "link"
    link.symlink_to(folder)
    refused(folder, "link leads out of the folder", "images", path="pets")
    refused(folder, "link.* leads in a circle of links", "images", path="pets", follow_links=True)
    link.unlink()
    (folder / "pets" / "gone.png").symlink_to(folder / "nothing.png")
    refused(folder, "gone.png leads nowhere", "images", path="pets")


def test_links_within_the_folder_are_fine(folder):
    (folder / "pets" / "cats" / "same.png").symlink_to(folder / "pets" / "cats" / "a.png")
    batch = whole(opened(folder, "images", path="pets"))
    np.testing.assert_array_equal(batch.inputs["X"][0], batch.inputs["X"][2])


def test_loose_pictures_beside_class_folders_are_told(folder):
    picture().save(folder / "pets" / "loose.png")
    message = "1 of 4 pictures lie in no class folder, such as loose.png.* dataset.labels: none"
    refused(folder, message, "images", path="pets")
    assert whole(opened(folder, "images", path="pets", labels="none")).labels is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "pots"}, "dataset.path: .*pots: no such folder. Did you mean .*pets"),
        ({"path": "pets/notes.txt"}, "notes.txt is a file; a folder is needed"),
        ({"path": "pets", "extensions": ["gif"]}, "the dataset is empty: no .gif in"),
        ({"path": "pets", "transform": {"center_crop": 41}}, "40 x 52, too small for center_crop 41 x 41"),
    ],
)
def test_options_that_do_not_fit_are_told(folder, options, message):
    refused(folder, message, "images", **options)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"weights": "A.B", "resize": 3}, "weights is a whole transform; no other key"),
        (
            {"grayscale": True, "normalize": "imagenet"},
            "normalize has 3 means and 3 deviations for 1 channels",
        ),
        ({"resize": 0}, "greater than or equal to 1"),
        ({"rezise": 3}, "Did you mean 'resize'"),
    ],
)
def test_transforms_that_contradict_themselves(folder, transform, message):
    with pytest.raises(ValueError, match=message):
        source(folder, "images", path="pets", transform=transform)


def test_the_resolved_job_reads_back(folder):
    first = source(folder, "images", path="pets", transform={"weights": "ResNet18_Weights.DEFAULT"})
    assert source(folder, **first.model_dump(mode="json")).transform == first.transform


def test_the_fingerprint_follows_names_and_sizes(folder):
    before = opened(folder, "images", path="pets").fingerprint
    assert before == opened(folder, "images", path="pets").fingerprint
    (folder / "pets" / "cats" / "a.png").rename(folder / "pets" / "cats" / "aa.png")
    assert before != opened(folder, "images", path="pets").fingerprint


# --- torchvision --------------------------------------------------------------------------------


def test_fake_data_of_torchvision(tmp_path):
    kwargs = {"size": 6, "image_size": [3, 8, 9], "num_classes": 4}
    options = {"name": "FakeData", "kwargs": kwargs, "transform": {"normalize": "imagenet"}}
    samples = opened(tmp_path, "torchvision", **options)
    reference = vision.FakeData(
        **kwargs, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize(*IMAGENET)])
    )
    batch = samples.read(2, 6)
    np.testing.assert_array_equal(batch.inputs["X"], torch.stack([reference[i][0] for i in range(2, 6)]).numpy())
    assert batch.labels.tolist() == [int(reference[i][1]) for i in range(2, 6)]
    assert samples.inputs[0].offset.shape == (3, 1, 1)
    assert samples.fingerprint == opened(tmp_path, "torchvision", **options).fingerprint
    other = opened(tmp_path, "torchvision", **{**options, "kwargs": {**kwargs, "random_offset": 1}})
    assert samples.fingerprint != other.fingerprint


def test_files_of_torchvision_are_read_from_root(tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        header = b"\0\0\x08\x03" + np.array([5, 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x05" + bytes([3, 1, 4, 1, 5]))
    options = {"name": "MNIST", "root": "data", "kwargs": {"train": False}, "transform": {"grayscale": True}}
    samples = opened(tmp_path, "torchvision", **options)
    np.testing.assert_allclose(whole(samples).inputs["X"][:, 0], images / 255, atol=1e-7)
    assert whole(samples).labels.tolist() == [3, 1, 4, 1, 5]
    assert samples.classes[3] == "3 - three"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "CIFAR1"}, "dataset.name: torchvision has no dataset 'CIFAR1'. Did you mean 'CIFAR10'"),
        ({"name": "MNIST"}, "dataset.root: this key is missing"),
        (
            {"name": "MNIST", "root": "data"},
            "MNIST cannot be opened in .*data.*expected: train-images-idx3-ubyte.gz, .*downloads nothing; "
            r"fetch it once with: python -c .*MNIST\('.*data', download=True\)",
        ),
        ({"name": "CIFAR10", "root": "data"}, "Files expected: cifar-10-batches-py/data_batch_1"),
        ({"name": "ImageFolder", "root": "data"}, "documentation in torchvision says where to get the files"),
        (
            {"name": "FakeData", "kwargs": {"sizes": 3}},
            "dataset.kwargs: FakeData has no argument 'sizes'.* Did you mean 'size'",
        ),
    ],
)
def test_missing_files_and_names_are_told(tmp_path, options, message):
    refused(tmp_path, message, "torchvision", **options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"download": True}, "nothing is downloaded"), ({"transform": 1}, "give dataset.transform")],
)
def test_arguments_that_the_job_sets_itself(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        source(tmp_path, "torchvision", name="FakeData", kwargs=kwargs)


def test_the_name_of_the_class_reads_back(tmp_path):
    first = source(tmp_path, "torchvision", name="FakeData")
    dumped = first.model_dump(mode="json")
    assert dumped["kind"] == "torchvision"
    assert source(tmp_path, **dumped).name == "FakeData"
