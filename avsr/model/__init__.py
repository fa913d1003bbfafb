"""The network with its configuration, weights and directory on disk."""
