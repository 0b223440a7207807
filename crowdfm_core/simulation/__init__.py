"""Synthetic crowds: the only data that frozen weights are ever trained on."""

from crowdfm_core.simulation.crowd import CrowdGenerator, Mixture, SimulatedCrowd
from crowdfm_core.simulation.item_response import ThreeParameterLogisticCrowds
from crowdfm_core.simulation.sizes import CrowdSizes
from crowdfm_core.simulation.uniform import UniformCrowds

__all__ = [
    "CrowdGenerator",
    "CrowdSizes",
    "Mixture",
    "SimulatedCrowd",
    "ThreeParameterLogisticCrowds",
    "UniformCrowds",
]
