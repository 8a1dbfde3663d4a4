"""From a decision to its outcome: what may be done to which kind of workload, doing it, and the proof that it helped."""
