from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_texts'),
    ]

    operations = [
        migrations.AlterField(
            model_name='syncitem',
            name='state',
            field=models.CharField(choices=[('pending', 'Pending'), ('done', 'Synced'), ('failed', 'Failed'), ('skipped', 'Skipped')], default='pending', max_length=10),
        ),
        migrations.AlterField(
            model_name='syncrun',
            name='kind',
            field=models.CharField(choices=[('nightly', 'Nightly'), ('asked', 'Manual'), ('deadline', 'Before period end')], max_length=10),
        ),
        migrations.AlterField(
            model_name='syncrun',
            name='state',
            field=models.CharField(choices=[('running', 'In progress'), ('complete', 'Completed'), ('complete_with_errors', 'Completed with errors'), ('paused', 'Paused'), ('aborted', 'Stopped')], default='running', max_length=20),
        ),
    ]
