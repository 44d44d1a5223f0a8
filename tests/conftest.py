"""What all tests share: modules beside this one, Hypothesis profiles, seeds, fixtures."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# For tests.audit, tests.devices ...; last, so that it is the installed package that is tested.
sys.path.append(str(Path(__file__).resolve().parent.parent))

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("long", settings.get_profile("default"), max_examples=2000)
settings.register_profile("mutant", settings.get_profile("default"), phases=[Phase.generate])
settings.load_profile(os.environ.get("ARCHIVE7_HYPOTHESIS", "default"))


@pytest.fixture
def seed() -> int:
    """A seed, printed, that ARCHIVE7_SEED sets."""
    number = int(os.environ.get("ARCHIVE7_SEED") or random.SystemRandom().getrandbits(32))
    print(f"ARCHIVE7_SEED={number}")
    return number


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Randomness from the printed seed."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def need_secretbox() -> Callable[[], None]:
    """Skips, with what is missing, where suite 2 cannot run; fails with ARCHIVE7_REQUIRE_ALL=1."""

    def need() -> None:
        try:
            import libnacl  # noqa: F401 - asked for its error
        except (ImportError, OSError) as error:
            missing = f"libnacl (pip) or libsodium23 (Debian) is missing: {error}"
            if os.environ.get("ARCHIVE7_REQUIRE_ALL") == "1":
                pytest.fail(missing)
            pytest.skip(missing)

    return need
