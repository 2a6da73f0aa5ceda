"""``{% load ui %}``: every component of the interface under one name. How to use each: docs/interface.md."""

from django import template

from portal.ui import blocks, cells, fields, lists

register = template.Library()
for part in (cells, lists, fields, blocks):
    register.tags.update(part.register.tags)
    register.filters.update(part.register.filters)
