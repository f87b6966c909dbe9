"""The experiments of "Intrinsic causal contributions" (arXiv 2505.09660), and the rivals that it does not have.

Which ranking of the inputs knows what a network can do without, on three tables and three drawn ones;
contributions per class of COMPAS; and known models beside DoWhy.

Example: python -m scripts.papers.reproduce_icc --experiments oracle
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {name: f"scripts.papers.icc.icc_{name}" for name in ("pgu", "classes", "oracle")}

if __name__ == "__main__":
    reproduce(
        "reproduce_icc",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["pgu/pgu.png"],
        packages=("torch", "zuko", "captum"),
    )
