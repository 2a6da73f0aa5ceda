from django.urls import path

from portal.privacy import views

app_name = "privacy"
urlpatterns = [
    path("", views.request_list, name="list"),
    path("search/", views.person_search, name="search"),
    path("<uuid:public_id>/", views.request_detail, name="detail"),
    path("<uuid:public_id>/progress/", views.request_progress, name="progress"),
    path("<uuid:public_id>/export/", views.export_data, name="export"),
    path("<uuid:public_id>/file/", views.request_file, name="file"),
    path("<uuid:public_id>/erase/", views.request_erase, name="erase"),
]
