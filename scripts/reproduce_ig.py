"""The experiments of "Axiomatic attribution for deep networks" (arXiv 1703.01365) on real networks.

Photographs and a network with a dead feature; the words that decide about a snippet of a review; the atoms that
make a molecule soluble. Each is a job of configs, and its claims stand beside what was found.

Example: python scripts/reproduce_ig.py --experiments text
"""

from reproductions import reproduce

EXPERIMENTS = {"images": "ig_images", "text": "ig_text", "molecules": "ig_molecules"}

if __name__ == "__main__":
    reproduce("reproduce_ig", __doc__.partition("\n")[0], EXPERIMENTS)
