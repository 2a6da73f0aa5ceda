"""Form components. They style a form's widgets, so that forms contain no styling."""

from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField

register = template.Library()

_KINDS: dict[type[forms.Widget], str] = {
    forms.RadioSelect: "group",
    forms.CheckboxSelectMultiple: "group",
    forms.CheckboxInput: "toggle",
    forms.Textarea: "textarea",
    forms.Select: "select",
}
_CLASSES = {"group": "pk-tick", "toggle": "pk-tick", "textarea": "pk-input", "select": "pk-input pk-select"}


def _attributes(bound: BoundField, kind: str, described: str, extra: dict[str, str]) -> dict[str, str | bool]:
    own = str(bound.field.widget.attrs.get("class", ""))
    attrs: dict[str, str | bool] = {"class": f"{_CLASSES.get(kind, 'pk-input')} {own}".strip(), **extra}
    if kind == "textarea" and bound.field.widget.attrs.get("rows") in (None, "10"):
        attrs.setdefault("rows", "3")  # Django's default of ten lines is too high for a reason or a note
    if bound.errors:
        attrs["aria-invalid"] = "true"
    # A group's description is on the fieldset.
    if described and kind != "group":
        attrs["aria-describedby"] = described
    return attrs


@register.inclusion_tag("components/_field.html")
def field(
    bound: BoundField, label: str = "", hint: str = "", look: str = "", *, optional: bool | None = None, **extra: Any
) -> dict[str, Any]:
    """Render label, control, hint and errors of one form field.

    ``look``: for radio groups "chips" or "cards" (default: a plain list); for an input "wide", "short" or "stepper".
    ``optional``: whether the label says so, by default where the field may stay empty; False where another field
    decides. Further keywords become attributes of the control, underscores turned into dashes: ``autofocus="on"``,
    ``hx_get="..."``.
    """
    kind = next((kind for type_, kind in _KINDS.items() if isinstance(bound.field.widget, type_)), "input")
    hint = str(hint or bound.help_text or "")
    described = " ".join([f"{bound.auto_id}_hint"] * bool(hint) + [f"{bound.auto_id}_error"] * bool(bound.errors))
    given = {key.replace("_", "-"): str(value) for key, value in extra.items()}
    attributes = _attributes(bound, kind, described, given)
    if kind == "group":
        bound.field.widget.attrs.update(attributes)
    return {
        "bound": bound,
        "kind": kind,
        "look": look,
        "label": label or bound.label,
        "hint": hint,
        "described": described,
        "optional": (not bound.field.required if optional is None else optional)
        and kind in {"input", "textarea", "select"},
        "control": "" if kind == "group" else bound.as_widget(attrs=attributes),
    }


@register.inclusion_tag("components/_form_errors.html")
def form_errors(*given: Any) -> dict[str, Any]:
    """Render the summary above an invalid form; it takes the focus and links to each field. Several forms of one page,
    also given as a list, share one summary; None is ignored."""
    every: list[forms.BaseForm] = []
    for each in given:
        every += [each] if isinstance(each, forms.BaseForm) else each or []
    fields = [form[name] for form in every for name in form.fields if name in form.errors]
    hidden = [error for bound in fields if bound.is_hidden for error in bound.errors]
    return {
        "fields": [bound for bound in fields if not bound.is_hidden],
        "general": [*(error for form in every for error in form.non_field_errors()), *hidden],
    }
