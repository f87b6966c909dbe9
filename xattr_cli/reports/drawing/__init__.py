"""What all figures share: pages, colours, words, and which rows are shown."""
