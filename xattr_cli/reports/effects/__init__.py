"""Figures of whole datasets: causal effects, contributions, graphs, and the flows behind them."""
