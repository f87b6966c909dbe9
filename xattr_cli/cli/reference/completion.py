"""What the tab key of a shell completes: names of plugins, keys of a job, labels of a result's engines, files.

A shell waits for it: only the names of models and scores take the import of torch. What cannot be found out
completes to nothing, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["engine_labels", "file_names", "job_keys", "plugin_names"]

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def file_names(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, as the shell itself completes them."""
    return [CompletionItem(incomplete, type="file")]


def plugin_names(kind: str | None = None) -> Completer:
    """Completes names of the plugins of a kind, or of that in the argument `kind`, with what they are."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from ...job.documentation import summary
        from ...registry import REGISTRIES

        registry = REGISTRIES.get(kind or str(ctx.params.get("kind")))
        usable = registry.usable(lambda fault: None) if registry else {}
        return _beginning({name: summary(plugin) for name, plugin in usable.items()}, incomplete)

    return complete


def job_keys(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of a job that name no plugin, as `--set` takes them; the shell goes on with the value."""
    from ...job.config import Compute, Explain, Job, Output
    from ...job.stability import Stability
    from ...registry import Options

    sections: dict[str, type[Options]] = {
        "explain": Explain,
        "stability": Stability,
        "compute": Compute,
        "output": Output,
    }
    keys = {"dataset.limit": "the first samples only"}
    keys |= {name: field.description or "" for name, field in Job.model_fields.items() if name not in sections}
    for section, options in sections.items():
        keys |= {f"{section}.{name}": field.description or "" for name, field in options.model_fields.items()}
    return _beginning({f"{key}=": meaning for key, meaning in keys.items()}, incomplete)


def engine_labels(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Labels of the engines in the result that the command is about."""
    from ...store.results.reader import Results

    labels: dict[str, str] = {}
    for given in _files(ctx):
        with suppress(Exception), Results.open(Path(given)) as results:
            labels |= {label: engine.engine for label, engine in results.engines.items()}
    return _beginning(labels, incomplete)


def _files(ctx: click.Context) -> Iterable[Any]:
    """Result files on the line; before an option that still lacks its value, click leaves them unnamed."""
    given = next((ctx.params[name] for name in ("file", "files", "a") if ctx.params.get(name)), ctx.args)
    return given if isinstance(given, tuple | list) else [given]


def _beginning(words: dict[str, str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word, help=words[word]) for word in words if word.startswith(incomplete)]
