"""Export: a run's model as ONNX, its preprocessing inside, beside its card and checksums.

`making` needs torch and writes RUN/export/; `reading` and `session` run what was written and never import torch.
"""
