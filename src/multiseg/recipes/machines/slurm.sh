#!/bin/bash
# A SLURM job that trains one run on several machines, and goes on in a new job when its time is up.
#   RUN=/shared/runs/first sbatch --nodes 8 slurm.sh multi_head nodes_8 --data camvid=/shared/CamVid --batch-size 128
# RUN is the run's folder, on a file system that all machines share. What else sbatch is told overrides the lines below.
#SBATCH --job-name=multiseg
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --mem=0
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

: "${RUN:?is the folder of the run: RUN=/shared/runs/first sbatch slurm.sh …}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun does not take it from sbatch by itself

# five minutes before the end every process gets SIGTERM, and saves; --resume starts where there is nothing to resume
srun --kill-on-bad-exit=1 multiseg train "$@" \
  --devices "$SLURM_NTASKS_PER_NODE" --trainer.nodes "$SLURM_NNODES" --run "$RUN" --resume
code=$?

# stopped, but not finished: once more. Not after an error, which would come again
case $code in
0 | 130 | 138 | 143) [ -f "$RUN/metrics.json" ] || exec scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit $code
