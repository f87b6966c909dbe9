"""Where inputs come from: causal graphs, structural models, and noise models that are fitted to data."""
