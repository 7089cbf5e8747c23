"""Networks as plain PyTorch modules, and the one class that makes them scikit-learn estimators.

Nothing is imported here: importing :mod:`affectbook.models` must not load torch.
"""
