"""Runs over time: the store, trends, steps, shards and the recipes for continuous integration."""
