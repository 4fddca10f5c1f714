"""What an encoder is worth: scores of every tested frame, their intervals, splits."""
