"""The loop, what it optimises with, and the samplers that look at the embedding."""
