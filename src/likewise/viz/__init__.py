"""Figures, pages, projections and animations of a run."""
