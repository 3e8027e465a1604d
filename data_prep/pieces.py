"""The special pieces of the tokenizers that are trained here."""

SPECIAL_PIECES = {
    "unk": 0,
    "bos": 1,
    "eos": 2,
    "cls": 3,
    "sep": 4,
    "pad": 5,
    "mask": 6,
    "eod": 7,
    "eop": 8,
}
"""Name -> id, as in the released XLNet models (whose unk, bos and eos are <unk>, <s> and </s>)."""

CONTROL_PIECES = ("<cls>", "<sep>", "<pad>", "<mask>", "<eod>")
"""Never found in text; they follow unk, bos and eos."""

USER_PIECES = ("<eop>", ".", "(", ")", '"', "-", "\N{EN DASH}", "£", "€")
"""Always a piece of their own where text holds them; they follow the control pieces."""
