"""Near-duplicates: what counts as one, who stays, and the graph that answers every threshold."""
