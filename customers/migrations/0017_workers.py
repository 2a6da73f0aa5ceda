from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0016_submissions"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="heartbeat",
            options={"ordering": ("kind", "name", "-started_at")},
        ),
        migrations.RemoveConstraint(
            model_name="heartbeat",
            name="heartbeat_once",
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="ended_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="instance",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="queues",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="heartbeat",
            constraint=models.UniqueConstraint(fields=("kind", "name", "instance"), name="heartbeat_once"),
        ),
    ]
