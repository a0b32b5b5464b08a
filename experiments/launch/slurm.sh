#!/usr/bin/env bash
#SBATCH --job-name=jaxlearn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# One process per node, all its devices in it:
#
#   sbatch experiments/launch/slurm.sh run sltt --preset paper --workdir /shared/runs
#
# Two minutes before its time is up the job gets SIGTERM, saves and ends with status 143; it is put
# back into the queue and continues. Processes report to logs/, the script itself, which Slurm opens
# before there is such a folder, beside it. The workdir must be on storage that all nodes see.
set -u
mkdir -p logs
srun --kill-on-bad-exit=1 --output=logs/%x-%j-%t.log \
  "${PYTHON:-.venv/bin/python}" -m experiments "$@"
status=$?
[ "$status" -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$status"
