from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("customers", "0018_one_open_create"),
    ]

    operations = [
        migrations.AddField(
            model_name="heartbeat",
            name="processes",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="heartbeat",
            name="kind",
            field=models.CharField(
                choices=[("scheduler", "Scheduler"), ("worker", "Worker"), ("queue", "Queue")], max_length=10
            ),
        ),
    ]
