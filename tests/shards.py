"""What tests of shards share: the tokenizer that their made-up ids are said to be of."""

TOKENIZER = "a1" * 32
OTHER_TOKENIZER = "b2" * 32
