#!/bin/bash
# Template of a PBS job that submits itself again until the run is complete: qsub job-pbs.sh
#PBS -N mcmc
#PBS -l select=2:ncpus=32:mpiprocs=32
#PBS -l walltime=24:00:00
#PBS -j oe
file="RUN.toml"
dir="DIR"
script="job-pbs.sh"  # this file, in the directory of qsub: PBS runs a copy of it
cd "$PBS_O_WORKDIR" || exit 1
# What the program needs, such as "module load", goes here.

started() { sed -n 's/.*"started": \([0-9.]*\).*/\1/p' "$dir/status.json" 2>/dev/null; }
before=$(started)

# Ten minutes less than the job has: for the start, the last checkpoint and a slow disk.
mpirun mcmc run "$file" -o "$dir" --walltime 23:50:00 --quiet

# Launchers may change exit codes; what the run says of itself counts, if it came so far as to say anything in this job.
# Of a scan: mcmc scan, and [ $? -eq 75 ] here.
if grep -q '"state": "stopped"' "$dir/status.json" && [ "$(started)" != "$before" ]; then
    qsub "$script"
fi
