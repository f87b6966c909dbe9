"""The experiments of "On measuring intrinsic causal attributions" (arXiv 2505.09660), and rivals that it lacks.

Which ranking of the inputs knows what a network can do without, on three tables and three drawn ones;
contributions per class of COMPAS, also of networks that do not read who somebody is; known models beside DoWhy,
beside fits to their data, and beside Sobol' indices.

Example: python -m scripts.papers.reproduce_icc --experiments oracle
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {name: f"scripts.papers.icc.icc_{name}" for name in ("pgu", "classes", "theorems", "oracle")}

if __name__ == "__main__":
    reproduce(
        "reproduce_icc",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["pgu/pgu.png"],
        packages=("torch", "zuko", "captum"),
    )
