"""Recipes: which network learns which data set, through which circuit, with which options."""

from ._recipes import ImageCNN, build_model, default_circuit, fit_config, mlp, target_for

__all__ = ["ImageCNN", "build_model", "default_circuit", "fit_config", "mlp", "target_for"]
