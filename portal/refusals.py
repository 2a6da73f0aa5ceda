"""Refusals: reasons a request is not carried out, shown to the user unchanged."""


class Refusal(Exception):
    """Why something is not done, as a sentence that says what to do instead. Nothing was changed.

    `field` names the form field that the sentence belongs to, "" for the form as a whole.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
