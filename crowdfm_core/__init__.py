"""CrowdFM: label aggregation for crowdsourced annotations with a frozen graph neural network."""

from crowdfm_core.estimator import CrowdFM

__all__ = ["CrowdFM"]
