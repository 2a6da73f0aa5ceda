"""Readings and their acceptances are written once."""

from django.db import migrations

from portal.audit.triggers import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("audit", "0001_initial")]

    operations = [AppendOnly("billing_usagesnapshot"), AppendOnly("billing_acceptance")]
