from allauth.account import views as account
from django.urls import include, path

from portal.access import views

staff = [
    path("", views.staff_list, name="staff"),
    path("invite/", views.staff_invite, name="staff-invite"),
    path("<uuid:public_id>/", views.staff_member, name="staff-member"),
    path("<uuid:public_id>/role/", views.staff_role, name="staff-role"),
    path("<uuid:public_id>/disable/", views.staff_disable, name="staff-disable"),
    path("<uuid:public_id>/enable/", views.staff_enable, name="staff-enable"),
    path("<uuid:public_id>/reset-password/", views.staff_reset_password, name="staff-reset-password"),
    path("<uuid:public_id>/end-sessions/", views.staff_end_sessions, name="staff-end-sessions"),
]

# allauth finds its views by these names, so they stand outside the namespace.
urlpatterns = [
    path("sign-in/", account.login, name="account_login"),
    path("sign-out/", account.logout, name="account_logout"),
    path("sign-up/", views.no_sign_up, name="account_signup"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/sent/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "password/reset/<str:uidb36>/<str:key>/",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/done/", account.password_reset_from_key_done, name="account_reset_password_from_key_done"
    ),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("invitation/<str:token>/", views.accept_invitation, name="accept-invitation"),
    path("me/", views.profile, name="profile"),
    path("me/password/", views.change_password, name="change-password"),
    path("staff/", include((staff, "access"))),
]
