"""Synthetic crowds: the only data that frozen weights are ever trained on."""

from crowdfm_core.simulation.acceptance import Acceptance
from crowdfm_core.simulation.crowd import CrowdGenerator, Mixture, SimulatedCrowd
from crowdfm_core.simulation.item_response import ThreeParameterLogisticCrowds
from crowdfm_core.simulation.rich import RichCrowds, RichDraw
from crowdfm_core.simulation.shapes import Shape
from crowdfm_core.simulation.sizes import CrowdSizes
from crowdfm_core.simulation.subtypes import SubtypedCrowds
from crowdfm_core.simulation.uniform import UniformCrowds
from crowdfm_core.simulation.worlds import (
    DawidSkeneCrowds,
    GladCrowds,
    GroupedCrowds,
    OneCoinCrowds,
    WorldDraw,
)

__all__ = [
    "Acceptance",
    "CrowdGenerator",
    "CrowdSizes",
    "DawidSkeneCrowds",
    "GladCrowds",
    "GroupedCrowds",
    "Mixture",
    "OneCoinCrowds",
    "RichCrowds",
    "RichDraw",
    "Shape",
    "SimulatedCrowd",
    "SubtypedCrowds",
    "ThreeParameterLogisticCrowds",
    "UniformCrowds",
    "WorldDraw",
]
