"""Serial tasks, and a look at MPI ranks, on many nodes: one small process a node, by one mpirun."""
