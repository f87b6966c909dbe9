"""How a network is run: layouts, folding, compilation, arithmetic."""
