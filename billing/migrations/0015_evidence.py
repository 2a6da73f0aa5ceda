"""Midnight readings, runs over statistics, and until when a learned time zone counts."""

import django.db.models.deletion
from django.db import migrations, models

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [
        ("billing", "0014_worklist"),
        ('customers', '0024_spans'),
    ]

    operations = [
        migrations.AddField(
            model_name='resetzone',
            name='applied',
            field=models.CharField(blank=True, default='', max_length=40),
        ),
        migrations.AddField(
            model_name='resetzone',
            name='pacific_on',
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name='resetzone',
            name='position',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='resetzone',
            name='utc_on',
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name='syncrun',
            name='position',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='syncrun',
            name='kind',
            field=models.CharField(choices=[('nightly', 'Nightly'), ('asked', 'Manual'), ('deadline', 'Before period end'), ('midnight', 'At midnight'), ('statistics', 'Statistics')], max_length=10),
        ),
        migrations.CreateModel(
            name='MidnightReading',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('zone', models.CharField(max_length=64)),
                ('at', models.DateTimeField()),
                ('reported_start_on', models.DateField()),
                ('used', models.BigIntegerField()),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='midnight_readings', to='customers.account')),
            ],
            options={
                'ordering': ('account', 'day'),
                'constraints': [models.UniqueConstraint(fields=('account', 'day', 'zone'), name='midnight_reading_once')],
            },
        ),
        AppendOnly("billing_midnightreading"),
    ]
