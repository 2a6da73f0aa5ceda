"""Provider simulator: one process, one SQLite file, real HTTP.

It implements the SendGrid partner API v3, the v3 reads on behalf of a customer account, the v2 reseller overview, and
the AhaSend API v2. It shares no code with the portal; they communicate only over HTTP. README.md in this folder lists
the admin API, the faults and the switches.
"""
