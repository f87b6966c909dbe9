"""YAML within bounds: no key twice, no bomb of aliases, no endless nesting."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..errors import XattrError, one_line

__all__ = ["MOST_DEPTH", "MOST_VALUES", "parse_yaml", "resolve_plainly"]

MOST_DEPTH = 64
"""Levels of mappings and lists in each other."""
MOST_VALUES = 200_000
"""Values in all, with an alias counted as all that it stands for; these take about a second."""

_TAB = "a tab, which YAML does not allow here; indent by spaces"
_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")

_FastLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""With libyaml, six times as fast as PyYAML's own parser, whose messages are better."""
_READ_CAREFULLY = 2**16
"""Characters, which PyYAML's own parser reads within half a second."""


def resolve_plainly(cls: Any) -> None:
    """Let a loader or dumper take plain words as a job means them: 1e-3 is a number, 2024-01-31 a text."""
    cls.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != _TIMESTAMP]
        for first, rules in cls.yaml_implicit_resolvers.items()
    }
    cls.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


class _NoKeyTwice(yaml.constructor.SafeConstructor):
    """Refuses a key that is given twice."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if not hasattr(self, "_flattened"):
            self._flattened: set[int] = set()
        if id(node) not in self._flattened:  # later it holds what `<<` has merged into it, too
            self._flattened.add(id(node))
            _refuse_doubled_keys(node)
        super().flatten_mapping(node)


class _CarefulLoader(_NoKeyTwice, yaml.SafeLoader):
    """For a text that somebody wrote."""


class _LongLoader(_NoKeyTwice, _FastLoader):  # type: ignore[misc, valid-type]
    """For a text that a program wrote."""


for _loader in (_CarefulLoader, _LongLoader):
    resolve_plainly(_loader)


def parse_yaml(text: str, source: str, kind: type[XattrError]) -> Any:
    """What a YAML text says; a key that is given twice is an error.

    Arguments:
        text: YAML.
        source: begins the message.
        kind: of the error.

    Raises:
        XattrError: of that kind: not YAML; nested more than 64 deep; of more than 200,000 values, aliases
            counted as what they stand for.
    """
    fault = f"{source} is not valid YAML"
    loader = _CarefulLoader if len(text) <= _READ_CAREFULLY else _LongLoader
    try:
        _check_size(text, loader, source, kind)
        return yaml.load(text, loader)
    except XattrError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = _TAB if "'\\t'" in str(error.problem) else error.problem
        raise kind(f"{fault}{where}: {problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as !!int before a text
        raise kind(f"{fault}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # such as !!bool and !!timestamp before one
        raise kind(f"{fault}: {one_line(error)}") from error


def _check_size(text: str, loader: type[yaml.SafeLoader], source: str, kind: type[XattrError]) -> None:
    """Refuse before it is built what would take minutes or gigabytes: a look at the events costs little."""
    total = 0
    sizes: dict[str, int] = {}
    pending: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = pending.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                pending.append((event.anchor, total))
            total += 1
        if len(pending) > MOST_DEPTH:
            raise kind(f"{source} is nested more than {MOST_DEPTH} levels deep.")
        if total > MOST_VALUES:
            raise kind(f"{source} holds more than {MOST_VALUES:,} values, aliases counted as what they stand for.")


def _refuse_doubled_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
