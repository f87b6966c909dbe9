"""The experiments of "Gradients of counterfactuals" (arXiv 1611.02639) on networks of the kinds that it used.

Photographs; a network over fingerprints that screens ligands; an LSTM language model. Each is a job of configs,
and its claims stand beside what was found.

Example: python -m scripts.papers.reproduce_interior --experiments language
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {
    name: f"scripts.papers.interior.interior_{name}" for name in ("boxes", "images", "molecules", "language")
}

if __name__ == "__main__":
    reproduce(
        "reproduce_interior",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["boxes/ablation.png", "images/saturation.png"],
        packages=("torch", "torchvision", "rdkit"),
    )
