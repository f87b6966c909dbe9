"""Tiny causal and encoder-decoder language models with random weights, and prompts with continuations for them."""

from __future__ import annotations

import json

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from xattr_cli.models.huggingface.continuation import continuation_of

WORDS = (
    "</s> <unk> the a cat dog sat ran on mat road and bark loud . is it good bad film very user assistant : yes no"
).split()
RECORDS = [
    {"text": "the cat sat on", "continuation": "the mat .", "contrast": "the road"},
    {"text": "a good dog", "continuation": "ran", "contrast": "sat on"},
    {"text": "it is a very", "continuation": "bad film and loud", "contrast": "good film and loud"},
]
CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} . {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
MOST_TOKENS = 24
FAMILIES = ("gpt2", "llama", "t5", "bart")


def save_tokenizer(folder, *, chat=False, **options):
    """One token a word, without a padding token; texts of encoder-decoders end with </s>."""
    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MOST_TOKENS, unk_token="<unk>", eos_token="</s>", **options
    )
    if chat:
        made.chat_template = CHAT
    made.save_pretrained(folder)


def config_of(family):
    """A configuration of two small layers: grouped keys and rotary positions in Llama, tied stacks in T5."""
    words = {"vocab_size": len(WORDS), "eos_token_id": 0, "bos_token_id": None}
    if family == "gpt2":
        return transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=MOST_TOKENS, initializer_range=0.4, **words
        )
    if family == "llama":
        return transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=MOST_TOKENS, initializer_range=0.4, **words,
        )  # fmt: skip
    stacks = {**words, "decoder_start_token_id": 0, "pad_token_id": 0, "d_model": 16}
    if family == "t5":
        return transformers.T5Config(d_kv=8, d_ff=24, num_layers=2, num_heads=2, **stacks)
    return transformers.BartConfig(
        encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, init_std=0.4,
        encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=MOST_TOKENS, scale_embedding=True,
        forced_eos_token_id=None, **stacks,
    )  # fmt: skip


def save_network(folder, family, *, dtype=torch.float32, **tokenizer):
    """A network of the family in a folder, as `save_pretrained` leaves it; returns it."""
    config = config_of(family)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = auto.from_config(config).eval().to(dtype)
    network.save_pretrained(folder)
    save_tokenizer(folder, **tokenizer)
    return network


def write_records(folder, records=RECORDS):
    """A .jsonl file of prompts."""
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def encode(text):
    """Numbers of the words of a text."""
    return [WORDS.index(word) for word in text.split()]


class Int8Linear(torch.nn.Module):
    """A linear layer whose weights are integers, with a scale per output."""

    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, inputs):
        return torch.nn.functional.linear(inputs, self.weight.to(inputs.dtype) * self.scale.to(inputs.dtype))


def quantised_llama(folder):
    """The Llama of a folder with int8 weights in its layers and everything else in bfloat16, as a continuation."""
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for layer in network.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, linear in list(block.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(block, name, Int8Linear(linear))
    return continuation_of(network.to(torch.bfloat16).eval())
