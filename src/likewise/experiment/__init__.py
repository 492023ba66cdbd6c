"""A recipe becomes a run: recipe, build, train, score; compare and tune go the same way."""
