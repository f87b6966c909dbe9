"""Tiny language models with random weights, and their tokenizer, as `save_pretrained` leaves them."""

from __future__ import annotations

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog sat ran on mat road and bark ##ed loud ##ly . , is it "
    "good bad film very"
).split()
SENTENCES = ["The cat sat on the mat.", "A very good film", "barked", "it is a bad film, and a loud dog barked"]
MOST_TOKENS = 16


def save_tokenizer(folder):
    """A WordPiece tokenizer of `VOCABULARY` in BERT's form."""
    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])],
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MOST_TOKENS,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)


def save_bert(folder, kind="BertForSequenceClassification", **options):
    """A tiny BERT; returns the network."""
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=MOST_TOKENS,
        initializer_range=0.4,
        **options,
    )
    return _save(kind, config, folder)


def save_gpt2(folder):
    """A tiny GPT-2; returns the network."""
    config = transformers.GPT2Config(
        vocab_size=len(VOCABULARY),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=MOST_TOKENS,
        initializer_range=0.4,
        bos_token_id=2,
        eos_token_id=3,
    )
    return _save("GPT2LMHeadModel", config, folder)


def _save(kind, config, folder):
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(transformers, kind)(config).eval()
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return network
