"""Checkpointing, accumulation, two processes, compilation and quantised bases."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from peft import get_peft_model
from torch.nn.parallel import DistributedDataParallel

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.adapters.groups import parameter_groups
from rlpeft.errors import ModelError

IDS = torch.randint(0, 60, (4, 10), generator=torch.Generator().manual_seed(0))
CONFIGS = {
    "rotation": lambda: HypLoraConfig(target_modules="all-linear", r=4),
    "boost": lambda: HypLoraConfig(target_modules="all-linear", r=4, variant="boost"),
    "mixture": lambda: MoSLoraConfig(target_modules="all-linear", r=16),
}


@pytest.fixture(params=CONFIGS)
def model(request, llama, perturb):
    with torch.random.fork_rng():  # else A depends on the tests that came before
        torch.manual_seed(0)
        return perturb(get_peft_model(llama(), CONFIGS[request.param]())).train()


def loss_of(model, ids):
    loss = model(input_ids=ids, labels=ids).loss
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return loss + inner.base_model.auxiliary_loss()


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs, *, atol=1e-7):
    assert ours.keys() == theirs.keys()
    assert ours
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=atol, rtol=1e-4), name


def assert_reordered(ours, theirs):
    """Sums in another order differ by a rounding of their terms, however small the sum is."""
    assert_same(ours, theirs, atol=1e-5 * float(max(g.abs().max() for g in theirs.values())))


def test_gradient_checkpointing_changes_no_gradient(model):
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_enable({"use_reentrant": False})
    twin.enable_input_require_grads()
    for each in (model, twin):
        loss_of(each, IDS).backward()
    assert_same(gradients(twin), gradients(model))


def test_the_recomputation_is_not_recorded(model):
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    loss = loss_of(model, IDS)
    before = [record for _, _, record in model.base_model.forward_records()]
    loss.backward()
    after = [record for _, _, record in model.base_model.forward_records()]
    assert before
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_reentrant_checkpointing_trains_without_a_balance_loss(llama, perturb):
    config = MoSLoraConfig(target_modules="all-linear", r=16, balance_coef=0.0)
    plain = perturb(get_peft_model(llama(), config)).train()
    twin = copy.deepcopy(plain)
    twin.gradient_checkpointing_enable({"use_reentrant": True})
    twin.enable_input_require_grads()
    for each in (plain, twin):
        loss_of(each, IDS).backward()
    assert_same(gradients(twin), gradients(plain))


def test_reentrant_checkpointing_with_a_balance_loss_is_refused(llama):
    model = get_peft_model(llama(), MoSLoraConfig(target_modules="all-linear", r=16)).train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    with pytest.raises(ModelError, match="use_reentrant"):
        loss_of(model, IDS)


def test_accumulated_micro_batches_equal_one_batch(model):
    """But for the balance loss, which is a square of a mean over a forward's tokens."""
    for config in model.peft_config.values():
        config.balance_coef = 0.0
    twin = copy.deepcopy(model)
    loss_of(model, IDS).backward()
    for part in IDS.chunk(2):
        (loss_of(twin, part) / 2).backward()
    assert_reordered(gradients(twin), gradients(model))


def test_a_step_of_adamw_lowers_the_loss(model):
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=5e-3))
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, IDS)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01


def train_on_rank(rank, port, models, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for index, model in enumerate(models):
        wrapped = DistributedDataParallel(model)
        for ids in (IDS, IDS.flip(1)):  # a second step fails if a parameter had no gradient
            model.zero_grad()
            loss_of(wrapped, ids.chunk(2)[rank]).backward()
        results[rank, index] = {n: g.tolist() for n, g in gradients(model).items()}
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_to_the_gradient_of_the_whole_batch(
    llama, perturb, free_port, monkeypatch
):
    # The children import this file by its name, under whatever command pytest was started.
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3])
    models = [perturb(get_peft_model(llama(), CONFIGS[name]())).train() for name in CONFIGS]
    models[-1].peft_config["default"].balance_coef = 0.0  # not linear in the batch
    results = mp.Manager().dict()
    mp.spawn(train_on_rank, args=(free_port, copy.deepcopy(models), results), nprocs=2)
    for index, model in enumerate(models):
        loss_of(model, IDS.flip(1)).backward()
        for rank in (0, 1):
            theirs = {n: torch.tensor(value) for n, value in results[rank, index].items()}
            assert_reordered(theirs, gradients(model))


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("grad", [True, False])
def test_a_layer_compiles_into_one_graph(model, grad):
    layer = next(model.base_model.adapted_layers())
    x = torch.randn(7, layer.in_features, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    with torch.set_grad_enabled(grad):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert torch.allclose(compiled(x), layer(x), atol=1e-6)
    if grad:
        compiled(x).square().sum().backward()
        through = gradients(layer)
        layer.zero_grad()
        layer(x).square().sum().backward()
        assert_same(through, gradients(layer), atol=1e-5)


@pytest.mark.slow
def test_a_whole_model_compiles_into_one_graph(llama, perturb):
    config = MoSLoraConfig(target_modules=["q_proj", "down_proj"], r=16)
    model = perturb(get_peft_model(llama(num_hidden_layers=1), config)).train()
    torch._dynamo.reset()
    compiled = torch.compile(model.base_model.model, fullgraph=True, backend="eager")
    expected = model(input_ids=IDS).logits
    assert torch.allclose(compiled(input_ids=IDS, use_cache=False).logits, expected, atol=1e-5)
