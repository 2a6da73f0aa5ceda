"""The components with a template: rendered through ``{% load ui %}`` as pages do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django import forms
from django.core.paginator import Paginator
from django.template import Context, Template
from django.test import RequestFactory

AT = datetime(2026, 11, 18, 14, 21, tzinfo=UTC)


def render(source: str, path: str = "/customers/", **context: Any) -> str:
    request = RequestFactory().get(path)
    return Template("{% load ui %}" + source).render(Context({"request": request, **context}))


class Form(forms.Form):
    email = forms.EmailField(help_text="We <write> to it.")
    note = forms.CharField(widget=forms.Textarea, required=False)
    package = forms.ChoiceField(choices=[("a", "A"), ("b", "B")])
    why = forms.ChoiceField(choices=[("u", "Unpaid"), ("x", "<Other>")], widget=forms.RadioSelect)
    quantity = forms.IntegerField(min_value=0)
    agreed = forms.BooleanField()
    version = forms.IntegerField(widget=forms.HiddenInput)

    def clean(self) -> None:
        raise forms.ValidationError("The list changed <meanwhile>.")


def test_a_field_ties_label_hint_and_error_to_its_control() -> None:
    html = render("{% field form.email %}", form=Form({"email": "no<at>"}))
    assert 'for="id_email"' in html
    assert 'aria-describedby="id_email_hint id_email_error"' in html
    assert 'aria-invalid="true"' in html
    assert 'value="no&lt;at&gt;"' in html
    assert "We &lt;write&gt; to it." in html
    assert html.count('id="id_email_error"') == 1
    assert html.count("aria-describedby") == 1


def test_a_fresh_field_points_at_no_error() -> None:
    html = render("{% field form.package %}", form=Form())
    assert "aria-describedby" not in html
    assert "aria-invalid" not in html
    assert "pk-select" in html


def test_a_radio_group_is_a_fieldset_with_legend_and_errors() -> None:
    html = render('{% field form.why look="chips" label="Why so" %}', form=Form({}))
    assert "<fieldset" in html
    assert "<legend" in html
    assert "Why so" in html
    assert 'aria-describedby="id_why_error"' in html
    assert html.count('type="radio"') == 2
    assert html.count('class="pk-tick"') == 2
    assert "&lt;Other&gt;" in html


def test_keywords_become_attributes_and_a_stepper_stays_numeric() -> None:
    html = render('{% field form.quantity look="stepper" hx_get=url autofocus="on" %}', form=Form(), url="/x/?a=1&b=2")
    assert 'type="number"' in html
    assert 'hx-get="/x/?a=1&amp;b=2"' in html
    assert 'autofocus="on"' in html
    assert re.search(r"<button[^>]*data-step=\"-1\"[^>]*hidden", html)


def test_only_what_may_stay_empty_is_called_optional() -> None:
    assert "optional" in render("{% field form.note %}", form=Form())
    assert "optional" not in render("{% field form.email %}", form=Form())


def test_the_summary_links_to_fields_and_tells_of_hidden_ones() -> None:
    html = render("{% form_errors form %}", form=Form({"email": "a@b.example"}))
    assert 'href="#id_package"' in html
    assert 'href="#id_email"' not in html
    assert "The list changed &lt;meanwhile&gt;." in html
    assert "id_version" not in html
    assert html.count("This field is required.") >= 2
    assert render("{% form_errors form %}", form=Form()).strip() == ""


def test_every_link_of_the_summary_has_its_target_in_the_form() -> None:
    form = Form({})
    html = render(
        "{% form_errors form %}{% field form.email %}{% field form.package %}{% field form.why %}"
        "{% field form.quantity %}{% field form.agreed %}",
        form=form,
    )
    targets = re.findall(r'href="#([^"]+)"', html)
    assert len(targets) == 5
    for target in targets:
        assert f'id="{target}"' in html, target


def test_the_pager_keeps_the_rest_of_the_address() -> None:
    page = Paginator(range(248), 50).page(2)
    html = render("{% pager page %}", "/customers/?q=a%26b&state=active&page=2", page=page)
    assert "51\u2013100 of 248" in html
    assert 'href="/customers/?q=a%26b&amp;state=active&amp;page=1"' in html
    assert 'hx-get="/customers/?q=a%26b&amp;state=active&amp;page=3"' in html


def test_a_single_page_offers_no_way_on() -> None:
    html = render("{% pager page %}", page=Paginator(range(3), 50).page(1))
    assert "1\u20133 of 3" in html
    assert "href" not in html


@pytest.mark.parametrize(
    ("query", "order", "following"),
    [
        ("", None, "sort=name"),
        ("?sort=name&page=4", "ascending", "sort=-name"),
        ("?sort=-name", "descending", "sort=name"),
    ],
)
def test_a_sort_head_turns_round_and_starts_at_the_first_page(query: str, order: str | None, following: str) -> None:
    html = render('{% sort_head "name" "Customer" %}', f"/customers/{query}")
    assert f'href="/customers/?{following}"' in html
    assert (f'aria-sort="{order}"' in html) is (order is not None)


def test_a_search_keeps_what_was_typed_and_the_other_filters() -> None:
    tag = '{% list_search "Search by customer" "Customer" kept %}'
    html = render(tag, "/customers/?q=%3Cb%3E&state=held&page=3", kept=[("state", "held")])
    assert 'action="/customers/"' in html
    assert 'value="&lt;b&gt;"' in html
    assert '<input type="hidden" name="state" value="held">' in html
    assert "page" not in html


def test_a_filter_is_offered_then_shown_with_a_link_to_clear_it() -> None:
    choices = [("", "Any"), ("held", "Held <by>"), ("active", "Active")]
    offered = render('{% filter_chip "state" "State" choices %}', "/customers/?q=x&page=3", choices=choices)
    assert 'href="/customers/?q=x&amp;state=held"' in offered
    assert "Any" not in offered
    assert "Held &lt;by&gt;" in offered
    applied = render('{% filter_chip "state" "State" choices %}', "/customers/?q=x&state=held", choices=choices)
    assert "pk-on" in applied
    assert "Held &lt;by&gt;" in applied
    assert 'href="/customers/?q=x"' in applied


def test_a_filter_value_nobody_knows_is_shown_as_it_is() -> None:
    assert "&lt;script&gt;" in render('{% filter_chip "state" "State" choices %}', "/?state=<script>", choices=[])


def test_a_notice_keeps_its_markup_and_escapes_what_is_put_in() -> None:
    html = render('{% notice "warn" title %}<p>{{ text }}</p>{% endnotice %}', title="<t>", text="<x>")
    assert "&lt;t&gt;" in html
    assert "<p>&lt;x&gt;</p>" in html
    assert "pk-n-warn" in html


def test_steps_say_in_words_what_the_marks_show() -> None:
    items = [
        {"label": "Queued", "state": "done", "at": AT},
        {"label": "Sending <it>", "state": "now", "note": "6 s"},
        {"label": "Read back", "state": "next"},
    ]
    html = render("{% steps items %}", items=items)
    assert "14:21:00" in html
    assert 'aria-current="step"' in html
    assert "Sending &lt;it&gt;" in html
    for words in ("completed", "in progress", "pending"):
        assert words in html


def test_copyable_text_is_escaped_in_both_places() -> None:
    html = render("{% copyable text 'id' %}", text='a"b<c')
    assert html.count("a&quot;b&lt;c") == 2
    assert "hidden" in html


def test_a_timeline_item_and_a_source_line() -> None:
    source = "{% timeline_item 'note' at title by=by %}<q>{{ x }}</q>{% endtimeline_item %}"
    item = render(source, at=AT, title="<Note>", by="<Ada>", x="<")
    assert "&lt;Note&gt;" in item
    assert "&lt;Ada&gt;" in item
    assert "<q>&lt;</q>" in item
    assert "14:21" in item
    line = render("{% source_line at name %}", at=AT, name="SendGrid <v3>")
    assert "SendGrid &lt;v3&gt;" in line
    following = render("{% source_line at name next_at=at %}", at=AT, name="SendGrid")
    assert "next update at <time" in following
    assert "14:21 UTC</time>" in following
    assert "No data yet from <b>SendGrid</b>" in render("{% source_line None 'SendGrid' %}")


def test_an_empty_list_says_what_to_do() -> None:
    html = render("{% blank_state title 'Text' '/x/?a=1' 'Clear' %}", title="No <one>")
    assert "No &lt;one&gt;" in html
    assert 'href="/x/?a=1"' in html


def test_an_element_that_polls_leaves_out_what_is_empty() -> None:
    html = render("{% poll '/x/' 15 was='queued,done' bare='' %}")
    swap = 'hx-target="this" hx-swap="morph"'
    assert html == f'hx-get="/x/?was=queued,done" hx-trigger="poll" {swap} data-poll="15"'
    assert render("{% poll here %}", here="/x/?a=1&b=2").startswith('hx-get="/x/?a=1&amp;b=2" hx-trigger="poll" ')
