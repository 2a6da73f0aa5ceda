from django.urls import include, path

from portal.access.views import profile, roles, security, sign_in, sso, staff

staff_urls = [
    path("", staff.staff_list, name="staff"),
    path("invite/", staff.staff_invite, name="staff-invite"),
    path("roles/", roles.roles, name="roles"),
    path("roles/new/", roles.role_create, name="role-create"),
    path("roles/preview/", roles.role_preview, name="role-preview"),
    path("roles/<uuid:public_id>/", roles.role_edit, name="role-edit"),
    path("roles/<uuid:public_id>/archive/", roles.role_archive, name="role-archive"),
    path("<uuid:public_id>/", staff.staff_member, name="staff-member"),
    path("<uuid:public_id>/role/", staff.staff_role, name="staff-role"),
    path("<uuid:public_id>/disable/", staff.staff_disable, name="staff-disable"),
    path("<uuid:public_id>/enable/", staff.staff_enable, name="staff-enable"),
    path("<uuid:public_id>/reset-password/", staff.staff_reset_password, name="staff-reset-password"),
    path("<uuid:public_id>/end-sessions/", staff.staff_end_sessions, name="staff-end-sessions"),
    path("<uuid:public_id>/end-session/<int:session>/", staff.staff_end_session, name="staff-end-session"),
    path("<uuid:public_id>/reset-second-factor/", staff.staff_reset_second_factor, name="staff-reset-second-factor"),
]

# allauth finds its pages by these names, so they are outside the namespace.
urlpatterns = [
    path("sign-in/", sign_in.sign_in, name="account_login"),
    path("sign-in/sso/", sso.sso_start, name="sso-start"),
    path("sign-in/sso/callback/", sso.sso_callback, name="sso-callback"),
    path("sign-out/", sign_in.sign_out, name="account_logout"),
    path("sign-up/", sign_in.no_sign_up, name="account_signup"),
    path("password/reset/", sign_in.forgot_password, name="account_reset_password"),
    path("password/reset/sent/", sign_in.forgot_password_sent, name="account_reset_password_done"),
    path("sign-in/second-factor/", sign_in.second_factor, name="mfa_authenticate"),
    path("sign-in/passkey/", sign_in.passkey_sign_in, name="mfa_login_webauthn"),
    path("reauthenticate/", sign_in.confirm, name="account_reauthenticate"),
    path("reauthenticate/passkey/", sign_in.confirm_passkey, name="reauthenticate-passkey"),
    path("reauthenticate/sso/", sso.sso_confirm, name="sso-confirm"),
    path("session/", sign_in.session, name="session"),
    path("invitation/<str:token>/", sign_in.set_password, name="accept-invitation"),
    path("invitation/<str:token>/sso/", sso.sso_invitation, name="sso-invitation"),
    path("me/", profile.profile, name="profile"),
    path("me/password/", profile.change_password, name="change-password"),
    path("me/sso/connect/", sso.sso_connect, name="sso-connect"),
    path("me/sso/disconnect/", sso.sso_disconnect, name="sso-disconnect"),
    path("me/security/", security.security, name="security"),
    path("me/security/app/", security.add_app, name="mfa_activate_totp"),
    path("me/security/passkey/", security.add_passkey, name="mfa_add_webauthn"),
    path("me/security/<int:factor>/remove/", security.remove_factor, name="second-factor-remove"),
    path("me/security/recovery-codes/", security.recovery_codes, name="recovery-codes"),
    path("me/security/sessions/end/", security.end_other_sessions, name="end-other-sessions"),
    path("me/security/sessions/<int:session>/end/", security.end_own_session, name="end-session"),
    path("staff/", include((staff_urls, "access"))),
]
