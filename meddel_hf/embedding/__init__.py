"""From frames to unit vectors, and the store that keeps them."""
