"""Language models that are asked for the tokens of a continuation: all of their logits from one forward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError

__all__ = ["Continuation", "DecoderOnly", "EncoderDecoder", "continuation_of"]

TOLERANCE = 1e-3
PROBE_TOKENS = 3


class _TokenEmbedding(nn.Module):
    """An embedding of the network under a name of its own, so that prompt and prefix can be explained apart."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, ids: Tensor) -> Tensor:
        """(n, tokens, width)."""
        vectors: Tensor = self.embedding(ids)
        return vectors


class Continuation(nn.Module):
    """Logits of the tokens that continue prompts, each after the tokens before it (teacher forcing).

    The prompt passes `source` and the earlier output tokens pass `prefix`, each exactly once; a contrast, another
    continuation of the same prompts, passes `contrast`. These are the tensors that a job explains. Padding may lie
    anywhere: the tokens of a row are moved together before the network sees them.

    Arguments:
        network: of transformers, with an output over its vocabulary.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        encoder, decoder = self.embeddings(network)
        self.source = _TokenEmbedding(encoder)
        self.prefix = _TokenEmbedding(decoder)
        self.contrast = _TokenEmbedding(decoder)

    @staticmethod
    @abstractmethod
    def embeddings(network: Any) -> tuple[nn.Module, nn.Module]:
        """What embeds the prompt, and what embeds the tokens that continue it."""

    def get_input_embeddings(self) -> nn.Module:
        """What `explain: {embedding: auto}` means: that of the prompt."""
        return self.source

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        output_ids: Tensor,
        prefix_ids: Tensor,
        prefix_mask: Tensor,
        *contrast: Tensor,
    ) -> Tensor:
        """(n, outputs, vocabulary) logits at every output token; those of a contrast after those of the other.

        Arguments:
            input_ids, attention_mask: (n, tokens) of the prompts.
            output_ids: (n, outputs), asked for; only their number counts here.
            prefix_ids, prefix_mask: (n, tokens) that stand before the output tokens: without the last of them for
                a decoder, after the start token for an encoder-decoder.
            contrast: the same three tensors of another continuation.
        """
        prompt = (self.source(input_ids), attention_mask)
        prefixes = [(self.prefix(prefix_ids), prefix_mask)]
        counts = [output_ids.shape[1]]
        if contrast:
            other_ids, other_prefix, other_mask = contrast
            prefixes.append((self.contrast(other_prefix), other_mask))
            counts.append(other_ids.shape[1])
        return torch.cat(self.logits(prompt, prefixes, counts), dim=1)

    @abstractmethod
    def logits(
        self, prompt: tuple[Tensor, Tensor], prefixes: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]
    ) -> list[Tensor]:
        """For each prefix, (n, count, vocabulary) logits after the prompt and it.

        Arguments:
            prompt: (n, tokens, width) vectors and (n, tokens) mask.
            prefixes: the same of each continuation.
            counts: output tokens of each.
        """

    @torch.no_grad()
    def generate(self, ids: Sequence[int], most: int) -> list[int]:
        """The tokens with which the network itself goes on, each the likeliest; without the one that ends them.

        Arguments:
            ids: of the prompt.
            most: tokens to generate.
        """
        device = next(self.network.parameters()).device
        prompt = torch.tensor([list(ids)], device=device)
        settings = self.network.generation_config
        ends = settings.eos_token_id
        ends = {*ends} if isinstance(ends, list) else {ends}
        found = self.network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            num_beams=1,
            max_new_tokens=most,
            pad_token_id=settings.pad_token_id if settings.pad_token_id is not None else next(iter(ends)) or 0,
        )[0].tolist()
        new: list[int] = found[self.generated_after(len(ids)) :]
        while len(new) > 1 and new[-1] in ends:
            new.pop()
        return new

    @abstractmethod
    def generated_after(self, prompt: int) -> int:
        """How many of the tokens that the network generates are none of the continuation."""

    def check(self) -> None:
        """Make sure that the network can be given vectors in place of ids.

        Raises:
            ModelError: it makes something else of them.
        """
        ids = torch.arange(PROBE_TOKENS)[None] % self.network.config.get_text_config().vocab_size
        mask = torch.ones_like(ids)
        try:
            with torch.no_grad():
                given = self(ids, mask, ids, ids, mask)
                known = self._from_ids(ids)
        except Exception as error:
            raise ModelError(
                f"model.task: continuation: {type(self.network).__name__} does not take the vectors of tokens "
                f"(inputs_embeds): {error}"
            ) from error
        if not bool(((given - known).abs() <= TOLERANCE * known.abs().max()).all()):
            raise ModelError(
                f"model.task: continuation: {type(self.network).__name__} makes something else of the vectors of "
                "tokens (inputs_embeds) than of the tokens, so they cannot be explained."
            )

    @abstractmethod
    def _from_ids(self, ids: Tensor) -> Tensor:
        """(1, tokens, vocabulary) what `forward` should give when `ids` follow themselves."""


class DecoderOnly(Continuation):
    """A causal language model: prompt and prefix are one sequence.

    The head, which is most of the work for a large vocabulary, sees the output tokens only.
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self._wanted: Tensor | None = None
        network.get_output_embeddings().register_forward_pre_hook(self._select)

    @staticmethod
    def embeddings(network: Any) -> tuple[nn.Module, nn.Module]:
        """The same for both."""
        found = network.get_input_embeddings()
        return found, found

    def logits(
        self, prompt: tuple[Tensor, Tensor], prefixes: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]
    ) -> list[Tensor]:
        return [self._after(prompt, prefix, count) for prefix, count in zip(prefixes, counts, strict=True)]

    def _after(self, prompt: tuple[Tensor, Tensor], prefix: tuple[Tensor, Tensor], count: int) -> Tensor:
        vectors, mask = (torch.cat(pair, dim=1) for pair in zip(prompt, prefix, strict=True))
        order = torch.argsort(mask == 0, dim=1, stable=True)
        vectors = vectors.gather(1, order[..., None].expand_as(vectors))
        mask = mask.gather(1, order)
        last = prompt[1].sum(dim=1, keepdim=True) - 1
        wanted = last + torch.arange(count, device=mask.device)
        self._wanted = wanted.clamp(max=mask.shape[1] - 1)
        try:
            logits: Tensor = self.network(inputs_embeds=vectors, attention_mask=mask, use_cache=False).logits
        finally:
            self._wanted = None
        return logits

    def _select(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._wanted is None:
            return None
        hidden = inputs[0]
        return (hidden[torch.arange(len(hidden), device=hidden.device)[:, None], self._wanted],)

    def generated_after(self, prompt: int) -> int:
        return prompt

    def _from_ids(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=torch.cat([ids, ids], dim=1), use_cache=False).logits
        return logits[:, ids.shape[1] - 1 : -1]


class EncoderDecoder(Continuation):
    """An encoder of prompts and a decoder of continuations."""

    @staticmethod
    def embeddings(network: Any) -> tuple[nn.Module, nn.Module]:
        """Those of the two stacks, which may share their weights."""
        return network.get_encoder().get_input_embeddings(), network.get_decoder().get_input_embeddings()

    def logits(
        self, prompt: tuple[Tensor, Tensor], prefixes: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]
    ) -> list[Tensor]:
        vectors, mask = prompt
        encoded = self.network.get_encoder()(inputs_embeds=vectors, attention_mask=mask)
        return [
            self._after((encoded, mask), prefix, count) for prefix, count in zip(prefixes, counts, strict=True)
        ]

    def _after(self, encoded: tuple[Any, Tensor], prefix: tuple[Tensor, Tensor], count: int) -> Tensor:
        logits: Tensor = self.network(
            encoder_outputs=encoded[0],
            attention_mask=encoded[1],
            decoder_inputs_embeds=prefix[0],
            decoder_attention_mask=prefix[1],
            use_cache=False,
        ).logits
        missing = count - logits.shape[1]
        return nn.functional.pad(logits, (0, 0, 0, missing)) if missing > 0 else logits

    def generated_after(self, prompt: int) -> int:
        return 1  # the start token

    def _from_ids(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=ids, decoder_input_ids=ids, use_cache=False).logits
        return logits


def continuation_of(network: Any) -> Continuation:
    """A network of transformers behind the inputs of dataset kind `prompts`.

    Raises:
        ModelError: it has no output over its vocabulary, or takes no vectors in place of ids.
    """
    if network.get_output_embeddings() is None:
        raise ModelError(
            "model.task: the network has no output over its vocabulary; task: continuation needs one."
        )
    made = (EncoderDecoder if network.config.is_encoder_decoder else DecoderOnly)(network).eval()
    made.check()
    return made
