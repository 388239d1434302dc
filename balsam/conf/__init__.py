"""Where am I: the project directory, its settings, its logs and the registry of projects."""
