"""The doctor: diagnoses a training from measured symptoms and proposes what to change. Pure.

No single number decides: a collapse has the same symptoms under a too high learning rate, hard pairs or wrong labels,
and needs three different remedies. `likewise.doctor.monitor` measures.
"""

from likewise.doctor.causes import CAUSES, Finding, diagnose
from likewise.doctor.observations import PATIENCE, Observation, Setup

__all__ = ["CAUSES", "PATIENCE", "Finding", "Observation", "Setup", "diagnose"]
