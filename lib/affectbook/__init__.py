"""Papers on emotion recognition from ECG and EEG, re-run and audited."""

__version__ = "0.1.0"
