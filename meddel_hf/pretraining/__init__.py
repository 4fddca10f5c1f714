"""Learning from frames without labels: recipe, frames, views, objectives, and a run's folder."""
