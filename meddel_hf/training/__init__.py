"""What both trainings share: checkpoints that are whole, samples that depend on their number alone."""
