"""Addresses that a connection may not have: base URLs that lead inside, to another host, or to nobody knows where."""

from __future__ import annotations

# Hosts that stand for an address of this machine, of its network, or of a cloud's metadata service.
INSIDE = (
    "https://127.0.0.1", "https://127.1", "https://127.0.0.1.", "https://localhost", "https://LOCALHOST.",
    "https://[::1]", "https://[::]", "https://0.0.0.0", "https://0", "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]", "https://[0:0:0:0:0:ffff:169.254.169.254]", "https://[64:ff9b::7f00:1]",
    "https://[2002:7f00:1::]", "https://[fe80::1]", "https://[fd00:ec2::254]", "https://[fc00::1]",
    "https://2130706433", "https://017700000001", "https://0x7f000001", "https://0x7f.0.0.1", "https://0177.0.0.1",
    "https://127.0.1", "https://10.0.0.1", "https://10.1", "https://172.16.0.1", "https://172.31.255.254",
    "https://192.168.1.1", "https://192.168.257", "https://100.64.0.1", "https://169.254.169.254",
    "https://2852039166", "https://0xa9fea9fe", "https://0251.0376.0251.0376", "https://169.254.170.2",
    "https://198.18.0.1", "https://192.0.2.1", "https://224.0.0.1", "https://240.0.0.1", "https://255.255.255.255",
)  # fmt: skip
# Names that a resolver answers with such an address.
NAMES = (
    "https://metadata.google.internal", "https://metadata", "https://kubernetes.default.svc", "https://db",
    "https://redis", "https://127.0.0.1.nip.example", "https://localtest.example",
    "https://api.sendgrid.com.evil.example", "https://evil.example", "https://xn--pi-7ta.sendgrid.com",
)  # fmt: skip
# Addresses that two parsers read in two ways, or that are not only an address.
FORMS = (
    "http://api.sendgrid.com", "ftp://api.sendgrid.com", "file:/etc/passwd", "gopher://127.0.0.1:6379/_INFO",
    "javascript:alert(1)", "//api.sendgrid.com", "api.sendgrid.com", "https:api.sendgrid.com",
    "https:/api.sendgrid.com", "https://", "https:///api.sendgrid.com", "https://api.sendgrid.com@evil.example",
    "https://user:key@api.sendgrid.com", "https://evil.example\\@api.sendgrid.com",
    "https://api.sendgrid.com\\.evil.example", "https://@api.sendgrid.com", "https://evil.example#@api.sendgrid.com",
    "https://evil.example?@api.sendgrid.com", "https://api.sendgrid.com#x",
    "https://api.sendgrid.com?to=https://evil.example", "https://api.sendgrid.com:80", "https://api.sendgrid.com:22",
    "https://api.sendgrid.com:0", "https://api.sendgrid.com:99999", "https://api.sendgrid.com:x",
    "https://api.sendgrid.com:-1", "https://api.sendgrid.com/../_admin", "https://api.sendgrid.com/redirect",
    "https://api.sendgrid.com.", "https://api。sendgrid。com", "https://api\uff0esendgrid\uff0ecom",
    "https://\uff41pi.sendgrid.com", "https://api.sendgr\u0131d.com", "https://api.sendgrid.com%00.evil.example",
    "https://api.sendgrid.com%2f@evil.example", "https://evil.example/api.sendgrid.com",
    "https://api.sendgrid.com\r\nHost: evil.example", "https://api.sendgrid.com\x00",
    "https://api.sendgrid.com evil.example", "https://sendgrid.com", "https://app.sendgrid.com",
    "https://api.sendgrid.com,evil.example", "http://[::1", "https://]", "https://[v1.api.sendgrid.com]",
    "https://①②⑦.0.0.1", "https://api-sendgrid.com", "https://apiXsendgrid.com",
)  # fmt: skip
BASE_URLS = INSIDE + NAMES + FORMS
