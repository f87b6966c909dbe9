"""Plugins: options read from YAML, found by name, from this package or another one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from .errors import JobError, suggestion

__all__ = ["BASELINES", "DATASETS", "ENGINES", "MODELS", "Options", "Plugin", "Registry"]


class Options(BaseModel):
    """A frozen group of options of the job file; an unknown key is an error that names its like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = set(cls.model_fields)
        unknown = [key for key in data if key not in known]
        if unknown:
            raise ValidationError.from_exception_data(
                cls.__name__, [_unknown_key(key, data[key], sorted(known)) for key in unknown]
            )
        return data


def _unknown_key(key: object, value: object, allowed: list[str]) -> InitErrorDetails:
    message = "unknown key." + suggestion(key, allowed).replace("{", "{{").replace("}", "}}")
    return InitErrorDetails(type=PydanticCustomError("unknown_key", message), loc=(str(key),), input=value)


class Plugin(Options):
    """Options that a registry can find by name: an engine, a model source, a dataset, a baseline.

    A subclass is registered by `@REGISTRY.register("name")`, or by an entry point of another
    distribution. Its fields are its YAML options, its docstring is what `xattr-cli engines NAME` shows.
    """

    registered_name: ClassVar[str]
    tag: ClassVar[str]

    @model_serializer(mode="wrap")
    def _tagged(self, handler: Any) -> dict[str, Any]:
        return {self.tag: self.registered_name, **handler(self)}


PluginType = TypeVar("PluginType", bound=type[Plugin])


class Registry(Generic[PluginType]):
    """Names of one sort of plugin.

    Arguments:
        noun: what an error calls a member, such as "engine".
        tag: the YAML key that holds the name, such as "kind".
        home: package whose import registers the built-in members.
        group: entry-point group in which other distributions offer theirs.
    """

    def __init__(self, noun: str, *, tag: str, home: str, group: str) -> None:
        self.noun = noun
        self.tag = tag
        self.home = home
        self.group = group
        self._members: dict[str, PluginType] = {}

    def register(self, name: str) -> Callable[[PluginType], PluginType]:
        """Class decorator that makes the class known under `name`."""

        def remember(cls: PluginType) -> PluginType:
            return self._remember(name, cls)

        return remember

    def names(self) -> list[str]:
        """All names, built-in and offered by installed packages, sorted."""
        importlib.import_module(self.home)
        return sorted({*self._members, *self._offered()})

    def get(self, name: str) -> PluginType:
        """The class registered as `name`.

        Raises:
            JobError: no plugin has that name, or the package that offers it cannot be imported.
        """
        importlib.import_module(self.home)
        if name in self._members:
            return self._members[name]
        offered = self._offered()
        if name not in offered:
            raise JobError(f"unknown {self.noun} {name!r}.{suggestion(name, self.names())}")
        return self._remember(name, self._load(offered[name]))

    def _load(self, offer: EntryPoint) -> PluginType:
        source = f"{self.noun} {offer.name!r}, offered by {offer.value!r}"
        try:
            cls: Any = offer.load()
        except Exception as error:
            raise JobError(f"{source}, cannot be imported: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, Plugin)):
            raise JobError(f"{source}, is not a subclass of xattr_cli.registry.Plugin.")
        return cls  # type: ignore[return-value]

    def _offered(self) -> dict[str, EntryPoint]:
        return {offer.name: offer for offer in entry_points(group=self.group)}

    def _remember(self, name: str, cls: PluginType) -> PluginType:
        cls.registered_name = name
        cls.tag = self.tag
        self._members[name] = cls
        return cls


ENGINES: Registry[Any] = Registry("engine", tag="engine", home="xattr_cli.engines", group="xattr_cli.engines")
MODELS: Registry[Any] = Registry("model kind", tag="kind", home="xattr_cli.models", group="xattr_cli.models")
DATASETS: Registry[Any] = Registry(
    "dataset kind", tag="kind", home="xattr_cli.datasets", group="xattr_cli.datasets"
)
BASELINES: Registry[Any] = Registry(
    "baseline kind", tag="kind", home="xattr_cli.baselines", group="xattr_cli.baselines"
)
