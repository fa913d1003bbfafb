"""The command line ``avsr``: a file per group of commands."""
