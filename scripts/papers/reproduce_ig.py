"""The experiments of "Axiomatic attribution for deep networks" (arXiv 1703.01365) on real networks.

Real questions and the rules that tell what they ask for; the words that decide about a snippet of a review; the
alignment of a translation; two implementations of one function; photographs and a network with a dead feature; the
atoms that make a molecule soluble. Each is a job of configs, and its claims stand beside what was found.

Example: python -m scripts.papers.reproduce_ig --experiments text
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {
    name: f"scripts.papers.ig.ig_{name}"
    for name in ("questions", "text", "translation", "invariance", "images", "molecules")
}

if __name__ == "__main__":
    reproduce(
        "reproduce_ig",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["translation/alignment.png", "images/photographs.png"],
        packages=("torch", "torchvision", "transformers", "rdkit"),
    )
