"""Options of a plugin that are given on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from ...errors import JobError
from ...job.validation import describe
from ...untrusted.yaml_text import parse_yaml

__all__ = ["with_options"]


def with_options(plugin: Any, settings: Iterable[str], where: str) -> Any:
    """A plugin with the options of `KEY=VALUE` texts, whose values are YAML.

    Raises:
        JobError: names the option that is wrong, and what is allowed.
    """
    values: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise JobError(f"--set {text}: must be KEY=VALUE.")
        values[key.strip()] = parse_yaml(value, f"--set {text}: the value", JobError)
    try:
        return plugin(**values)
    except ValidationError as error:
        raise JobError(f"{where}: {describe(error, values)}") from error
