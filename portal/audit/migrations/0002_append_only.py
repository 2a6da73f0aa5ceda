from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [AppendOnly("audit_auditevent"), AppendOnly("audit_auditseal")]
