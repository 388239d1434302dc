"""The programs of the demonstration: a user's scripts, copied into its project and run there."""
