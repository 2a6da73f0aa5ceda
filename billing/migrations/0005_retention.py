from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0004_pooled'),
    ]

    operations = [
        migrations.AddField(
            model_name='syncrun',
            name='items_removed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='syncrun',
            name='removed_causes',
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
