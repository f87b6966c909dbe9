"""The experiments of "Explaining explanations" (arXiv 2002.04138): integrated and expected Hessians.

Remove and retrain where the interactions are known, exclusive or, negation in a sentiment transformer, a
clinical table and credit applicants, and the package of the paper beside ours: its error, its time, and samples
against β.

Example: python -m scripts.papers.reproduce_interactions --experiments negation
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {
    name: f"scripts.papers.interactions.interactions_{name}"
    for name in ("negation", "retrain", "peers", "clinical", "xor", "credit")
}

if __name__ == "__main__":
    reproduce(
        "reproduce_interactions",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["negation/negation.png", "clinical/clinical.png", "peers/samples.png"],
        packages=("torch", "transformers", "shapiq", "path-explain"),
    )
