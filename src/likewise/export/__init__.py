"""Export of a run's model as ONNX with preprocessing, model card and checksums.

`making` needs torch and writes RUN/export/; `reading` and `session` run the exported model and never import torch.
"""
