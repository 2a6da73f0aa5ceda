"""The portal's URLs and those of the floors it is compared with."""

from tests.bench.floors import urls

urlpatterns = urls()
