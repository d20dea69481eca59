"""A server whose experts come and go under load: whether each answer is its own expert's."""

from __future__ import annotations

import json
import random
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.bench.rows import BenchRow
from jobs.library import find_shelf, open_library
from jobs.recipes import read_recipe
from rlpeft.adapter_state import AdapterState
from rlpeft.build import build_card, build_state
from rlpeft.errors import EngineError
from rlpeft.experts.files import save_expert
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import RolloutConfig
from rlpeft.types import Problem, Sampling

MODEL, SLOTS, AT_ONCE, MAX_TOKENS = "tiny", 8, 64, 8
PROMPTS = ("3714@=", "8526#=", "5949&=", "2222:=")
SPREAD = 0.25
"""Of multipliers around the base, so that experts answer differently."""

START_S, MOST_S = 300.0, 0.1

COMMAND = "import sys; sys.argv[0] = 'rlpeft'; from jobs.cli import main; main()"


@dataclass(frozen=True)
class Server:
    """A server on this machine."""

    port: int
    key: str

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        """Status and text of what it answers; 0 where it does not."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def ask(self, model: str, prompt: str) -> str | None:
        """A greedy answer; `None` if there is none."""
        options = {"max_tokens": MAX_TOKENS, "temperature": 0}
        asked = {"model": model, "prompt": prompt, **options}
        status, text = self.post("/v1/completions", asked)
        return str(json.loads(text)["choices"][0]["text"]) if status == 200 else None

    def load(self, name: str, folder: Path) -> bool:
        """Whether an expert was taken in, in the place of one of its name."""
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        return self.post("/v1/load_lora_adapter", body)[0] == 200

    def unload(self, name: str) -> bool:
        """Whether one was removed."""
        return self.post("/v1/unload_lora_adapter", {"lora_name": name})[0] == 200


def rows(
    *, num_experts: int = 64, num_requests: int = 2000, num_loads: int = 15
) -> Iterator[BenchRow]:
    """Answers under load, then how soon a new expert gives its first."""
    with TemporaryDirectory(prefix="rlpeft-bench-") as root:
        folders = _experts(Path(root), num_experts)
        right = _right(Path(root))
        with _serving(Path(root)) as server:
            yield _churn_row(server, folders, right, num_requests)
            yield _first_row(server, list(folders.values())[:num_loads])


def _experts(root: Path, number: int) -> dict[str, Path]:
    """Experts around the base, each in a folder of its own."""
    import torch

    recipe = read_recipe("quickstart", ['adapter.parametrisation="direct"'])
    base = BaseModel.open(recipe.model.name)
    start, card = build_state(recipe.engine, base), build_card(recipe, base)
    generator, found = torch.Generator().manual_seed(0), {}
    for name in (f"e{k}" for k in range(number)):
        tensors = {
            key: z + SPREAD * torch.randn(z.shape, generator=generator)
            for key, z in start.tensors.items()
        }
        state = AdapterState(start.config, tensors, 0, start.factors)
        found[name] = root / name
        own = {"name": name, "digest": state.digest}
        save_expert(found[name], state, card.model_copy(update=own))
    return found


def _right(root: Path) -> dict[tuple[str, str], str]:
    """(expert, prompt) -> what it answers by transformers, alone with its fellows."""
    shelf = find_shelf(root, model=None, rollout=RolloutConfig(max_tokens=MAX_TOKENS))
    with open_library(shelf) as library:
        asked = [(name, prompt) for name in library.experts.names[1:] for prompt in PROMPTS]
        requests = [
            library.prompter.request(Problem(f"{name}{prompt}", prompt), [0], expert=name)
            for name, prompt in asked
        ]
        found = library.fleet.rollout(requests, Sampling(MAX_TOKENS, temperature=0.0))
        return {pair: group[0].text for pair, group in zip(asked, found, strict=True)}


@contextmanager
def _serving(root: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(free.getsockname()[1], secrets.token_hex())
    command = [sys.executable, "-c", COMMAND, "serve", "--experts", str(root), "--auto", "off"]
    command += ["--load-from", str(root), "--slots", str(SLOTS), "--port", str(server.port)]
    process = subprocess.Popen([*command, "--api-key", server.key])
    try:
        deadline = time.monotonic() + START_S
        while server.ask("base", PROMPTS[0]) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError("the server must start, it did not: its log says why.")
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait()


def _churn_row(
    server: Server,
    folders: Mapping[str, Path],
    right: Mapping[tuple[str, str], str],
    number: int,
) -> BenchRow:
    """Requests to all experts, while some are replaced by themselves and others come and go."""
    draw, names = random.Random(0), list(folders)
    asked = [(draw.choice(names), draw.choice(PROMPTS)) for _ in range(number)]
    changes, is_over = [0], False

    def change() -> int:
        """Every expert that comes is asked, too; how many answers were wrong."""
        wrong, k = 0, 0
        while not is_over:
            name, k = names[k % len(names)], k + 1
            guest = f"guest{k}"
            done = server.load(name, folders[name]) and server.load(guest, folders[name])
            found = server.ask(guest, PROMPTS[k % len(PROMPTS)])
            wrong += found != right[name, PROMPTS[k % len(PROMPTS)]]
            wrong += not (done and server.unload(guest))
            changes[0] += 3
        return wrong

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        changing = pool.submit(change)
        started = time.perf_counter()
        found = list(pool.map(lambda pair: server.ask(*pair), asked))
        seconds, is_over = time.perf_counter() - started, True
        guests = changing.result()
    lost = sum(answer is None for answer in found)
    wrong = sum(a not in (None, right[p]) for a, p in zip(found, asked, strict=True)) + guests
    return BenchRow(
        f"{len(names)} experts in {SLOTS} slots, {MODEL}, {number:,} requests at {AT_ONCE} at "
        f"once, {changes[0]} loads and removals between, {number / seconds:.0f} requests/s: wrong "
        "answers and lost ones",
        wrong,
        lost,
        wrong + lost,
        "",
        "0 and 0",
        "0 and 0",
        wrong + lost == 0,
    )


def _first_row(server: Server, folders: list[Path]) -> BenchRow:
    """From the end of a load to the first answer, and the second, medians."""
    first: list[float] = []
    second: list[float] = []
    for k, folder in enumerate(folders):
        server.load(f"new{k}", folder)
        for seconds in (first, second):
            started = time.perf_counter()
            server.ask(f"new{k}", PROMPTS[0])
            seconds.append(time.perf_counter() - started)
        server.unload(f"new{k}")
    ours, peer = statistics.median(first), statistics.median(second)
    return BenchRow(
        f"first answer of a new expert, {MODEL}, {MAX_TOKENS} tokens, from the end of its load, "
        "against its second",
        ours * 1e3,
        peer * 1e3,
        ours / MOST_S,
        "ms",
        "the second answer",
        "<= 100 ms",
        ours <= MOST_S,
    )
