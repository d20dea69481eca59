"""Fixtures for adapter tests."""

import pytest
import torch


@pytest.fixture
def perturb():
    """Moves every trainable parameter off its start, so that no factor is zero."""

    def move(model, *, std=0.05, seed=1):
        generator = torch.Generator().manual_seed(seed)
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data += std * noise.to(parameter.dtype)
        return model

    return move
