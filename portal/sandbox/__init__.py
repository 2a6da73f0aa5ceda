"""The provider simulator: one process, one SQLite file, real HTTP.

It speaks the SendGrid partner API v3, the v3 reads made on behalf of a customer account, the v2 reseller overview,
and the AhaSend API v2. It knows nothing of the portal, and the portal knows nothing of it: they meet on the wire only.
README.md beside this file lists the admin plane, the faults and the switches.
"""
