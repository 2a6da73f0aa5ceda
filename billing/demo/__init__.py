"""The demo's last three months: made by the portal's own commands against the sandbox, with both clocks moved."""
