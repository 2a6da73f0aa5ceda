import portal.access.fields
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='user',
            name='email',
            field=portal.access.fields.FoldedEmailField(error_messages={'unique': 'A team member with this email already exists.'}, max_length=254, unique=True, verbose_name='email'),
        ),
    ]
