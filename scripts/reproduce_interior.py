"""The experiments of "Gradients of counterfactuals" (arXiv 1611.02639) on networks of the kinds that it used.

Photographs; a network over fingerprints that screens ligands; an LSTM language model. Each is a job of configs,
and its claims stand beside what was found.

Example: python scripts/reproduce_interior.py --experiments language
"""

from reproductions import reproduce

EXPERIMENTS = {"images": "interior_images", "molecules": "interior_molecules", "language": "interior_language"}

if __name__ == "__main__":
    reproduce("reproduce_interior", __doc__.partition("\n")[0], EXPERIMENTS)
