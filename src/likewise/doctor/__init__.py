"""The doctor: from what was measured of a training to what is wrong with it and what to change. Pure.

No single number decides. An embedding that collapses under a huge learning rate, under the hardest pairs or under wrong
labels looks the same, and needs three different answers. `likewise.doctor.monitor` does the measuring.
"""

from likewise.doctor.causes import CAUSES, Finding, diagnose
from likewise.doctor.observations import PATIENCE, Look, Setup

__all__ = ["CAUSES", "PATIENCE", "Finding", "Look", "Setup", "diagnose"]
