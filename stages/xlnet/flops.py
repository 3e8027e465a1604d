"""How much arithmetic a training step of XLNet asks for."""

from stages.xlnet.config import ModelConfig, RowsConfig


def forward_flops(
    model: ModelConfig, rows: RowsConfig, vocab_size: int, *, rows_per_forward: int
) -> float:
    """Floating-point operations of one row's forward pass, a multiply-add being two.

    With both streams; the query stream and the output layer on the targets alone, and the
    positions' projection shared by the rows of a forward pass.

    Args:
        model: N layers of width d, F inside the feed-forward part.
        rows: L tokens, M of memory, P targets; K = L + M.
        vocab_size: V.
        rows_per_forward: how many rows share the projected positions.

    Returns:
        2 {N [(4L + 2M) d^2 + r d^2 + 2LdF + 3LKd + 2Pd^2 + 2PdF + 3PKd] + PdV}: projections,
        positions, feed-forward and attention of the content stream, then of the query stream.
    """
    d, inner = model.d_model, model.d_inner
    length, memory, targets = rows.seq_len, rows.mem_len, rows.num_predict
    keys = length + memory
    layer = (
        (4 * length + 2 * memory) * d**2
        + _position_rows(rows, rows_per_forward) * d**2
        + 2 * length * d * inner
        + 3 * length * keys * d
        + 2 * targets * d**2
        + 2 * targets * d * inner
        + 3 * targets * keys * d
    )
    return 2 * (model.num_layers * layer + targets * d * vocab_size)


def train_flops(
    model: ModelConfig, rows: RowsConfig, vocab_size: int, *, rows_per_forward: int
) -> float:
    """Forward and backward of one row: three times forward, less the gradients nobody asks for.

    Those are into the memory and into the table of positions: 4NMd^2 + 2Nrd^2.
    """
    forward = forward_flops(model, rows, vocab_size, rows_per_forward=rows_per_forward)
    unasked = 4 * rows.mem_len + 2 * _position_rows(rows, rows_per_forward)
    return 3 * forward - model.num_layers * unasked * model.d_model**2


def _position_rows(rows: RowsConfig, rows_per_forward: int) -> float:
    """r: distances projected for each row; both directions have a table of their own."""
    tables = 2 if rows.bidirectional else 1
    return tables * (2 * rows.seq_len + rows.mem_len - 1) / rows_per_forward
