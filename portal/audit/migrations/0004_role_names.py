"""Room for the name of a custom role. On PostgreSQL a longer limit rewrites nothing, and the release before runs on it."""

from django.db import migrations, models

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_search")]

    operations = [
        migrations.AlterField(
            model_name="auditevent",
            name="actor_role",
            field=models.CharField(blank=True, default="", max_length=60),
        ),
        AppendOnly("audit_auditevent"),
    ]
