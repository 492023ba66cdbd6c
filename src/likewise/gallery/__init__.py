"""The gallery: enroll, search, identify or answer "unknown", verify, forget. No module here imports torch by itself.

`encoder` uses a run with torch, or an exported model.onnx without; everything else is numpy, SQLite or PostgreSQL.
"""
