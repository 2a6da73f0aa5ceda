"""Figures with a status and versions, anomalies with decisions, roll-ups, and the ledger that numbers changes."""

import portal.money_field
import datetime
import django.db.models.deletion
import django.db.models.functions
import django.db.models.functions
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    # Each statement in a transaction of its own: together they would lock tables for longer than a page waits.
    atomic = False

    dependencies = [
        ('billing', '0009_scaled_costs'),
        ('customers', '0023_import_unmatched'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Anomaly',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('kind', models.CharField(choices=[('fell', 'Counter decreased'), ('contradiction', "Values don't fit together"), ('ceiling', 'More than 2.5 times the quota'), ('long_period', 'Billing period longer than 35 days'), ('cost_fell', 'Allocated cost decreased'), ('currency', 'Currency changed'), ('pool_fell', 'Pool total decreased'), ('after_deletion', 'More usage after the final reading')], max_length=16)),
                ('before', models.CharField(blank=True, default='', max_length=60)),
                ('after', models.CharField(blank=True, default='', max_length=60)),
                ('effect', models.BigIntegerField(default=0)),
                ('effect_cost', portal.money_field.ScaledDecimalField(null=True)),
                ('cause', models.CharField(blank=True, default='', max_length=64)),
                ('opened_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ('-effect', 'pk'),
            },
        ),
        migrations.CreateModel(
            name='Decision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('verdict', models.CharField(choices=[('correction', 'Correction: the later values are right'), ('reset', 'Reset: the counter began again at zero'), ('new_period', 'New period: the provider restarted the billing period'), ('wrong', "Wrong response: don't count this value"), ('counted', 'Right: count this value'), ('as_known', 'Use the usage known so far'), ('quantity', 'Enter the number of emails'), ('base_only', 'Base fee only, no overage'), ('undone', 'Decision undone')], max_length=12)),
                ('quantity', models.BigIntegerField(null=True)),
                ('reason', models.TextField(max_length=1000)),
                ('at', models.DateTimeField()),
                ('batch', models.BigIntegerField(default=0)),
            ],
            options={
                'ordering': ('at', 'pk'),
            },
        ),
        migrations.CreateModel(
            name='FigureVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('n', models.PositiveIntegerField()),
                ('from_batch', models.BigIntegerField()),
                ('to_batch', models.BigIntegerField(null=True)),
                ('at', models.DateTimeField()),
                ('cause', models.CharField(max_length=24)),
                ('month', models.DateField()),
                ('start_on', models.DateField()),
                ('end_on', models.DateField()),
                ('status', models.CharField(choices=[('final', 'Final'), ('derived', 'Derived'), ('interval', 'Interval'), ('open', 'Open'), ('stale', 'Stale'), ('missing', 'Missing'), ('disputed', 'Disputed')], max_length=10)),
                ('reason', models.CharField(blank=True, default='', max_length=24)),
                ('used', models.BigIntegerField(null=True)),
                ('high', models.BigIntegerField(null=True)),
                ('allowed', models.BigIntegerField(null=True)),
                ('overage', models.BigIntegerField(null=True)),
                ('overage_high', models.BigIntegerField(null=True)),
                ('allocated_cost', portal.money_field.ScaledDecimalField(null=True)),
                ('currency', models.CharField(blank=True, default='', max_length=3)),
                ('package', models.CharField(blank=True, default='', max_length=200)),
                ('read_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ('period', 'n'),
            },
        ),
        migrations.CreateModel(
            name='Ledger',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('last', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='MonthTotal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField()),
                ('currency', models.CharField(blank=True, default='', max_length=3)),
                ('figures', models.IntegerField()),
                ('final', models.IntegerField()),
                ('derived', models.IntegerField()),
                ('interval', models.IntegerField()),
                ('open', models.IntegerField()),
                ('stale', models.IntegerField()),
                ('missing', models.IntegerField()),
                ('disputed', models.IntegerField()),
                ('used', models.BigIntegerField()),
                ('width', models.BigIntegerField()),
                ('endless', models.IntegerField()),
                ('overage', models.BigIntegerField()),
                ('overage_width', models.BigIntegerField()),
                ('allocated_cost', portal.money_field.ScaledDecimalField()),
            ],
        ),
        migrations.CreateModel(
            name='ResetZone',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('utc', models.PositiveIntegerField(default=0)),
                ('pacific', models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='StatisticsReading',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('as_of', models.DateTimeField()),
                ('first_on', models.DateField()),
                ('last_on', models.DateField()),
                ('days', models.JSONField(default=dict)),
                ('batch', models.BigIntegerField(default=0)),
            ],
            options={
                'ordering': ('account', 'as_of'),
            },
        ),
        migrations.CreateModel(
            name='UsageRollup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField()),
                ('package', models.CharField(blank=True, default='', max_length=200)),
                ('currency', models.CharField(blank=True, default='', max_length=3)),
                ('figures', models.IntegerField()),
                ('final', models.IntegerField()),
                ('derived', models.IntegerField()),
                ('interval', models.IntegerField()),
                ('open', models.IntegerField()),
                ('stale', models.IntegerField()),
                ('missing', models.IntegerField()),
                ('disputed', models.IntegerField()),
                ('used', models.BigIntegerField()),
                ('width', models.BigIntegerField()),
                ('endless', models.IntegerField()),
                ('overage', models.BigIntegerField()),
                ('overage_width', models.BigIntegerField()),
                ('allocated_cost', portal.money_field.ScaledDecimalField()),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField("syncrun", "lower", "anomalies"),
                migrations.AlterField(
                    "syncrun", "anomalies", models.PositiveIntegerField(db_column="lower", default=0)
                ),
            ],
        ),
        # The column keeps the name that processes of 0.1.0 read.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField("usageperiod", "final", models.BooleanField(db_column="final", default=False)),
                migrations.RenameField("usageperiod", "final", "before_deletion"),
            ],
        ),
        migrations.AddField(
            model_name='pooledsnapshot',
            name='batch',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='batch',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='counts_from',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='counts_until',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='days_read',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='exported',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='high',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='inferred',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='next_seen_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='overage_high',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='package',
            field=models.CharField(blank=True, default='', max_length=200),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='read_after_end_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='reason',
            field=models.CharField(blank=True, default='', max_length=24),
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='reported_start_on',
            field=models.DateField(default=datetime.date(1970, 1, 1)),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='status',
            field=models.CharField(choices=[('final', 'Final'), ('derived', 'Derived'), ('interval', 'Interval'), ('open', 'Open'), ('stale', 'Stale'), ('missing', 'Missing'), ('disputed', 'Disputed')], default='open', max_length=10),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='usageperiod',
            name='version',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='usagesnapshot',
            name='batch',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='usageperiod',
            name='current',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.usagesnapshot'),
        ),
        migrations.AlterField(
            model_name='usageperiod',
            name='latest',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.usagesnapshot'),
        ),
        migrations.AlterField(
            model_name='usageperiod',
            name='read_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name='usageperiod',
            name='readings',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='usageperiod',
            name='used',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name='usageperiod',
            index=models.Index(models.F('month'), models.OrderBy(django.db.models.functions.Coalesce('used', -1), descending=True), name='usage_period_most_used'),
        ),
        migrations.AddIndex(
            model_name='usageperiod',
            index=models.Index(fields=['status', 'ends_at'], name='usage_period_to_assess'),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='account',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='usage_anomalies', to='customers.account'),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='connection',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='usage_anomalies', to='customers.connection'),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='owner',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='period',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='anomalies', to='billing.usageperiod'),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='pooled',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='anomalies', to='billing.pooledsnapshot'),
        ),
        migrations.AddField(
            model_name='anomaly',
            name='snapshot',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='anomalies', to='billing.usagesnapshot'),
        ),
        migrations.AddField(
            model_name='decision',
            name='anomaly',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='billing.anomaly'),
        ),
        migrations.AddField(
            model_name='decision',
            name='by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='decision',
            name='period',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='billing.usageperiod'),
        ),
        migrations.AddField(
            model_name='figureversion',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.account'),
        ),
        migrations.AddField(
            model_name='figureversion',
            name='period',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='billing.usageperiod'),
        ),
        migrations.AddField(
            model_name='monthtotal',
            name='connection',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.connection'),
        ),
        migrations.AddField(
            model_name='resetzone',
            name='connection',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='reset_zone', to='customers.connection'),
        ),
        migrations.AddField(
            model_name='statisticsreading',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='statistics_readings', to='customers.account'),
        ),
        migrations.AddField(
            model_name='usagerollup',
            name='connection',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.connection'),
        ),
        migrations.AddField(
            model_name='usagerollup',
            name='customer',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.customer'),
        ),
        migrations.AddIndex(
            model_name='anomaly',
            index=models.Index(fields=['closed_at', '-effect'], name='anomaly_open_by_effect'),
        ),
        migrations.AddIndex(
            model_name='anomaly',
            index=models.Index(fields=['cause', 'closed_at'], name='anomaly_of_cause'),
        ),
        migrations.AddConstraint(
            model_name='anomaly',
            constraint=models.UniqueConstraint(condition=models.Q(('snapshot__isnull', False)), fields=('snapshot', 'kind'), name='anomaly_once_per_reading'),
        ),
        migrations.AddConstraint(
            model_name='anomaly',
            constraint=models.UniqueConstraint(condition=models.Q(('pooled__isnull', False), ('snapshot', None)), fields=('pooled', 'kind'), name='anomaly_once_per_pool_reading'),
        ),
        migrations.AddConstraint(
            model_name='decision',
            constraint=models.CheckConstraint(condition=models.Q(('anomaly__isnull', False), ('period__isnull', False), _connector='OR'), name='decision_about_something'),
        ),
        migrations.AddConstraint(
            model_name='decision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('quantity__gte', 0), ('verdict', 'quantity')), models.Q(models.Q(('verdict', 'quantity'), _negated=True), ('quantity', None)), _connector='OR'), name='decision_quantity_is_typed'),
        ),
        migrations.AddIndex(
            model_name='figureversion',
            index=models.Index(fields=['month', 'from_batch'], name='figure_version_of_month'),
        ),
        migrations.AddConstraint(
            model_name='figureversion',
            constraint=models.UniqueConstraint(fields=('period', 'n'), name='figure_version_once'),
        ),
        migrations.AddConstraint(
            model_name='figureversion',
            constraint=models.UniqueConstraint(condition=models.Q(('to_batch', None)), fields=('period',), name='figure_version_one_is_current'),
        ),
        migrations.AddConstraint(
            model_name='figureversion',
            constraint=models.CheckConstraint(condition=models.Q(('to_batch', None), ('to_batch__gt', models.F('from_batch')), _connector='OR'), name='figure_version_in_order'),
        ),
        migrations.AddConstraint(
            model_name='monthtotal',
            constraint=models.UniqueConstraint(fields=('month', 'connection', 'currency'), name='month_total_once'),
        ),
        migrations.AddConstraint(
            model_name='statisticsreading',
            constraint=models.UniqueConstraint(fields=('account', 'as_of'), name='statistics_reading_once'),
        ),
        migrations.AddIndex(
            model_name='usagerollup',
            index=models.Index(fields=['month', 'connection'], name='usage_rollup_of_month'),
        ),
        migrations.AddConstraint(
            model_name='usagerollup',
            constraint=models.UniqueConstraint(fields=('month', 'customer', 'connection', 'package', 'currency'), name='usage_rollup_once'),
        ),
    ]
