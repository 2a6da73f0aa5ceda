"""``{% load ui %}``: all components of the interface in one library. Usage: docs/interface.md."""

from django import template

from portal.ui import blocks, cells, fields, lists

register = template.Library()
for part in (cells, lists, fields, blocks):
    register.tags.update(part.register.tags)
    register.filters.update(part.register.filters)
