"""What stops `tidings` from starting; the text is the one line that the user reads."""


class CouldNotStartError(Exception):
    """Says what is wrong and what to do about it, in one line."""
