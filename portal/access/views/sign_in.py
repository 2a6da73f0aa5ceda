"""Views of signing in and out and of setting a password. Sign-in is allauth's; the pages and the links are the
portal's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from allauth.account.views import LoginView, LogoutView, ReauthenticateView
from allauth.core import ratelimit
from allauth.decorators import rate_limit
from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from portal.access import links, mail, staff
from portal.access.forms import ForgotForm, NewPasswordForm, PasswordAgainForm, SignInForm
from portal.access.models import User
from portal.htmx import go_to


class Refusing:
    """Response 422 for an invalid form, as everywhere in the portal."""

    def form_invalid(self: Any, form: Form) -> Any:
        return self.render_to_response(self.get_context_data(form=form), status=HTTPStatus.UNPROCESSABLE_ENTITY)


class SignInView(Refusing, LoginView):  # type: ignore[misc]
    form_class = SignInForm


class PasswordAgain(Refusing, ReauthenticateView):  # type: ignore[misc]
    form_class = PasswordAgainForm


class SignOut(LogoutView):  # type: ignore[misc]
    def post(self, *args: object, **kwargs: object) -> HttpResponse:
        response: HttpResponse = super().post(*args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'  # not the storage: it holds the selected theme
        return response


sign_in = SignInView.as_view()
sign_out = SignOut.as_view()
password_again = PasswordAgain.as_view()


def session(request: HttpRequest) -> HttpResponse:
    """Render who is signed in, with the session's token, for a form that is to be sent again."""
    return render(request, "access/unsent/_session.html")


def no_sign_up(request: HttpRequest) -> HttpResponse:
    return render(request, "account/signup.html")


def forgot_password(request: HttpRequest) -> HttpResponse:
    """Send a reset link. The response does not reveal whether the address is known."""
    form = ForgotForm(request.POST or None)
    if request.method != "POST":
        return render(request, "account/password_reset.html", {"form": form})
    if not form.is_valid():
        return render(request, "account/password_reset.html", {"form": form}, status=422)
    email = form.cleaned_data["email"].lower()
    if too_many := ratelimit.consume_or_429(request, action="reset_password", key=email):
        return too_many  # type: ignore[no-any-return]
    person = User.objects.filter(email=email, is_active=True).first()
    if person:
        link = links.make_link(person=person, lasts=links.FORGOT, now=timezone.now(), request=request)
        mail.send_reset(person=person, link=link)
    else:
        mail.send_unknown_address(email=email)
    return go_to(request, "account_reset_password_done")


def forgot_password_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "account/password_reset_done.html")


@rate_limit(action="reset_password_from_key")  # type: ignore[untyped-decorator]  # allauth has no types
@sensitive_post_parameters("password", "again")
def set_password(request: HttpRequest, token: str) -> HttpResponse:
    """Set a password with a one-time link. The user then signs in with it."""
    person = links.person_of(token, now=timezone.now())
    if person is None:
        return render(request, "access/link_ended.html", status=HTTPStatus.GONE)
    form = NewPasswordForm(request.POST or None, person=person)
    if request.method == "POST" and form.is_valid():
        if not staff.save_password(person=person, password=form.cleaned_data["password"], request=request):
            return render(request, "access/link_ended.html", status=HTTPStatus.GONE)
        messages.success(request, _("Password set. You can sign in now."))
        return go_to(request, "account_login")
    status = 422 if form.is_bound else 200
    return render(request, "access/set_password.html", {"form": form, "person": person}, status=status)
