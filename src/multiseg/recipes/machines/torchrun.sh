#!/bin/sh
# One machine's part of a run on several, by torchrun: the same on each of them.
#   NODES=2 GPUS=8 HEAD=machine1 RUN=/shared/runs/first sh torchrun.sh multi_head --data camvid=/shared/CamVid
# HEAD is one of the machines, which the others reach at port 29400 (or PORT); RUN is the run's folder, on a file system
# that all share. The same again goes on where the run was stopped.
: "${RUN:?is the folder of the run}" "${HEAD:?is the machine where they meet}"

exec torchrun --nnodes "${NODES:-1}" --nproc-per-node "${GPUS:-1}" \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:${PORT:-29400}" --rdzv-id "$(basename "$RUN")" \
  -m -- multiseg train "$@" --devices "${GPUS:-1}" --trainer.nodes "${NODES:-1}" --run "$RUN" --resume
