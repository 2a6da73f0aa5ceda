"""What belongs to a closed month never changes. A month closes while its run is `running`: until the run is closed, rows
join it, and each is frozen from then on."""

from django.db import migrations

from portal.audit.triggers import Frozen

# Conditions on a row; `{row}` stands for it.
CLOSED_RUN = "EXISTS (SELECT 1 FROM billing_monthclosing m WHERE m.id = {row}.closing_id AND m.state = 'closed')"
CLOSED_STATEMENT = "EXISTS (SELECT 1 FROM billing_statement s WHERE s.id = {row}.statement_id AND s.state = 'closed')"
CLOSED_INVOICE = (
    "EXISTS (SELECT 1 FROM billing_providerinvoice i WHERE i.id = {row}.invoice_id AND i.closing_id IS NOT NULL)"
)
CLOSED_COMPARISON = (
    "EXISTS (SELECT 1 FROM billing_invoicecomparison c WHERE c.id = {row}.comparison_id AND c.closing_id IS NOT NULL)"
)
# An acceptance by which a statement was closed.
USED_ACCEPTANCE = (
    "{row}.accepted_at IS NOT NULL AND EXISTS (SELECT 1 FROM billing_statement s WHERE s.state = 'closed' "
    "AND s.month = {row}.month AND (s.customer_id = {row}.customer_id OR s.connection_id = {row}.connection_id))"
)
NEVER = "1 = 0"


class Migration(migrations.Migration):
    dependencies = [("billing", "0022_closing"), ("audit", "0001_initial")]

    operations = [
        Frozen("billing_monthclosing", rows="{row}.state = 'closed'", joins=NEVER),
        Frozen("billing_statement", rows="{row}.state = 'closed'", joins=CLOSED_RUN),
        Frozen("billing_statementline", rows=CLOSED_STATEMENT),
        Frozen("billing_statementfinding", rows=CLOSED_STATEMENT),
        Frozen("billing_statementcase", rows=CLOSED_STATEMENT),
        Frozen("billing_providerinvoice", rows="{row}.closing_id IS NOT NULL", joins=CLOSED_RUN),
        Frozen("billing_providerinvoiceline", rows=CLOSED_INVOICE),
        Frozen("billing_invoicecomparison", rows="{row}.closing_id IS NOT NULL", joins=CLOSED_RUN),
        Frozen("billing_invoicematch", rows=CLOSED_COMPARISON),
        Frozen("billing_blocker", rows=USED_ACCEPTANCE),
    ]
