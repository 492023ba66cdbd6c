"""Switches off what other libraries would report over the network. Set before any of them is imported; yours win."""

import os

__all__ = ["quiet_libraries"]

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: its 1DS uploader starts when the library is loaded
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and through it transformers and timm
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # no token of the user's is sent with the download of a public model
    "RAY_USAGE_STATS_ENABLED": "0",  # ray
    "NO_ALBUMENTATIONS_UPDATE": "1",  # a check for new versions on import
    "DO_NOT_TRACK": "1",
}


def quiet_libraries() -> None:
    """A variable that is set already stays as it is."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
