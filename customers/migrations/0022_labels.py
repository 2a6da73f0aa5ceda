from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0021_texts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='account',
            name='desired_state',
            field=models.CharField(choices=[('active', 'Active'), ('stopped_by_us', 'Suspended'), ('deleted', 'Deleted')], default='active', max_length=20),
        ),
        migrations.AlterField(
            model_name='account',
            name='email',
            field=models.EmailField(help_text='The email address the account was created with.', max_length=254),
        ),
        migrations.AlterField(
            model_name='account',
            name='state',
            field=models.CharField(choices=[('pending', 'Pending'), ('active', 'Active'), ('stopped_by_us', 'Suspended'), ('stopped_by_provider', 'Blocked by provider'), ('banned', 'Banned'), ('indeterminate', 'Indeterminate'), ('deleted', 'Deleted'), ('unknown', 'Unknown')], default='pending', max_length=20),
        ),
        migrations.AlterField(
            model_name='accountimport',
            name='state',
            field=models.CharField(choices=[('proposed', 'Draft'), ('running', 'In progress'), ('paused', 'Paused'), ('ended', 'Completed')], default='proposed', max_length=10),
        ),
        migrations.AlterField(
            model_name='accountimportitem',
            name='basis',
            field=models.CharField(choices=[('listed', 'In your list'), ('email', 'Same email'), ('company', 'Same company'), ('new', 'New customer'), ('none', 'No clear match')], max_length=10),
        ),
        migrations.AlterField(
            model_name='accountimportitem',
            name='state',
            field=models.CharField(choices=[('waiting', 'Pending'), ('done', 'Imported'), ('failed', 'Failed'), ('left', 'Not selected')], default='waiting', max_length=10),
        ),
        migrations.AlterField(
            model_name='changeset',
            name='kind',
            field=models.CharField(choices=[('suspend', 'Suspend'), ('unsuspend', 'Unsuspend'), ('package', 'Change package'), ('addon_add', 'Add add-on'), ('addon_remove', 'Remove add-on'), ('cap', 'Set monthly cap'), ('tag_add', 'Add tag'), ('tag_remove', 'Remove tag'), ('delete', 'Delete account')], max_length=20),
        ),
        migrations.AlterField(
            model_name='changeset',
            name='state',
            field=models.CharField(choices=[('planned', 'Draft'), ('waiting', 'Waiting for approval'), ('running', 'In progress'), ('paused', 'Paused'), ('ended', 'Completed'), ('cancelled', 'Canceled'), ('refused', 'Rejected')], default='planned', max_length=10),
        ),
        migrations.AlterField(
            model_name='changesetitem',
            name='state',
            field=models.CharField(choices=[('ready', 'Ready'), ('aside', 'Skipped'), ('asked', 'Requested'), ('moved', 'Changed since preview'), ('failed', 'No longer possible'), ('cancelled', 'Canceled')], default='ready', max_length=10),
        ),
        migrations.AlterField(
            model_name='connection',
            name='paused',
            field=models.CharField(blank=True, choices=[('', 'Not paused'), ('person', 'Paused manually'), ('auth', 'The provider rejected the key')], default='', max_length=10),
        ),
        migrations.AlterField(
            model_name='connection',
            name='usage_source',
            field=models.CharField(choices=[('credits', 'Credits API'), ('overview_json', 'v2 overview (JSON)'), ('overview_xml', 'v2 overview (XML)'), ('pooled', 'Pooled usage report')], default='credits', max_length=20),
        ),
        migrations.AlterField(
            model_name='connection',
            name='v2_auth',
            field=models.CharField(choices=[('key_in_form', 'API key in form data'), ('header', 'API key in header'), ('password', 'Username and password')], default='key_in_form', max_length=20),
        ),
        migrations.AlterField(
            model_name='customer',
            name='email',
            field=models.EmailField(max_length=254, verbose_name='email'),
        ),
        migrations.AlterField(
            model_name='operation',
            name='state',
            field=models.CharField(choices=[('queued', 'Queued'), ('claimed', 'Starting'), ('sending', 'Sending'), ('unknown', 'Outcome unknown'), ('needs_attention', 'Needs review'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Canceled')], default='queued', max_length=20),
        ),
        migrations.AlterField(
            model_name='scan',
            name='kind',
            field=models.CharField(choices=[('nightly', 'Nightly'), ('asked', 'Manual'), ('unknown', 'Account creation check')], max_length=10),
        ),
        migrations.AlterField(
            model_name='scan',
            name='state',
            field=models.CharField(choices=[('running', 'In progress'), ('complete', 'Completed'), ('incomplete', 'Incomplete'), ('refused', 'Ignored')], default='running', max_length=12),
        ),
        migrations.AlterField(
            model_name='schedule',
            name='state',
            field=models.CharField(choices=[('waiting', 'Scheduled'), ('done', 'Requested'), ('skipped', 'Skipped'), ('cancelled', 'Canceled')], default='waiting', max_length=20),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='outcome',
            field=models.CharField(blank=True, choices=[('', 'No response recorded'), ('not_sent', 'Not sent'), ('rejected', 'Rejected'), ('applied', 'Applied'), ('prepared', 'Applied, operation continues'), ('unknown', 'Unknown')], default='', max_length=10),
        ),
        migrations.AlterConstraint(
            model_name='customer',
            name='customer_reference_unique',
            constraint=models.UniqueConstraint(condition=models.Q(('external_reference', ''), _negated=True), fields=('external_reference',), name='customer_reference_unique', violation_error_message='Another customer already has this external reference.'),
        ),
    ]
