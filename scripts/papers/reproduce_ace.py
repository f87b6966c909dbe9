"""The experiments of "Neural network attributions: a causal perspective" (arXiv 1902.02302), as far as data allow.

Iris with four curves per class; synthetic sequences read by a GRU of one unit; latents of a conditional β-VAE and
their effect on the pixels of every digit; spoken vowels read by a bidirectional LSTM; and, for the aircraft data
that nobody else has, a simulated series with a known cause at a known lag.

Example: python -m scripts.papers.reproduce_ace --experiments iris
"""

from scripts.papers.reproductions import reproduce

EXPERIMENTS = {
    name: f"scripts.papers.ace.ace_{name}" for name in ("iris", "sequences", "latents", "series", "vowels")
}

if __name__ == "__main__":
    reproduce(
        "reproduce_ace",
        __doc__.partition("\n")[0],
        EXPERIMENTS,
        pictures=["latents/latents.png", "sequences/over-time.png", "iris/iris.png"],
        packages=("torch", "scikit-learn", "mlxtend"),
    )
