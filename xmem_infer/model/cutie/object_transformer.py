"""Object queries: summaries of memory frames, and the transformer in which queries and pixels of a frame interact."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.masks import aggregate_logits
from .sizes import CutieSizes

HEADS = 8
POSITION_SCALE = 32.0


class PositionEncoding(nn.Module):
    """Sinusoidal encoding of column and row, each coordinate scaled to [0, 32] for every grid size."""

    inv_freq: Tensor

    def __init__(self, channels: int):
        super().__init__()
        count = channels // 4
        self.register_buffer("inv_freq", 128.0 ** (-torch.arange(count) / count))

    def forward(self, height: int, width: int) -> Tensor:
        """Return the encoding (height, width, C): sine and cosine interleaved, column channels before row channels."""
        columns, rows = self._along(width), self._along(height)
        return torch.cat([columns.expand(height, -1, -1), rows[:, None].expand(-1, width, -1)], 2)

    def _along(self, count: int) -> Tensor:
        steps = torch.arange(count, device=self.inv_freq.device, dtype=self.inv_freq.dtype)
        angle = (POSITION_SCALE * steps / (count - 1 + 1e-6))[:, None] * self.inv_freq
        return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


class ObjectSummarizer(nn.Module):
    """An object's value and mask on a memory frame -> for each query, weighted sum of features and sum of weights.

    The sums are not normalised here: they are accumulated over memory frames before `ObjectTransformer` divides them.
    """

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        channels, self.queries = sizes.channels, sizes.queries
        self.positions = PositionEncoding(channels)
        self.input_proj = nn.Linear(channels, channels)
        self.features = _perceptron(channels, channels)
        self.weights = _perceptron(channels, self.queries)

    def forward(self, value: Tensor, mask: Tensor) -> Tensor:
        """value (n, C, h, w), mask (n, h, w) in [0, 1] -> (n, queries, C + 1), at least float32.

        The first half of the queries sums over the foreground, the second half over the background.
        """
        x = self.input_proj(_rows(value))
        x = x + self.positions(*mask.shape[1:]).flatten(0, 1).to(x.dtype)
        inside = mask.flatten(1)[:, :, None]
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            features, weights = self.features(x), self.weights(x).sigmoid()
            foreground = self.queries // 2
            weights = torch.cat([weights[..., :foreground] * inside, weights[..., foreground:] * (1 - inside)], 2)
            return torch.cat([weights.transpose(-1, -2) @ features, weights.sum(1)[..., None]], 2)


class Attention(nn.Module):
    """Multi-head attention, with all three input projections in one weight as in `torch.nn.MultiheadAttention`."""

    def __init__(self, channels: int):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """query (n, q, C), key and value (n, k, C), allowed (n, q, k) bool (None: all True) -> (n, q, C)."""
        projections = zip(self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((query, key, value), projections, strict=True)
        )
        mask = None if allowed is None else allowed[:, None]
        read = F.scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(read.transpose(1, 2).flatten(2))


class ChannelAttentionBlock(nn.Module):
    """Residual block with efficient channel attention (ECA): gates from a 1-d convolution over the channel means."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y = self.conv2(self.conv1(x.relu()).relu())
        gate = self.gate(y.mean((2, 3))[:, None])[:, 0].sigmoid()
        return y * gate[:, :, None, None] + x


class TransformerBlock(nn.Module):
    """Cross-attention from queries to pixels, self-attention, feed-forward, cross-attention from pixels to queries."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        channels = sizes.channels
        self.read_pixels, self.read_pixels_norm = Attention(channels), nn.LayerNorm(channels)
        self.self_attention, self.self_norm = Attention(channels), nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, sizes.feed_forward)
        self.linear2 = nn.Linear(sizes.feed_forward, channels)
        self.linear_norm = nn.LayerNorm(channels)
        self.read_queries = Attention(channels)
        self.pixel_block = ChannelAttentionBlock(channels)

    def forward(
        self, queries: Tensor, query_position: Tensor, pixels: Tensor, pixel_position: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return updated queries and pixels.

        queries and query_position (n, q, C), pixels (n, C, h, w), pixel_position (n, h * w, C), allowed (n, q, h * w)
        bool.
        """
        rows = _rows(pixels)
        # Unlike in the usual pre-norm block, the residual of both attentions is the normalised input.
        x = self.read_pixels_norm(queries)
        x = x + self.read_pixels(x + query_position, rows + pixel_position, rows, allowed)
        x = self.self_norm(x)
        x = x + self.self_attention(x + query_position, x + query_position, x)
        x = x + self.linear2(self.linear1(self.linear_norm(x)).relu())
        rows = rows + self.read_queries(rows + pixel_position, x + query_position, x)
        return x, self.pixel_block(rows.transpose(-1, -2).unflatten(2, pixels.shape[2:]))


class ObjectTransformer(nn.Module):
    """Fused pixel readout and summaries of the objects of one bucket -> their object readout (paper section 3.2)."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        channels, self.queries = sizes.channels, sizes.queries
        self.query_init = nn.Embedding(self.queries, channels)
        self.query_position = nn.Embedding(self.queries, channels)
        self.summary_init = nn.Linear(channels, channels)
        self.summary_position = nn.Linear(channels, channels)
        self.positions = PositionEncoding(channels)
        self.pixel_init = nn.Conv2d(channels, channels, 1)
        self.pixel_position = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(TransformerBlock(sizes) for _ in range(sizes.blocks))
        self.mask_prediction = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in range(sizes.blocks))

    def forward(self, fused: Tensor, summaries: Tensor) -> Tensor:
        """fused (B, O, C, h, w), summaries (B, O, queries, C + 1) -> (B, O, C, h, w), O being the bucket's objects."""
        objects = fused.shape[1]
        fused = fused.flatten(0, 1)
        mean = (summaries[..., :-1] / (summaries[..., -1:] + 1e-4)).flatten(0, 1).to(fused.dtype)
        queries = self.query_init.weight + self.summary_init(mean)
        query_position = self.query_position.weight + self.summary_position(mean)
        pixels = self.pixel_init(fused)
        position = _rows(self.pixel_position(fused))
        position = position + self.positions(*fused.shape[2:]).flatten(0, 1).to(position.dtype)
        for block, prediction in zip(self.blocks, self.mask_prediction, strict=True):
            allowed = self._allowed(prediction, pixels, objects)
            queries, pixels = block(queries, query_position, pixels, position, allowed)
        return pixels.unflatten(0, (-1, objects))

    def _allowed(self, prediction: nn.Module, pixels: Tensor, objects: int) -> Tensor:
        """Return which pixels each query may attend to: (B * O, queries, h * w) bool.

        The first half of the queries attend to the pixels where their object is the most probable, the other half to
        the remaining pixels. A query that could attend to no pixel attends to all.
        """
        # Computed in float32, because rounding to half precision would flip this hard decision on some pixels.
        with torch.autocast(pixels.device.type, enabled=False):
            logits = prediction(pixels.to(torch.promote_types(pixels.dtype, torch.float32)).relu())
        odds, _ = aggregate_logits(logits.unflatten(0, (-1, objects)).squeeze(2))
        foreground = (odds[:, 1:] >= odds.amax(1, keepdim=True)).flatten(0, 1).flatten(1)
        allowed = torch.stack([foreground, ~foreground], 1)
        allowed = allowed | ~allowed.any(2, keepdim=True)
        return allowed.repeat_interleave(self.queries // 2, 1)


def _perceptron(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, out))


def _rows(x: Tensor) -> Tensor:
    """(n, C, h, w) -> (n, h * w, C)."""
    return x.flatten(2).transpose(-1, -2)
