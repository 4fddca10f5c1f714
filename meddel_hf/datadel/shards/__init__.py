"""Rows to Parquet shards, by several processes, each shard whole or not at all."""
