"""Building blocks of networks: attention, dropout, linear layers."""
