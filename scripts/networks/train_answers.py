"""Train the small decoder of configs/answers: it reads what somebody did, and answers a question.

`python -m scripts.networks.train_answers` writes configs/answers again: config, weights in float16, tokenizer with
a chat template, and prompts that it was not trained on, with the true answer and one that is wrong in a word.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

NAMES = "mary john anna peter lucy tom sara paul".split()
PLACES = "kitchen garden office hallway bathroom cellar attic garage".split()
THINGS = "ball book key lamp cup hat coin letter".split()
COLOURS = "red blue green black white".split()
TIMES = "yesterday today earlier lately".split()
WORDS = [
    "</s>", "<unk>", *NAMES, *PLACES, *THINGS, *COLOURS, *TIMES,
    *"user assistant : . ? the to in and who where what when did go went take took which colour is was".split(),
]  # fmt: skip
CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
STEPS, BATCH, RATE = 1200, 48, 5e-3
HELD_OUT, PROMPTS = 2000, 40


def story(draw: random.Random) -> dict[str, str]:
    """Who did what, a question, its answer, and an answer that is wrong in one word."""
    when, who = draw.choice(TIMES), draw.choice(NAMES)
    where, what, colour = draw.choice(PLACES), draw.choice(THINGS), draw.choice(COLOURS)
    told = f"{when} {who} went to the {where} and took the {colour} {what} ."
    question, answer, right, pool = draw.choice(
        [
            (f"where did {who} go ?", "{} went to the " + f"{where} .", where, PLACES),
            (f"what did {who} take ?", "{} took the " + f"{what} .", what, THINGS),
            (f"which colour was the {what} ?", f"the {what} was {colour} .", colour, COLOURS),
            (f"who took the {what} ?", f"{who} took the {what} .", who, NAMES),
            (f"when did {who} go ?", "{} went " + f"{when} .", when, TIMES),
        ]
    )
    answer = answer.format(who)
    wrong = draw.choice([word for word in pool if word != right])
    contrast = " ".join(wrong if word == right else word for word in answer.split())
    return {"text": f"{told} {question}", "continuation": answer, "contrast": contrast}


def tokenizer() -> Any:
    """One token a word."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=96, unk_token="<unk>", eos_token="</s>"
    )
    found.chat_template = CHAT
    return found


def network() -> Any:
    """A Llama of 2 layers and 76,000 weights: rotary positions, grouped keys, the head tied to the embedding."""
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=96, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def encoded(stories: list[dict[str, str]]) -> tuple[Tensor, Tensor]:
    """(n, tokens) ids of conversations, and labels that ask for the answers alone."""
    numbers = {word: number for number, word in enumerate(WORDS)}
    prompts = [[numbers[w] for w in f"user : {one['text']} assistant :".split()] for one in stories]
    answers = [[*(numbers[w] for w in one["continuation"].split()), 0] for one in stories]
    longest = max(len(a) + len(b) for a, b in zip(prompts, answers, strict=True))
    ids = torch.zeros(len(stories), longest, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels


def train(model: Any, steps: int) -> None:
    """AdamW with a cosine schedule on stories that are drawn anew each time."""
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        ids, labels = encoded([story(draw) for _ in range(BATCH)])
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}, right {accuracy(model, 200):.3f}", flush=True)


@torch.no_grad()
def accuracy(model: Any, count: int) -> float:
    """Share of held-out stories whose answer is right in every token."""
    ids, labels = encoded(held_out(count))
    guess = model(input_ids=ids).logits[:, :-1].argmax(-1)
    asked = labels[:, 1:] != -100
    return float(((guess == labels[:, 1:]) | ~asked).all(1).float().mean())


def held_out(count: int) -> list[dict[str, str]]:
    """Stories of another seed than those of training."""
    draw = random.Random(1)
    return [story(draw) for _ in range(count)]


def main() -> None:
    """Train, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("configs/answers"))
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.manual_seed(0)
    model = network()
    train(model.train(), given.steps)
    model = model.eval().half()
    right = accuracy(model.float(), HELD_OUT)
    print(f"{right:.1%} of {HELD_OUT:,} held-out stories answered rightly, from weights in float16")
    model.half().save_pretrained(given.folder)
    tokenizer().save_pretrained(given.folder)
    lines = [json.dumps(one) for one in held_out(PROMPTS)]
    (given.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
