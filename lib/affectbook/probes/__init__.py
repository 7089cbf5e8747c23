"""What is inside a trained HCMNet: probes of its stages, its channel gates, how far it sees.

A probe is a linear model that reads one thing from the features of one stage. What it reads was in
the features; what it does not read may still be there in another form.

Two questions come from the paper's abstract: is what the network makes "analogous to HRV analysis",
and does NLCCA "mitigate inter-individual variability"? Nothing here loads torch before it is
needed: :func:`table` reads recorded rows without it.
"""

from affectbook.probes.anatomy import STAGES, gate_statistics, receptive_field, stages
from affectbook.probes.readings import probe
from affectbook.probes.scores import HRV_TARGETS, PROTOCOL, PROTOCOL_OF_SUBJECTS, table

__all__ = [
    "HRV_TARGETS",
    "PROTOCOL",
    "PROTOCOL_OF_SUBJECTS",
    "STAGES",
    "gate_statistics",
    "probe",
    "receptive_field",
    "stages",
    "table",
]
