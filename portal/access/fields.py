from __future__ import annotations

from typing import Any

from django.db import models


class FoldedEmailField(models.EmailField):  # type: ignore[type-arg]
    """Email field in lower case, both when stored and in queries."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.strip().lower() if isinstance(value, str) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        folded = self.get_prep_value(getattr(model_instance, self.attname))
        setattr(model_instance, self.attname, folded)
        return folded
