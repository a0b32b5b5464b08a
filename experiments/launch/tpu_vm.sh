#!/usr/bin/env bash
# One process per worker of a TPU VM slice; to be run on all workers at once:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command="cd jaxlearn && experiments/launch/tpu_vm.sh run sltt --preset paper --workdir /mnt/runs"
#
# JAX finds the other workers itself. The workdir must be a mounted folder that all workers see. What
# a worker says also goes to LOGS/HOSTNAME.log ("logs" by default) on that worker.
set -eu
logs=${LOGS:-logs}
mkdir -p "$logs"
export JAX_PLATFORMS=tpu,cpu
exec "${PYTHON:-.venv/bin/python}" -m experiments "$@" 2> >(tee -a "$logs/$(hostname).log" >&2)
