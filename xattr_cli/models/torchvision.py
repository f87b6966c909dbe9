"""Networks of torchvision, by name, with weights from a file."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator
from torch import nn

from ..errors import ModelError, nearest
from ..registry import MODELS
from .base import LoadedModel
from .built import BuiltModel

__all__ = ["TorchvisionModel"]

_DOWNLOADS = ("weights", "weights_backbone", "pretrained", "pretrained_backbone")
_OWN_NORMALISATION = ("googlenet", "inception_v3")


@MODELS.register("torchvision")
class TorchvisionModel(BuiltModel):
    """A classifier of torchvision (images or videos), filled from a checkpoint.

    Nothing is ever downloaded. To explain torchvision's own weights, save them once, on a machine with
    internet access, with `network = torchvision.models.get_model("resnet18", weights="DEFAULT")` and
    `torch.save(network.state_dict(), "resnet18.pt")`. Those of googlenet and inception_v3 also want
    `kwargs: {transform_input: true}`, and those of googlenet `aux_logits: false` in it.
    """

    name: str = Field(description="as in torchvision.models.list_models()", examples=["resnet18"])
    kwargs: dict[str, Any] = Field(default={}, description="keyword arguments of its builder, such as num_classes")

    @field_validator("kwargs")
    @classmethod
    def _no_downloads(cls, value: dict[str, Any]) -> dict[str, Any]:
        asked = [key for key in _DOWNLOADS if key in value]
        if asked:
            raise ValueError(
                f"{asked[0]!r} would download, which a job never does. Save the weights once with "
                "torch.save(torchvision.models.get_model(NAME, weights='DEFAULT').state_dict(), "
                "'weights.pt'), and set model.checkpoint: weights.pt"
            )
        return value

    def load(self) -> LoadedModel:
        """Build the network and copy the checkpoint into it."""
        loaded = super().load()
        if self.name not in _OWN_NORMALISATION or "transform_input" in self.kwargs:
            return loaded
        note = (
            "built with transform_input=False; torchvision's own weights for this network were trained "
            "with kwargs: {transform_input: true}"
        )
        return replace(loaded, notes=(*loaded.notes, note))

    def picture_transform(self) -> dict[str, Any]:
        """That of torchvision's own weights, which names the classes too if they are as many; none of videos."""
        zoo = _zoo()
        self._check_name(zoo)
        if self.name not in zoo.list_models(module=zoo):
            return {}
        weights = zoo.get_model_weights(self.name)
        if self.kwargs.get("num_classes", 1000) == len(weights.DEFAULT.meta["categories"]):
            return {"weights": f"{weights.__name__}.DEFAULT"}
        preset = weights.DEFAULT.transforms()
        return {
            "resize": preset.resize_size[0],
            "center_crop": preset.crop_size[0],
            "interpolation": preset.interpolation.value,
            "normalize": {"mean": list(preset.mean), "std": list(preset.std)},
        }

    def build(self) -> nn.Module:
        """The architecture with random weights."""
        zoo = _zoo()
        self._check_name(zoo)
        kwargs = dict(self.kwargs)
        if self.name in _OWN_NORMALISATION:
            # their initialisation warns, takes half a minute, and is overwritten
            kwargs.setdefault("init_weights", False)
        try:
            return zoo.get_model(self.name, weights=None, **kwargs)  # type: ignore[no-any-return]
        except Exception as error:
            raise ModelError(
                f"model.kwargs: torchvision's {self.name} cannot be built with {self.kwargs}: {error}"
            ) from error

    def _check_name(self, zoo: Any) -> None:
        classifiers = [*zoo.list_models(module=zoo), *zoo.list_models(module=zoo.video)]
        if self.name in classifiers:
            return
        if self.name in zoo.list_models():
            raise ModelError(
                f"model.name: {self.name!r} does not return one score per class; wrap it in a "
                "function that returns a tensor (n, outputs), and load that with kind: python."
            )
        match = nearest(self.name, classifiers)
        raise ModelError(
            f"model.name: torchvision has no classifier {self.name!r}."
            + (f" Did you mean {match!r}?" if match else " See torchvision.models.list_models().")
        )


def _zoo() -> Any:
    """`torchvision.models`; its import takes a second, which only the jobs that use it should pay."""
    try:
        return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise ModelError(f"model kind 'torchvision': torchvision cannot be imported: {error}") from error
