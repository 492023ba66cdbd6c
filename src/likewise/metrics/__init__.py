"""Measures of an embedding: pure functions, one value per query where a metric has one. One subject, one file."""
