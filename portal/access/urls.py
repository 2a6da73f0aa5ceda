from django.urls import include, path

from portal.access.views import profile, sign_in, staff

staff_urls = [
    path("", staff.staff_list, name="staff"),
    path("invite/", staff.staff_invite, name="staff-invite"),
    path("<uuid:public_id>/", staff.staff_member, name="staff-member"),
    path("<uuid:public_id>/role/", staff.staff_role, name="staff-role"),
    path("<uuid:public_id>/disable/", staff.staff_disable, name="staff-disable"),
    path("<uuid:public_id>/enable/", staff.staff_enable, name="staff-enable"),
    path("<uuid:public_id>/reset-password/", staff.staff_reset_password, name="staff-reset-password"),
    path("<uuid:public_id>/end-sessions/", staff.staff_end_sessions, name="staff-end-sessions"),
]

# allauth finds its pages by these names, so they are outside the namespace.
urlpatterns = [
    path("sign-in/", sign_in.sign_in, name="account_login"),
    path("sign-out/", sign_in.sign_out, name="account_logout"),
    path("sign-up/", sign_in.no_sign_up, name="account_signup"),
    path("password/reset/", sign_in.forgot_password, name="account_reset_password"),
    path("password/reset/sent/", sign_in.forgot_password_sent, name="account_reset_password_done"),
    path("reauthenticate/", sign_in.password_again, name="account_reauthenticate"),
    path("session/", sign_in.session, name="session"),
    path("invitation/<str:token>/", sign_in.set_password, name="accept-invitation"),
    path("me/", profile.profile, name="profile"),
    path("me/password/", profile.change_password, name="change-password"),
    path("staff/", include((staff_urls, "access"))),
]
