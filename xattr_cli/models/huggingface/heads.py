"""What a language model is asked for: class logits, similarity to references, or the next token."""

from __future__ import annotations

from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import ModelError

__all__ = ["Classifier", "NextToken", "Pooling", "SentenceSimilarity", "pooled", "unit"]

Pooling = Literal["mean", "cls", "max"]


class _LanguageModel(nn.Module):
    """A network of transformers behind positional inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def run(self, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None, **options: Any) -> Any:
        """What the network returns.

        Raises:
            ModelError: the texts are longer than it allows.
        """
        most = getattr(self.network.config, "max_position_embeddings", None)
        if isinstance(most, int) and 0 < most < input_ids.shape[1]:
            raise ModelError(
                f"the model takes {most} tokens, but the texts have up to {input_ids.shape[1]}. "
                f"Set dataset.max_length: {most} and dataset.truncate: true, or split them."
            )
        given = {} if types is None else {"token_type_ids": types}
        return self.network(input_ids=input_ids, attention_mask=attention_mask, **given, **options)


class Classifier(_LanguageModel):
    """Logits (n, classes) of a sequence classifier."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(n, classes)."""
        logits: Tensor = self.run(input_ids, attention_mask, token_type_ids).logits
        return logits


class SentenceSimilarity(_LanguageModel):
    """Similarity (n, references) of sentences to references.

    Arguments:
        network: returns `last_hidden_state`.
        pooling: how token vectors become a sentence vector.
        is_cosine: compare directions, not lengths.
    """

    references: Tensor

    def __init__(self, network: nn.Module, pooling: Pooling, *, is_cosine: bool) -> None:
        super().__init__(network)
        self.pooling = pooling
        self.is_cosine = is_cosine
        self.register_buffer("references", torch.empty(0, 0))

    def compare_with(self, references: Tensor) -> None:
        """Take vectors (references, width) as what sentences are compared with."""
        self.references = references

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(n, width) sentence vectors; of length 1 if directions are compared."""
        hidden = self.run(input_ids, attention_mask, token_type_ids).last_hidden_state
        vectors = pooled(hidden, attention_mask, self.pooling)
        return unit(vectors) if self.is_cosine else vectors

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(n, references)."""
        return self.encode(input_ids, attention_mask, token_type_ids) @ self.references.T


class NextToken(_LanguageModel):
    """Logits (n, vocabulary) of the token that follows a text.

    The head, which is most of the work for a large vocabulary, sees the last real token only.
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        head = network.get_output_embeddings()
        if head is None:
            raise ModelError(
                "model.task: the network has no output over its vocabulary; task: next_token needs one."
            )
        self._last: Tensor | None = None
        self._takes_positions = "position_ids" in signature(network.forward).parameters
        head.register_forward_pre_hook(self._select)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, vocabulary)."""
        steps = torch.arange(input_ids.shape[1], device=input_ids.device)
        self._last = (steps * attention_mask).argmax(dim=1)
        given: dict[str, Tensor] = {}
        if self._takes_positions and bool((attention_mask[:, 0] == 0).any()):  # padded on the left
            given["position_ids"] = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        try:
            logits: Tensor = self.run(input_ids, attention_mask, None, use_cache=False, **given).logits
        finally:
            self._last = None
        return logits[:, 0]

    def _select(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._last is None:
            return None
        hidden = inputs[0]
        return (hidden[torch.arange(len(hidden), device=hidden.device), self._last][:, None],)


def pooled(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Token vectors (n, tokens, width) as sentence vectors (n, width); padding does not count."""
    if pooling == "cls":
        return hidden[:, 0]
    real = mask[..., None].to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(real == 0, -torch.inf).amax(dim=1)
    return (hidden * real).sum(dim=1) / real.sum(dim=1)


def unit(vectors: Tensor) -> Tensor:
    """Vectors (n, width) scaled to length 1; smooth, where a norm that is kept from zero has a kink."""
    return vectors * vectors.square().sum(dim=1, keepdim=True).rsqrt()
