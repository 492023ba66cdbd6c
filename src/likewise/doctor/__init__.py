"""The doctor: from what was measured of a training to what is wrong with it and what to change. Pure.

No single number decides. An embedding that collapses under a huge learning rate, under the hardest pairs or under the
labels of other pictures looks the same, and needs three different answers. `likewise.symptoms` does the measuring.
"""

from likewise.doctor.case import PATIENCE, Look, Setup
from likewise.doctor.causes import CAUSES, Finding, diagnose

__all__ = ["CAUSES", "PATIENCE", "Finding", "Look", "Setup", "diagnose"]
