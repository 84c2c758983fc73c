#!/bin/bash
# Template of a PBS job that submits itself again until the run is complete: qsub job-pbs.sh
#PBS -N mcmc
#PBS -l select=2:ncpus=32:mpiprocs=32
#PBS -l walltime=24:00:00
#PBS -j oe
cd "$PBS_O_WORKDIR" || exit 1
# What the program needs, such as "module load", goes here.

# Ten minutes less than the job has: for the start, the last checkpoint and a slow disk.
mpirun mcmc run RUN.toml -o DIR --walltime 23:50:00 --quiet

# Launchers garble exit codes; what the run says of itself counts. Of a scan: mcmc scan, and [ $? -eq 75 ] here.
if grep -q '"state": "stopped"' DIR/status.json; then
    qsub job-pbs.sh
fi
