"""Names of permissions and what they allow, for pages, the audit log and docs/reference/permissions.md."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from portal.access.permissions import Permission


@dataclass(frozen=True, slots=True)
class PermissionLabel:
    """A short name and one sentence that says what a team member can do with it."""

    name: str | Promise
    allows: str | Promise


GROUPS: tuple[tuple[str | Promise, dict[Permission, PermissionLabel]], ...] = (
    (
        _("Basics"),
        {
            Permission.VIEW: PermissionLabel(
                _("View portal"),
                _("Read customers, accounts, operations, usage, drift, and scheduled and bulk changes."),
            ),
        },
    ),
    (
        _("Customers and accounts"),
        {
            Permission.CREATE_ACCOUNT: PermissionLabel(_("Create accounts"), _("Add customers and create accounts.")),
            Permission.EDIT_CUSTOMER: PermissionLabel(
                _("Edit customers"), _("Edit, archive, and restore customers, add notes, and set the v2 username.")
            ),
            Permission.REFRESH_ACCOUNT: PermissionLabel(
                _("Refresh accounts"), _("Read an account again from the provider at once.")
            ),
            Permission.CHANGE_OFFERINGS: PermissionLabel(
                _("Change offerings"), _("Change the package and add-ons of an account.")
            ),
            Permission.CHANGE_SETTINGS: PermissionLabel(_("Change settings"), _("Change the settings of an account.")),
            Permission.SUSPEND_ACCOUNT: PermissionLabel(_("Suspend accounts"), _("Stop an account from sending.")),
            Permission.UNSUSPEND_ACCOUNT: PermissionLabel(
                _("Unsuspend accounts"), _("Let a suspended account send again.")
            ),
            Permission.DELETE_ACCOUNT: PermissionLabel(_("Delete accounts"), _("Delete an account permanently.")),
            Permission.SIGN_IN_AS: PermissionLabel(
                _("Sign in as customer"), _("Open the provider's console signed in as the customer.")
            ),
            Permission.PLACE_HOLD: PermissionLabel(
                _("Add “Do not suspend”"), _("Protect an account from being suspended.")
            ),
            Permission.RELEASE_HOLD: PermissionLabel(
                _("Remove “Do not suspend”"), _("Allow a protected account to be suspended again.")
            ),
        },
    ),
    (
        _("API keys and sending"),
        {
            Permission.CREATE_KEY: PermissionLabel(
                _("Create API keys"), _("Create and rotate API keys of an account.")
            ),
            Permission.CHANGE_KEY: PermissionLabel(
                _("Edit API keys"), _("Change the name, scopes, and domains of an API key.")
            ),
            Permission.DELETE_KEY: PermissionLabel(_("Delete API keys"), _("Delete an API key of an account.")),
            Permission.REVEAL_KEY: PermissionLabel(
                _("Reveal API keys"), _("Reveal once the secret of a key that they requested.")
            ),
            Permission.STOP_STORING_KEY: PermissionLabel(
                _("Delete stored secrets"), _("Delete the stored secret of a key before it is revealed.")
            ),
            Permission.ADD_DOMAIN: PermissionLabel(_("Add domains"), _("Add sending domains to an account.")),
            Permission.CHECK_DOMAIN: PermissionLabel(_("Check DNS"), _("Check the DNS records of a sending domain.")),
            Permission.SEND_TEST_MESSAGE: PermissionLabel(
                _("Send test messages"), _("Send a test message from an account.")
            ),
        },
    ),
    (
        _("Operations"),
        {
            Permission.DECIDE_OPERATION: PermissionLabel(
                _("Resolve operations"), _("Cancel, retry, and review operations.")
            ),
            Permission.CHANGE_IN_BULK: PermissionLabel(
                _("Make bulk changes"),
                _("Create and approve bulk changes. Approving also needs the permission for the change itself."),
            ),
            Permission.SCHEDULE_CHANGE: PermissionLabel(
                _("Schedule changes"),
                _("Schedule, edit, and cancel changes. They also need the permission for the change itself."),
            ),
            Permission.SCAN_ACCOUNTS: PermissionLabel(
                _("Scan account lists"), _("Start a scan of a connection's account list.")
            ),
            Permission.RESOLVE_DRIFT: PermissionLabel(
                _("Resolve drift"), _("Reapply expected values, accept provider values, and snooze drift.")
            ),
            Permission.LINK_ACCOUNT: PermissionLabel(
                _("Link accounts"), _("Link unlinked accounts to a customer, and ignore them.")
            ),
            Permission.MERGE_DUPLICATE: PermissionLabel(
                _("Merge duplicates"), _("Merge two accounts that are the same at the provider.")
            ),
            Permission.IMPORT_ACCOUNTS: PermissionLabel(
                _("Import accounts"), _("Import existing accounts of a connection.")
            ),
        },
    ),
    (
        _("Usage and cost"),
        {
            Permission.SYNC_USAGE: PermissionLabel(_("Sync usage"), _("Start and retry usage syncs.")),
            Permission.ACCEPT_USAGE: PermissionLabel(
                _("Decide on usage"), _("Accept or reject usage values that contradict earlier ones.")
            ),
            Permission.VIEW_COST: PermissionLabel(
                _("View cost"), _("Read cost prices, cost, margin, and the invoice breakdown, also in exports.")
            ),
            Permission.MANAGE_PRICES: PermissionLabel(
                _("Manage prices"), _("Edit and publish price lists and contracts, and enter exchange rates.")
            ),
            Permission.CLOSE_MONTHS: PermissionLabel(
                _("Close months"),
                _("Enter provider invoices, accept what blocks a month with a reason, close it, and export it."),
            ),
        },
    ),
    (
        _("Connections"),
        {
            Permission.VIEW_CONNECTIONS: PermissionLabel(
                _("View connections"), _("Read connections and the system status.")
            ),
            Permission.REFRESH_CATALOG: PermissionLabel(
                _("Refresh catalog"), _("Read a connection's catalog of offerings again.")
            ),
            Permission.MANAGE_CONNECTIONS: PermissionLabel(
                _("Manage connections"), _("Add, edit, test, pause, and resume connections, and replace their keys.")
            ),
        },
    ),
    (
        _("Team"),
        {
            Permission.VIEW_TEAM: PermissionLabel(
                _("View team"), _("Read team members, roles, and their permissions.")
            ),
            Permission.MANAGE_TEAM: PermissionLabel(
                _("Manage team"), _("Invite team members, change their role and access, and create roles.")
            ),
            Permission.VIEW_AUDIT_LOG: PermissionLabel(_("View audit log"), _("Read and export the audit log.")),
            Permission.HANDLE_PERSONAL_DATA: PermissionLabel(
                _("Handle personal data"), _("Search, export, and erase the personal data of a person.")
            ),
        },
    ),
    (
        _("Approvals"),
        {
            Permission.DECIDE_APPROVAL: PermissionLabel(
                _("Decide requests"),
                _("Approve or reject requests of others. Also needs the permission for the change itself."),
            ),
            Permission.VIEW_APPROVAL_RULES: PermissionLabel(_("View approval rules"), _("Read the approval rules.")),
            Permission.MANAGE_APPROVAL_RULES: PermissionLabel(
                _("Manage approval rules"),
                _("Change approval rules, and break the glass where nobody can approve."),
            ),
            Permission.VIEW_RETENTION: PermissionLabel(
                _("View retention"), _("Read how long rows are kept, and what the nightly job removed.")
            ),
            Permission.MANAGE_RETENTION: PermissionLabel(_("Manage retention"), _("Change how long rows are kept.")),
        },
    ),
)
LABELS: dict[Permission, PermissionLabel] = {code: label for _group, labels in GROUPS for code, label in labels.items()}
