#!/usr/bin/env bash
# A run on Slurm: a Ray cluster over the nodes of one allocation, for as long as the run.
#     sbatch jobs/examples/slurm.sh RECIPE [--set section.key=value ...]
# Run folders lie on a disk that all nodes see ($RLPEFT_RUNS, runs/ where it was submitted if unset).
# Requeued, the run goes on from its newest checkpoint.
#SBATCH --job-name=rlpeft
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: sbatch $0 RECIPE [--set section.key=value ...]" >&2; exit 2; }
recipe=$1
name=$(basename "${recipe%.*}")
out=${RLPEFT_RUNS:-$SLURM_SUBMIT_DIR/runs}/$name

# Ray takes no driver without the token; whoever has it can run programs on these nodes.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
address=$head:$port
start=(ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE")

srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" "${start[@]}" --head --port="$port" &
for _ in $(seq 60); do
  ray status --address "$address" >/dev/null 2>&1 && break
  sleep 2
done
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --overlap --exclude="$head" \
    "${start[@]}" --address="$address" &
fi

# The batch script runs on the head's node. TERM reaches the run, which says how it goes on.
rlpeft train "$@" --address "$address" --out "$out" &
run=$!
trap 'kill -TERM "$run"; wait "$run"' TERM
wait "$run"
