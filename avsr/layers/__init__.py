"""Building blocks of networks: attention, dropout, linear layers, and their fast ways.

The forward passes in ``avsr.encoder.transformer``, ``avsr.decoder.transformer`` and
``avsr.layers.attention`` are the definition of the model. What computes the same numbers faster
stands here, in one file for each idea, and ``avsr.layers.plain`` switches all of it off.
"""
