"""Help pages: the table of contents with search, and one page for each guide of docs/help."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from portal import guides
from portal.query_params import searchable


def help_contents(request: HttpRequest) -> HttpResponse:
    query = searchable(request.GET.get("q", ""))
    context = {"groups": guides.contents(), "query": query, "hits": guides.search_guides(query)}
    return render(request, "help/contents.html", context)


def help_guide(request: HttpRequest, slug: str) -> HttpResponse:
    guide = guides.guides().get(slug)
    if guide is None:
        raise Http404
    before, after = guides.neighbors(guide)
    return render(request, "help/guide.html", {"guide": guide, "before": before, "after": after})
