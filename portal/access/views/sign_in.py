"""Views of signing in and out, confirming, and setting a password. Sign-in is allauth's; the pages and the links are
the portal's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from allauth.account.stages import LoginStageController
from allauth.account.views import LoginView, LogoutView
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.webauthn.views import LoginWebAuthnView
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from portal import audit, htmx
from portal.access import links, sessions, staff, throttling
from portal.access.adapter import StaffAdapter
from portal.access.forms import CodeForm, ForgotForm, NewPasswordForm, PasskeyForm, PasskeySignInForm, SignInForm
from portal.access.models import User
from portal.access.reauth import ConfirmForm, passkey_options
from portal.access.second_factor import has_one
from portal.access.sso.queries import connects, needs_sso
from portal.access.sso.stages import SecondFactorStage
from portal.htmx import go_to
from portal.queue import enqueue_on_commit

MAIL_RESET_LINK = "access.mail_reset_link"


class Refusing:
    """Response 422 for an invalid form, as everywhere in the portal."""

    def form_invalid(self: Any, form: Form) -> Any:
        return self.render_to_response(self.get_context_data(form=form), status=HTTPStatus.UNPROCESSABLE_ENTITY)


class SignInView(Refusing, LoginView):  # type: ignore[misc]
    form_class = SignInForm


class SecondFactorView(AuthenticateView):  # type: ignore[misc]  # allauth has no types
    """Second step of a sign-in: a code or a passkey."""

    form_class = CodeForm
    webauthn_form_class = PasskeyForm
    template_name = "account/second_factor.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take the code or the passkey. Begin anew if the person wants to, or if the second factor was reset since."""
        stage = LoginStageController.enter(request, SecondFactorStage.key)
        if stage and ("anew" in request.POST or not stage.login.user or not has_one(stage.login.user)):
            return stage.abort()  # type: ignore[no-any-return]  # allauth has no types
        return super().dispatch(request, *args, **kwargs)  # type: ignore[no-any-return]  # as above

    def form_invalid(self, form: Form) -> HttpResponse:
        if isinstance(form, PasskeyForm):
            audit.record(actor=None, verb="staff.passkey_failed", obj=self.stage.login.user, request=self.request)
        response: HttpResponse = super().form_invalid(form)
        response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        user = self.stage.login.user
        return context | ConfirmForm(request=self.request, user=user).ways() | {"person": user}


class PasskeySignIn(LoginWebAuthnView):  # type: ignore[misc]  # allauth has no types
    """Sign-in with a passkey alone: GET returns what the browser asks for, POST takes its answer."""

    form_class = PasskeySignInForm

    def form_invalid(self, form: Form) -> HttpResponse:
        audit.record(actor=None, verb="staff.passkey_failed", obj=None, request=self.request)
        messages.error(self.request, _("This passkey wasn't accepted. Try again, or sign in with your password."))
        return HttpResponseRedirect(resolve_url("account_login"))


class SignOut(LogoutView):  # type: ignore[misc]
    def post(self, *args: object, **kwargs: object) -> HttpResponse:
        response: HttpResponse = super().post(*args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'  # not the storage: it holds the selected theme
        return response


sign_in = SignInView.as_view()
second_factor = SecondFactorView.as_view()
passkey_sign_in = never_cache(PasskeySignIn.as_view())
sign_out = SignOut.as_view()


@sensitive_post_parameters("password", "code")
def confirm(request: HttpRequest) -> HttpResponse:
    """Confirm who is there, and return to the page that asked for it."""
    person = htmx.person(request)
    form = ConfirmForm(request.POST or None, request=request, user=person)
    back = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    if request.method == "POST" and form.is_valid():
        sessions.rotate(request)
        return HttpResponseRedirect(back if StaffAdapter(request).is_safe_url(back) else resolve_url("home"))
    context = {"form": form, "next": back}
    return render(request, "account/reauthenticate.html", context, status=422 if form.is_bound else 200)


@never_cache
def confirm_passkey(request: HttpRequest) -> HttpResponse:
    """Return what the browser asks the person's passkeys for, to confirm."""
    return JsonResponse({"request_options": passkey_options(htmx.person(request))})


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
    try:
        throttling.attempt(request, throttling.LINK, email)
    except throttling.NoAttemptLeft:
        return throttling.answer_429(request)
    person = User.objects.filter(email=email, is_active=True).first()
    # Whoever is known gets the mail from a worker, and nobody else gets one: the answer takes as long for both.
    enqueue_on_commit(MAIL_RESET_LINK, person.pk if person else 0)
    return go_to(request, "account_reset_password_done")


def forgot_password_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "account/password_reset_done.html")


@sensitive_post_parameters("password", "again")
def set_password(request: HttpRequest, token: str) -> HttpResponse:
    """Set a password with a one-time link. The user then signs in with it. Who needs single sign-on connects it."""
    opened = links.open_link(token, now=timezone.now())
    by_sso = opened is not None and connects(opened)
    if opened is None or (needs_sso(opened.person) and not by_sso):
        return render(request, "access/link_ended.html", status=HTTPStatus.GONE)
    person = opened.person
    if needs_sso(person):
        status = 409 if request.method == "POST" else 200
        return render(request, "access/reconnect.html", {"person": person, "token": token}, status=status)
    form = NewPasswordForm(request.POST or None, person=person)
    if request.method == "POST" and form.is_valid():
        if not staff.save_password(person=person, password=form.cleaned_data["password"], request=request):
            return render(request, "access/link_ended.html", status=HTTPStatus.GONE)
        messages.success(request, _("Password set. You can sign in now."))
        return go_to(request, "account_login")
    status = 422 if form.is_bound else 200
    context = {"form": form, "person": person, "token": token, "by_sso": by_sso}
    return render(request, "access/set_password.html", context, status=status)
