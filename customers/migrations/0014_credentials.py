import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    """Hashes of stored keys are computed when a credential is next compared: the field keys may be out of reach here."""

    dependencies = [("customers", "0013_matching")]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="credential_hash",
            field=models.CharField(default=None, editable=False, max_length=200, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="connection",
            name="same_key_as",
            field=models.ForeignKey(
                blank=True,
                default=None,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="same_key",
                to="customers.connection",
            ),
        ),
        migrations.AddConstraint(
            model_name="connection",
            constraint=models.UniqueConstraint(
                models.F("kind"),
                models.F("base_url"),
                django.db.models.functions.text.Lower("account_id"),
                condition=models.Q(models.Q(("account_id", ""), _negated=True), ("credential_hash__isnull", False)),
                name="connection_parent_account_unique",
            ),
        ),
    ]
