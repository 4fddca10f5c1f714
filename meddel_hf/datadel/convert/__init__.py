"""From an owner's files to a row: frame, mask, boxes, frames of a video."""
