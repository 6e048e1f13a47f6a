"""The devices there are, and hypothesis without a clock: the machine may be busy with anything."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from crossfade_engine.device import CpuDevice, CudaDevice, Device

settings.register_profile("crossfade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("crossfade")

DEVICES = [CpuDevice, CudaDevice] if torch.cuda.is_available() else [CpuDevice]


@pytest.fixture(scope="session", params=DEVICES, ids=lambda device: device.__name__)
def device(request: pytest.FixtureRequest) -> Device:
    """Every device of this machine, one after the other."""
    return request.param()


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers for every test."""
    return np.random.default_rng(2026)
