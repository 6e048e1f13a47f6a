"""The devices there are."""

import numpy as np
import pytest
import torch

from crossfade_engine.device import CpuDevice, CudaDevice, Device

DEVICES = [CpuDevice, CudaDevice] if torch.cuda.is_available() else [CpuDevice]


@pytest.fixture(scope="session", params=DEVICES, ids=lambda device: device.__name__)
def device(request: pytest.FixtureRequest) -> Device:
    """Every device of this machine, one after the other."""
    return request.param()


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers for every test."""
    return np.random.default_rng(2026)
