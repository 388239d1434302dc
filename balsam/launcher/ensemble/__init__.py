"""Serial tasks on many nodes: one small process a node, started by one mpirun."""
