from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def _later(request: HttpRequest, **_: object) -> HttpResponse:
    raise Http404


no_sign_up = staff_list = staff_invite = staff_member = staff_role = staff_disable = staff_enable = _later
staff_reset_password = staff_end_sessions = accept_invitation = profile = change_password = _later
