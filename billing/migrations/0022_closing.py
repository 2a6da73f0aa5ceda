"""Tables of closing and of provider invoices.

The order matters while an earlier release still runs: a table that is created with its foreign keys gets them at the end
of the transaction. Added one by one they would keep accounts from being written for as long as the migration takes.
"""

import django.core.serializers.json
import django.db.models.deletion
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('billing', '0021_parallel_months'),
        ('customers', '0029_bulk_submitted_at'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillingTerms',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('grace_days', models.PositiveSmallIntegerField(default=3)),
                ('number_prefix', models.CharField(blank=True, default='', max_length=12)),
                ('default_account_code', models.CharField(blank=True, default='', max_length=40)),
                ('accrued_account_code', models.CharField(blank=True, default='', max_length=40)),
                ('edits', models.PositiveIntegerField(default=0)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='billing_terms_one_row'), models.CheckConstraint(condition=models.Q(('grace_days__lte', 60)), name='billing_terms_grace_days')],
            },
        ),
        migrations.CreateModel(
            name='StatementCounter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('last', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='MonthClosing',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('fence', models.PositiveIntegerField(default=0)),
                ('not_before', models.DateTimeField()),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('month', models.DateField()),
                ('n', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('running', 'Closing'), ('closed', 'Closed'), ('failed', 'Failed')], default='running', max_length=10)),
                ('requested_at', models.DateTimeField()),
                ('note', models.CharField(blank=True, default='', max_length=300)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('position', models.BigIntegerField(default=0)),
                ('customers_total', models.PositiveIntegerField(default=0)),
                ('customers_done', models.PositiveIntegerField(default=0)),
                ('statements_closed', models.PositiveIntegerField(default=0)),
                ('held_back', models.PositiveIntegerField(default=0)),
                ('at_least', models.PositiveIntegerField(default=0)),
                ('totals', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('contents', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('seq', models.PositiveIntegerField(null=True, unique=True)),
                ('prev_hash', models.CharField(blank=True, default='', max_length=64)),
                ('row_hash', models.CharField(blank=True, default='', max_length=64)),
                ('requested_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('-month', '-n'),
                'indexes': [models.Index(fields=['state', 'not_before'], name='month_closing_due')],
                'constraints': [models.UniqueConstraint(fields=('month', 'n'), name='month_closing_once'), models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('month',), name='month_closing_one_runs'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'closed'), _negated=True), models.Q(('closed_at__isnull', False), ('seq__isnull', False), models.Q(('row_hash', ''), _negated=True)), _connector='OR'), name='month_closing_closed_is_chained')],
            },
        ),
        migrations.CreateModel(
            name='Blocker',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('month', models.DateField()),
                ('key', models.CharField(max_length=300)),
                ('kind', models.CharField(max_length=30)),
                ('offering', models.CharField(blank=True, default='', max_length=200)),
                ('currency', models.CharField(blank=True, default='', max_length=3)),
                ('money_minor', models.BigIntegerField(null=True)),
                ('weight', models.BigIntegerField(default=0)),
                ('detail', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('fingerprint', models.CharField(blank=True, default='', max_length=64)),
                ('due_on', models.DateField(blank=True, null=True)),
                ('opened_at', models.DateTimeField()),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('accepted_at', models.DateTimeField(blank=True, null=True)),
                ('accepted_reason', models.TextField(blank=True, default='', max_length=1000)),
                ('accepted_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.account')),
                ('connection', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.connection')),
                ('customer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.customer')),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('month', '-weight', 'pk'),
                'indexes': [models.Index(fields=['month', 'kind'], name='blocker_of_kind'), models.Index(condition=models.Q(('accepted_at', None), ('resolved_at', None)), fields=['month', '-weight', 'id'], name='blocker_open_by_money')],
                'constraints': [models.UniqueConstraint(fields=('month', 'key'), name='blocker_once'), models.CheckConstraint(condition=models.Q(models.Q(('connection', None), ('customer__isnull', False)), models.Q(('connection__isnull', False), ('customer', None)), _connector='OR'), name='blocker_of_customer_or_connection'), models.CheckConstraint(condition=models.Q(models.Q(('accepted_at', None), ('accepted_by', None), ('accepted_reason', '')), models.Q(('accepted_at__isnull', False), ('accepted_by__isnull', False), models.Q(('accepted_reason', ''), _negated=True)), _connector='OR'), name='blocker_accepted_with_reason')],
            },
        ),
        migrations.CreateModel(
            name='OpeningBalance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('month', models.DateField()),
                ('currency', models.CharField(max_length=3)),
                ('amount_minor', models.BigIntegerField()),
                ('description', models.CharField(max_length=200)),
                ('account_code', models.CharField(blank=True, default='', max_length=40)),
                ('tax_code', models.CharField(blank=True, default='', max_length=40)),
                ('entered_at', models.DateTimeField()),
                ('removed_at', models.DateTimeField(blank=True, null=True)),
                ('connection', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='opening_balances', to='customers.connection')),
                ('customer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='opening_balances', to='customers.customer')),
                ('entered_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('removed_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('month', 'pk'),
                'indexes': [models.Index(fields=['month', 'customer'], name='opening_balance_of_month')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('connection', None), ('customer__isnull', False)), models.Q(('connection__isnull', False), ('customer', None)), _connector='OR'), name='opening_balance_of_customer_or_connection'), models.CheckConstraint(condition=models.Q(('amount_minor', 0), _negated=True), name='opening_balance_not_zero')],
            },
        ),
        migrations.CreateModel(
            name='ProviderInvoice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('number', models.CharField(max_length=60)),
                ('issued_on', models.DateField()),
                ('currency', models.CharField(max_length=3)),
                ('total_minor', models.BigIntegerField()),
                ('filename', models.CharField(blank=True, default='', max_length=200)),
                ('note', models.CharField(blank=True, default='', max_length=300)),
                ('state', models.CharField(choices=[('entered', 'Entered'), ('withdrawn', 'Withdrawn')], default='entered', max_length=10)),
                ('withdrawn_reason', models.CharField(blank=True, default='', max_length=300)),
                ('entered_at', models.DateTimeField()),
                ('edits', models.PositiveIntegerField(default=0)),
                ('closing', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='invoices', to='billing.monthclosing')),
                ('connection', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='provider_invoices', to='customers.connection')),
                ('entered_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ('-issued_on', '-pk'),
                'indexes': [models.Index(fields=['connection', '-issued_on'], name='provider_invoice_of')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'entered')), fields=('connection', 'number'), name='provider_invoice_once'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'withdrawn'), _negated=True), models.Q(('withdrawn_reason', ''), _negated=True), _connector='OR'), name='provider_invoice_withdrawn_says_why')],
            },
        ),
        migrations.CreateModel(
            name='ProviderInvoiceLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('n', models.PositiveIntegerField()),
                ('kind', models.CharField(choices=[('base', 'Base fee'), ('overage', 'Overage'), ('addon', 'Add-on'), ('dedicated_ip', 'Dedicated IP'), ('credit', 'Credit'), ('tax', 'Tax')], max_length=14)),
                ('account_text', models.CharField(blank=True, default='', max_length=300)),
                ('offering', models.CharField(blank=True, default='', max_length=200)),
                ('description', models.CharField(blank=True, default='', max_length=300)),
                ('start_on', models.DateField()),
                ('end_on', models.DateField()),
                ('quantity', models.BigIntegerField(blank=True, null=True)),
                ('amount_minor', models.BigIntegerField()),
                ('account', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.account')),
                ('invoice', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='billing.providerinvoice')),
            ],
            options={
                'ordering': ('invoice', 'n'),
                'indexes': [models.Index(fields=['end_on', 'invoice'], name='provider_invoice_line_until')],
                'constraints': [models.UniqueConstraint(fields=('invoice', 'n'), name='provider_invoice_line_once'), models.CheckConstraint(condition=models.Q(('end_on__gte', models.F('start_on'))), name='provider_invoice_line_days')],
            },
        ),
        migrations.CreateModel(
            name='InvoiceComparison',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField()),
                ('currency', models.CharField(max_length=3)),
                ('invoice_minor', models.BigIntegerField(default=0)),
                ('cost_minor', models.BigIntegerField(default=0)),
                ('billed', models.JSONField(default=dict)),
                ('carried_minor', models.BigIntegerField(default=0)),
                ('accepted_minor', models.BigIntegerField(default=0)),
                ('tolerance_minor', models.BigIntegerField(default=0)),
                ('invoices', models.PositiveIntegerField(default=0)),
                ('only_provider', models.PositiveIntegerField(default=0)),
                ('only_ours', models.PositiveIntegerField(default=0)),
                ('different', models.PositiveIntegerField(default=0)),
                ('equal', models.PositiveIntegerField(default=0)),
                ('stamp', models.CharField(blank=True, default='', max_length=64)),
                ('compared_at', models.DateTimeField()),
                ('connection', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='invoice_comparisons', to='customers.connection')),
                ('closing', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.monthclosing')),
            ],
            options={
                'ordering': ('-month', 'connection', 'currency'),
                'indexes': [models.Index(fields=['month'], name='invoice_comparison_of_month')],
                'constraints': [models.UniqueConstraint(fields=('connection', 'month', 'currency'), name='invoice_comparison_once')],
            },
        ),
        migrations.CreateModel(
            name='InvoiceMatch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('n', models.PositiveIntegerField()),
                ('account_text', models.CharField(blank=True, default='', max_length=300)),
                ('kind', models.CharField(max_length=14)),
                ('start_on', models.DateField()),
                ('end_on', models.DateField()),
                ('invoice_minor', models.BigIntegerField(null=True)),
                ('cost_minor', models.BigIntegerField(null=True)),
                ('billed_minor', models.BigIntegerField(null=True)),
                ('billed_currency', models.CharField(blank=True, default='', max_length=3)),
                ('is_billed', models.BooleanField(default=False)),
                ('result', models.CharField(choices=[('only_provider', 'Billed by the provider and not by us'), ('only_ours', 'Billed by us and not by the provider'), ('different', 'Different amount'), ('equal', 'Equal')], max_length=14)),
                ('distance', models.BigIntegerField(default=0)),
                ('lines', models.JSONField(default=list)),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='customers.account')),
                ('comparison', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='matches', to='billing.invoicecomparison')),
            ],
            options={
                'ordering': ('comparison', 'n'),
                'indexes': [models.Index(fields=['comparison', 'result', '-distance', 'id'], name='invoice_match_by_distance')],
                'constraints': [models.UniqueConstraint(fields=('comparison', 'n'), name='invoice_match_once')],
            },
        ),
        migrations.CreateModel(
            name='StatementCase',
            fields=[
                ('statement', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='frozen', serialize=False, to='billing.statement')),
                ('case', models.TextField()),
            ],
        ),
        migrations.AddField(
            model_name='connectionbilling',
            name='tolerance_minor',
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='statement',
            name='closed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='statement',
            name='digest',
            field=models.CharField(blank=True, db_default='', default='', max_length=64),
        ),
        migrations.AddField(
            model_name='statement',
            name='number',
            field=models.BigIntegerField(null=True, unique=True),
        ),
        migrations.AddField(
            model_name='statementline',
            name='adjusts',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='adjustments', to='billing.statement'),
        ),
        migrations.AddField(
            model_name='statementline',
            name='figure',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.figureversion'),
        ),
        migrations.AlterField(
            model_name='statement',
            name='state',
            field=models.CharField(choices=[('draft', 'Draft'), ('closed', 'Closed')], default='draft', max_length=10),
        ),
        migrations.AlterField(
            model_name='statementline',
            name='kind',
            field=models.CharField(choices=[('base', 'Base fee'), ('addon', 'Add-on'), ('dedicated_ip', 'Dedicated IP'), ('overage', 'Overage'), ('invoice_share', 'Share of the invoice'), ('commit', 'Minimum commit'), ('one_time', 'One-time fee'), ('opening', 'Opening balance'), ('adjustment', 'Adjustment')], max_length=14),
        ),
        migrations.AddIndex(
            model_name='statementline',
            index=models.Index(condition=models.Q(('adjusts__isnull', False)), fields=['adjusts'], name='statement_line_adjusts'),
        ),
        migrations.AddIndex(
            model_name='statementline',
            index=models.Index(condition=models.Q(('figure__isnull', False)), fields=['figure'], name='statement_line_of_figure'),
        ),
        migrations.AddConstraint(
            model_name='statementline',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('adjusts__isnull', False), ('kind', 'adjustment')), models.Q(models.Q(('kind', 'adjustment'), _negated=True), ('adjusts', None)), _connector='OR'), name='statement_line_adjusts_a_statement'),
        ),
        migrations.AddField(
            model_name='statement',
            name='closing',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='statements', to='billing.monthclosing'),
        ),
        migrations.AddIndex(
            model_name='statement',
            index=models.Index(condition=models.Q(('closing__isnull', False)), fields=['closing'], name='statement_of_closing'),
        ),
        migrations.AddConstraint(
            model_name='statement',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('closed_at', None), ('closing', None), ('digest', ''), ('number', None), ('state', 'draft')), models.Q(('closed_at__isnull', False), ('closing__isnull', False), ('state', 'closed'), models.Q(('digest', ''), _negated=True)), _connector='OR'), name='statement_closed_by_a_run'),
        ),
    ]
