#!/bin/bash
# Template of a run, not of a scan, on a machine without a queue: nohup ./job-mpirun.sh > run.log 2>&1 &
# Goes on after the crash of a rank, too, as long as checkpoints get further. End it with kill -USR1 and its number: the
# run stops at a checkpoint, and the same command continues.
file="RUN.toml"
dir="DIR"

trap 'asked=1; kill -USR1 $pid 2>/dev/null' USR1

state() { sed -n 's/.*"state": "\([a-z]*\)".*/\1/p' "$dir/status.json" 2>/dev/null; }
reached() { cksum "$dir/checkpoint.h5" 2>/dev/null; }

while [ -z "$asked" ]; do
    before=$(reached)
    mpirun -n 8 mcmc run "$file" -o "$dir" --quiet &
    pid=$!
    [ -z "$asked" ] || { sleep 1; kill -USR1 $pid; }  # it came too early to be passed on
    while kill -0 $pid 2>/dev/null; do wait $pid; done
    [ "$(state)" = complete ] && exit 0
    # Wrong input, a divergence, a full disk: the last line that the run has printed tells.
    [ "$(state)" = failed ] && exit 1
    # A crash that comes back before the next checkpoint would come back for ever.
    [ -z "$asked" ] && [ "$(reached)" = "$before" ] && exit 1
done
exit 75
