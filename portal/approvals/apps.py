from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "portal.approvals"
    label = "approvals"

    def ready(self) -> None:
        """Have access to privileged roles checked, and register a retention rule and the changes that need
        nothing of another app."""
        from portal.access import grants  # noqa: PLC0415  reads models: not before this point
        from portal.approvals import actions, audit_words, retention, rule_requests, staff  # noqa: PLC0415  the same
        from portal.approvals.kinds import ApprovalKind  # noqa: PLC0415  the same
        from portal.retention import rules  # noqa: PLC0415  the same

        grants.check_with(staff.check_admin_grant)
        actions.register_action(ApprovalKind.ADMIN_ROLE, staff.ACTION)
        actions.register_action(ApprovalKind.RULE, rule_requests.ACTION)
        rules.register_rules(retention.RULE)
        audit_words.register_approval_words()
