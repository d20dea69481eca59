"""A GPU that is asked for is there, or its absence is one line."""

import pytest
import torch

from rlpeft.errors import ConfigError
from rlpeft.models.device import own_device, require_gpu


def test_models_are_where_a_gpu_may_be_used(monkeypatch):
    for is_there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=is_there: answer)
        assert own_device() == device


def test_a_gpu_that_is_asked_for_and_not_there_is_named_by_its_option(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_gpu(0, "resources.learner_gpus")
    with pytest.raises(ConfigError, match=r"^resources\.learner_gpus = 0\.5 asks for a GPU"):
        require_gpu(0.5, "resources.learner_gpus")
