"""What every step stands on: files that appear whole, digests, processes, threads, exit statuses. Knows no frames."""
