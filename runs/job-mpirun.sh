#!/bin/bash
# Template for a machine without a queue: nohup ./job-mpirun.sh > run.log 2>&1 &
# Goes on after the crash of a rank, too, as long as there is progress. End it with kill -USR1 and its number: the run
# stops at a checkpoint, and the same command continues.
trap 'asked=1; kill -USR1 $pid 2>/dev/null' USR1

sweep() { sed -n 's/.*"sweep": \([0-9]*\).*/\1/p' DIR/status.json 2>/dev/null; }

while [ -z "$asked" ]; do
    before=$(sweep)
    mpirun -n 8 mcmc run RUN.toml -o DIR --quiet &
    pid=$!
    while kill -0 $pid 2>/dev/null; do wait $pid; done
    grep -q '"state": "complete"' DIR/status.json && exit 0
    # Wrong input, a divergence, a full disk: the last line that the run has printed tells.
    if grep -q '"state": "failed"' DIR/status.json || [ "$(sweep)" = "$before" ]; then exit 1; fi
done
exit 75
