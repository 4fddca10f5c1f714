"""Files that the package carries: the demo pool and the demo encoder."""
