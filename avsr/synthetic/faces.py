"""Synthetic talking faces: identities, rendered as mouth crops (training) or whole heads (clips).

The same identity, trajectory and random state give the same bytes.
"""

from avsr.synthetic.crops import render_mouth
from avsr.synthetic.heads import render_frames
from avsr.synthetic.identities import Identity, draw_identity, identity_names, make_identity

__all__ = [
    "Identity",
    "draw_identity",
    "identity_names",
    "make_identity",
    "render_frames",
    "render_mouth",
]
