"""What a selector answers: which rows stay, which go and why, and the subset that is published."""
