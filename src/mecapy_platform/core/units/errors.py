"""What is wrong with a text that should be a quantity."""


class QuantityError(ValueError):
    """A text that is no quantity of the expected kind.

    `code` is not_a_quantity, ambiguous_quantity, unknown_unit, unit_mismatch or not_finite.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
