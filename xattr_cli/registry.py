"""Plugins: options read from YAML, found by name, from this package or another one."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from .errors import JobError, suggestion

__all__ = [
    "BASELINES",
    "DATASETS",
    "ENGINES",
    "EXPORTERS",
    "FIGURES",
    "METRICS",
    "MODELS",
    "REGISTRIES",
    "SCORES",
    "Options",
    "Plugin",
    "Registry",
]


MOST_HINTS = 16


class Options(BaseModel):
    """A frozen group of options of the job file; an unknown key is an error that names its like.

    Example:
        >>> class Blur(Options):
        ...     sigma: float = 1.0
        >>> Blur(sigma=2).sigma
        2.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Key that people give here, from other programs or other places of a job → what to write instead."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_strangers(cls, options: Any) -> Any:
        if isinstance(options, dict):
            faults = [*cls._unknown_keys(options), *cls._misplaced_booleans(options)]
            if faults:
                raise ValidationError.from_exception_data(cls.__name__, faults)
        return options

    @classmethod
    def _unknown_keys(cls, options: Mapping[Any, Any]) -> Iterator[InitErrorDetails]:
        allowed = sorted(cls.model_fields)
        unknown = [key for key in options if key not in cls.model_fields]
        for number, key in enumerate(unknown):
            # looking for the like of thousands would take long, and nobody reads it
            hint = cls._advice(key, options, allowed) if number < MOST_HINTS else ""
            yield _fault("unknown_key", f"unknown key.{hint}", key, options[key])

    @classmethod
    def _advice(cls, key: Any, options: Mapping[Any, Any], allowed: list[str]) -> str:
        """What an error says of a key that is not among the allowed ones."""
        known = cls.elsewhere.get(key) if isinstance(key, str) else None
        return f" {known}" if known else suggestion(key, allowed) or " No keys are allowed here."

    @classmethod
    def _misplaced_booleans(cls, options: Mapping[Any, Any]) -> Iterator[InitErrorDetails]:
        # pydantic takes true for 1, so that `limit: yes` would explain one sample
        for name, field in cls.model_fields.items():
            value = options.get(name)
            if _holds_boolean(value) and not _takes_boolean(field.annotation):
                yield _fault("no_boolean", "must not be true or false", name, value)


def _fault(kind: Any, message: str, key: object, value: object) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, message), loc=(str(key),), input=value)


def _holds_boolean(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_boolean, value)))


def _takes_boolean(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_boolean(part) for part in get_args(annotation))


class Plugin(Options):
    """Options that a registry can find by name, such as those of an engine, a dataset or a metric.

    A subclass is registered by `@REGISTRY.register("name")`, or by an entry point of another
    distribution. Its fields are its YAML options, its docstring is what `xattr-cli engines NAME` shows.

    Example:
        >>> class Threshold(Plugin):
        ...     '''Options of a plugin: what stands under its name in a job.'''
        ...     tag = "kind"
        ...     registered_name = "threshold"
        ...     above: float = 0.0
        >>> Threshold(above=2).model_dump()
        {'kind': 'threshold', 'above': 2.0}
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
        home: module whose import registers the built-in members.
        base: `module:class` that every member extends.
        group: of the entry points in which other distributions offer theirs; as `home` if it is None.

    The name of a built-in member cannot be taken over.

    Example:
        >>> ENGINES.get("saliency").__name__
        'Saliency'
    """

    def __init__(self, noun: str, *, tag: str, home: str, base: str, group: str | None = None) -> None:
        self.noun = noun
        self.tag = tag
        self.home = home
        self.base = base
        self.group = home if group is None else group
        self._members: dict[str, PluginType] = {}
        self._elsewhere: dict[str, str] = {}

    def register(self, name: str, *elsewhere: str) -> Callable[[PluginType], PluginType]:
        """Class decorator that makes the class known under `name`.

        Arguments:
            name: in a job.
            elsewhere: what other programs and people call it; an error that finds one of these names `name`.
        """

        def remember(cls: PluginType) -> PluginType:
            self._elsewhere |= {_spelled_plainly(other): name for other in (name, *elsewhere)}
            return self._remember(name, cls)

        return remember

    def names(self) -> list[str]:
        """All names, built-in and offered by installed packages, sorted."""
        importlib.import_module(self.home)
        return sorted({*self._members, *self._offers()})

    def get(self, name: str) -> PluginType:
        """The class registered as `name`.

        Raises:
            JobError: no plugin has that name, or the package that offers it is broken.
        """
        importlib.import_module(self.home)
        if name in self._members:
            return self._members[name]
        offers = self._offers().get(name, [])
        if not offers:
            known_as = self._elsewhere.get(_spelled_plainly(name))
            raise JobError(f"unknown {self.noun} {name!r}.{suggestion(name, self.names(), known_as)}")
        if len(offers) > 1:
            packages = " and ".join(map(_package, offers))
            raise JobError(f"{self.noun} {name!r} is offered by {packages}. Uninstall all but one.")
        return self._remember(name, self._load(offers[0]))

    def usable(self, tell: Callable[[str], None]) -> dict[str, PluginType]:
        """Every member by name, in order; `tell` hears about each that cannot be loaded."""
        members: dict[str, PluginType] = {}
        for name in self.names():
            try:
                members[name] = self.get(name)
            except JobError as error:
                tell(str(error))
        return members

    def offered(self) -> set[str]:
        """Names that other installed packages offer; found out without importing them."""
        return set(self._offers())

    def _offers(self) -> dict[str, list[EntryPoint]]:
        offers: dict[str, list[EntryPoint]] = {}
        for offer in _offered_to(self.group, tuple(sys.path)):
            offers.setdefault(offer.name, []).append(offer)
        return offers

    def _load(self, offer: EntryPoint) -> PluginType:
        source = f"{self.noun} {offer.name!r}, offered by {_package(offer)} as {offer.value!r},"
        try:
            cls: Any = offer.load()
        except (Exception, SystemExit) as error:
            raise JobError(
                f"{source} cannot be imported: {type(error).__name__}: {error}. Repair or uninstall that package."
            ) from error
        module, _, base = self.base.partition(":")
        fault = _unfitness(cls, getattr(importlib.import_module(module), base))
        if fault:
            raise JobError(f"{source} {fault}.")
        return cls  # type: ignore[no-any-return]

    def _remember(self, name: str, cls: PluginType) -> PluginType:
        known_as = vars(cls).get("registered_name", name)
        if known_as != name:
            raise JobError(
                f"{self.noun} {name!r}: {cls.__name__} is known as {known_as!r} already. "
                "Make a subclass for the second name."
            )
        cls.registered_name = name
        cls.tag = self.tag
        self._members[name] = cls
        return cls


@cache
def _offered_to(group: str, places: tuple[str, ...]) -> EntryPoints:
    """What the packages in `places` offer: to read what all of them say takes 30 ms, and every name asks."""
    return entry_points(group=group)


def _spelled_plainly(name: str) -> str:
    """Letters and digits: IntegratedGradients, integrated-gradients and integrated_gradients are one name."""
    return re.sub("[^a-z0-9]", "", name.lower())


def _unfitness(cls: Any, base: type[Plugin]) -> str:
    """Why what a package offers cannot be a plugin; empty if it can."""
    if not inspect.isclass(cls) or not issubclass(cls, base):
        return f"is not a subclass of {base.__module__}.{base.__name__}"
    missing: Iterable[str] = getattr(cls, "__abstractmethods__", ())
    if missing:
        return f"does not define {', '.join(sorted(missing))}"
    try:
        cls.model_json_schema()
    except Exception as error:
        return f"has options that YAML cannot hold: {error}"
    return ""


def _package(offer: EntryPoint) -> str:
    return f"{offer.dist.name} {offer.dist.version}" if offer.dist else "an installed package"


ENGINES: Registry[Any] = Registry(
    "engine", tag="engine", home="xattr_cli.engines", base="xattr_cli.engines.base:Engine"
)
MODELS: Registry[Any] = Registry(
    "model kind", tag="kind", home="xattr_cli.models", base="xattr_cli.models.base:ModelSource"
)
DATASETS: Registry[Any] = Registry(
    "dataset kind", tag="kind", home="xattr_cli.datasets", base="xattr_cli.datasets.base:DatasetSource"
)
BASELINES: Registry[Any] = Registry(
    "baseline kind", tag="kind", home="xattr_cli.baselines", base="xattr_cli.baselines.base:Baseline"
)
FIGURES: Registry[Any] = Registry(
    "kind of figure",
    tag="kind",
    home="xattr_cli.reports.figures",
    base="xattr_cli.reports.drawing.figure:FigureKind",
    group="xattr_cli.figures",
)
EXPORTERS: Registry[Any] = Registry(
    "format",
    tag="to",
    home="xattr_cli.export",
    base="xattr_cli.export.base:Exporter",
    group="xattr_cli.exporters",
)
SCORES: Registry[Any] = Registry(
    "score",
    tag="score",
    home="xattr_cli.device.scores",
    base="xattr_cli.device.scores:Score",
    group="xattr_cli.scores",
)
METRICS: Registry[Any] = Registry(
    "metric", tag="kind", home="xattr_cli.metrics", base="xattr_cli.metrics.base:Metric"
)
REGISTRIES: Mapping[str, Registry[Any]] = {
    "models": MODELS,
    "datasets": DATASETS,
    "baselines": BASELINES,
    "engines": ENGINES,
    "scores": SCORES,
    "figures": FIGURES,
    "exporters": EXPORTERS,
    "metrics": METRICS,
}
"""Every sort of plugin, by the name that commands and entry points have for it."""
