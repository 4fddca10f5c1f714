"""The benchmark: selectors x retentions x seeds, pre-trained equally long, tested downstream; the gate first."""
