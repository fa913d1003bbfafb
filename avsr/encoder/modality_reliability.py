"""How much sound and lips can be trusted, frame by frame, after AV-RelScore (Hong et al. 2023).

"Watch or Listen: Robust Audio-Visual Speech Recognition with Visual Corruption Modeling and
Reliability Scoring" multiplies the features of each modality by a score per frame before they are
fused. Here, with ``a`` and ``v`` the projected filterbank and mouth crops of the encoder:

    [a'; v']   = LN([a; v])                                as in the fusion, without weights
    p, q       = gelu(P_a a'), gelu(P_v v')                H values each
    z          = gelu(C_2 * gelu(C_1 * [p; q; p q]))       convolutions over KERNEL frames
    (s_a, s_v) = sigmoid(W z + b)
    x          = W_f LN([s_a a; s_v v])                    the fusion

The product ``p q`` lets the convolutions compare the two, as lips of another clip are wrong only
beside the sound. The layer norm of the fusion takes off a size that both have in common: what
decides is ``s_a / s_v``. With ``s_v = 0`` the frame is that of a clip without video, whose half of
the fusion is zeros, and which the encoder knows from modality dropout. A modality that is missing
is zeros whatever its score, so the scores are computed for clips with both only.

A new module gives both modalities the same score (W = 0, b = START): an encoder to which it is
added computes what it did before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 64  # H
KERNEL = 7  # frames; two convolutions see 13 frames, 0.52 s
START = 4.0  # a new module trusts both modalities: sigmoid(4) = 0.98


class ModalityReliability(nn.Module):
    """Scores in (0, 1) of the audio and video features of each frame."""

    def __init__(self, dim: int) -> None:
        """Make the layers; ``dim`` is the width of the features."""
        super().__init__()
        self.audio = nn.Linear(dim, HIDDEN)
        self.video = nn.Linear(dim, HIDDEN)
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, HIDDEN, KERNEL, padding=KERNEL // 2)
            for channels in (3 * HIDDEN, HIDDEN)
        )
        for layer in (self.audio, self.video, *self.convs):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.out = nn.Linear(HIDDEN, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, START)

    def forward(self, audio: Tensor, video: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Compute the scores.

        Args:
            audio: (B, T, D) projected filterbank.
            video: (B, T, D) projected outputs of the visual front end.
            padding_mask: (B, T), True = padding; None where no frame is padding.

        Returns:
            (B, T, 2) scores of audio and video, fp32; arbitrary where a frame is padding.
        """
        x = F.layer_norm(torch.cat([audio, video], -1), (2 * audio.shape[-1],))
        a, v = x.chunk(2, -1)
        p, q = F.gelu(self.audio(a)), F.gelu(self.video(v))
        z = torch.cat([p, q, p * q], -1)
        for conv in self.convs:
            if padding_mask is not None:
                z = z.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            z = F.gelu(conv(z.transpose(1, 2)).transpose(1, 2).contiguous())
        return self.out(z).float().sigmoid()
