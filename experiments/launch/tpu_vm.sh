#!/usr/bin/env bash
# One process per worker of a TPU VM slice; to be run on all workers at once:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command="cd jaxlearn && experiments/launch/tpu_vm.sh run sltt --preset paper --workdir gs://BUCKET/runs"
#
# JAX finds the other workers itself. The workdir must be one that all workers see.
set -eu
export JAX_PLATFORMS=tpu,cpu
exec "${PYTHON:-.venv/bin/python}" -m experiments "$@"
