"""The scans of both Mamba layers: their definitions, fast forms for any device, fused kernels.

=========  =========================  =========================================
layer      definition, slow           fast, with a backward pass of its own
=========  =========================  =========================================
Mamba      `selective_recurrence`     `selective_scan`
Mamba-2    `ssd_recurrence`           `ssd`
=========  =========================  =========================================

The fast forms are plain PyTorch. Where a CUDA device and the kernels of mamba-ssm are there, layers
take those instead, see :mod:`affectbook.models.scans.fused`.
"""

from affectbook.models.scans.mamba1 import selective_recurrence, selective_scan
from affectbook.models.scans.mamba2 import ssd, ssd_recurrence

__all__ = ["selective_recurrence", "selective_scan", "ssd", "ssd_recurrence"]
