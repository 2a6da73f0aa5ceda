"""What security rests on and no other test names: patterns that the code avoids, and small promises of the pages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from portal import logs
from tests.house.test_source import OUR_FOLDERS, ROOT, _calls, _imports, _modules

SCRIPTS = sorted((ROOT / "static/js").glob("*.js"))
Rule = Callable[[ast.Call], bool]


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


# --- Patterns ---------------------------------------------------------------------------------------------------------

# What runs code that it is given. A rule finds a call; the sample shows that it does.
DANGEROUS: dict[str, tuple[Rule, str]] = {
    "code from text": (lambda call: _name(call) in ("eval", "exec", "compile", "__import__"), "eval(x)"),
    "a shell": (
        lambda call: _name(call) in ("os.system", "os.popen", "subprocess.getoutput")
        or any(each.arg == "shell" for each in call.keywords),
        "subprocess.run(x, shell=True)",
    ),
    "objects from bytes": (
        lambda call: re.match(r"(pickle|marshal|shelve|dill|jsonpickle)\.", _name(call)) is not None, "pickle.loads(x)",
    ),
    "YAML with types": (lambda call: _name(call) in ("yaml.load", "yaml.unsafe_load"), "yaml.load(x)"),
    "a template from text": (
        lambda call: _name(call) in ("Template", "from_string", "engines") or _name(call).endswith(".from_string"),
        "Template(x)",
    ),
    "a module by a name from elsewhere": (
        lambda call: _name(call).endswith("import_module") and not isinstance(call.args[0], ast.Constant),
        "import_module(x)",
    ),
    "an extraction by names of the archive": (
        lambda call: _name(call).endswith(".extractall"), "zip_file.extractall(x)",
    ),
    "TLS without verification": (
        lambda call: any(
            each.arg == "verify" and isinstance(each.value, ast.Constant) and each.value.value is False
            for each in call.keywords
        )
        or _name(call) == "ssl._create_unverified_context",
        "requests.get(x, verify=False)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DANGEROUS)
def test_no_call_runs_or_trusts_what_it_is_given(what: str) -> None:
    rule, sample = DANGEROUS[what]
    assert any(rule(call) for call in _calls(ast.parse(sample))), "the rule finds its sample"
    found = [f"{name}:{call.lineno}" for name, tree in _modules(*OUR_FOLDERS) for call in _calls(tree) if rule(call)]
    assert found == []


def test_no_module_reads_a_format_that_makes_objects() -> None:
    unsafe = {"pickle", "marshal", "shelve", "dill", "xml.etree.ElementTree", "xml.dom.minidom", "xml.sax", "lxml"}
    found = {name for name, tree in _modules(*OUR_FOLDERS) for _, module in _imports(tree) if module in unsafe}
    # The type of a tree that defusedxml parsed.
    assert {name for name in found if "defusedxml" not in (ROOT / name).read_text()} == set()


def test_processes_are_started_by_a_list_in_few_modules() -> None:
    """Programs of PostgreSQL, by their names; the demo starts itself."""
    users = {name for name, tree in _modules(*OUR_FOLDERS) for _, module in _imports(tree) if module == "subprocess"}
    assert {name for name in users if not name.startswith(("portal/demo/", "portal/sandbox/"))} <= {
        "portal/installation/databases.py"
    }


def test_markup_is_trusted_where_it_is_made() -> None:
    """`mark_safe` for the rendered help alone; elsewhere `format_html` escapes."""
    users = {name for name, tree in _modules(*OUR_FOLDERS) for call in _calls(tree) if _name(call) == "mark_safe"}
    assert users <= {"portal/guides.py"}


WEAK = re.compile(r"\b(md5|sha1|MD5|SHA1|DES3?|ARC4|ECB|PKCS1v15|Blowfish|RC4)\b")


def test_no_weak_algorithm_is_named() -> None:
    found = {
        f"{name}: {match.group()}"
        for name, tree in _modules(*OUR_FOLDERS)
        if not name.startswith(("portal/demo/", "portal/sandbox/"))  # they make numbers of names with it
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        for match in WEAK.finditer(ast.unparse(node))
    }
    assert found == set()


def test_hashes_are_named_where_djangos_default_is_weak() -> None:
    """`salted_hmac` takes SHA-1 unless it is told otherwise."""
    found = [
        f"{name}:{call.lineno}"
        for name, tree in _modules(*OUR_FOLDERS)
        for call in _calls(tree)
        if _name(call) == "salted_hmac" and "sha256" not in ast.unparse(call)
    ]
    assert found == []


def test_secrets_are_compared_in_constant_time() -> None:
    """Where a request brings a value: tokens of metrics, links, forms and single sign-on."""
    constant = ("constant_time_compare", "compare_digest")
    for name in (
        "portal/metrics_endpoint.py", "portal/access/links.py", "portal/access/sso/tokens.py",
        "portal/access/adapter.py", "customers/operations/submissions.py", "portal/installation/manifest.py",
    ):  # fmt: skip
        assert any(each in (ROOT / name).read_text() for each in constant), name


OUTSIDE = re.compile(r"request|cleaned_data|POST|payload|body|typed|\bsent\b")


def test_no_format_string_comes_from_outside() -> None:
    """A format string can read attributes of its arguments."""

    def template_of(call: ast.Call) -> str:
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("format", "format_map"):
            return ast.unparse(call.func.value)
        return ast.unparse(call.args[0]) if _name(call) == "format_html" and call.args else ""

    assert OUTSIDE.search(template_of(next(_calls(ast.parse("request.POST['x'].format(a)")))))
    found = [
        f"{name}:{call.lineno}"
        for name, tree in _modules(*OUR_FOLDERS)
        for call in _calls(tree)
        if (text := template_of(call)) and not text.startswith(("'", '"', "f'", "_(")) and OUTSIDE.search(text)
    ]
    assert found == []


RANDOM = re.compile(r"(secrets\.token_\w+|os\.urandom|get_random_string)")


def test_tokens_have_128_bits() -> None:
    """Sixteen random bytes at least. Neither the nonce of AES-GCM, which has twelve, is a secret, nor the code of a
    personal data request."""
    short = {
        f"{name}: {ast.unparse(call)}"
        for name, tree in _modules(*OUR_FOLDERS)
        if not name.startswith(("portal/demo/", "portal/sandbox/"))
        for call in _calls(tree)
        if RANDOM.fullmatch(_name(call))
        if call.args and isinstance(call.args[0], ast.Constant) and int(str(call.args[0].value)) < 16
    }
    assert short <= {"portal/encryption.py: os.urandom(12)", "portal/privacy/commands.py: secrets.token_hex(4)"}


SECRET_NAME = re.compile(r"password|secret|token|api_?key|credential|\bcode\b", re.IGNORECASE)


def test_no_form_sends_a_secret_in_its_address() -> None:
    """Single sign-on alone brings a code in its address, as its protocol says."""
    read = {
        f"{name}: {ast.unparse(call.args[0])}"
        for name, tree in _modules(*OUR_FOLDERS)
        for call in _calls(tree)
        if _name(call).startswith("request.GET.get") and call.args and SECRET_NAME.search(ast.unparse(call.args[0]))
    }
    assert {each for each in read if not each.startswith(("portal/access/views/sso.py", "portal/sandbox/"))} == set()
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for form in re.findall(r"(?is)<form[^>]*method=[\"']get[\"'].*?</form>", path.read_text()):
            assert not re.search(r"type=[\"']password|form\.(password|secret|api_key|code)", form), path


def _uses_of_both(tree: ast.Module) -> Iterator[int]:
    """Yield the lines on which one expression merges what the address and the body say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict | ast.BinOp):
            text = ast.unparse(node)
            if "request.GET" in text and "request.POST" in text:
                yield node.lineno


def test_no_view_mixes_the_address_with_the_body() -> None:
    """A value sent in the address can't stand for one of the form, nor the reverse."""
    sample = "x = {**request.GET, **request.POST}"
    assert list(_uses_of_both(ast.parse(sample))) == [1]
    assert [f"{name}:{line}" for name, tree in _modules(*OUR_FOLDERS) for line in _uses_of_both(tree)] == []


def test_headers_of_proxies_are_read_in_two_modules() -> None:
    """The client's address, and the refusal of proxies with LOOPBACK_ONLY."""
    found = {
        str(path.relative_to(ROOT))
        for folder in OUR_FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"X_FORWARDED|X-Forwarded|X_REAL_IP", path.read_text())
        if not {"sandbox", "demo"} & set(path.parts)
    }
    assert found <= {"portal/access/addresses.py", "portal/middleware.py", "portal/settings.py", "portal/checks.py"}


# --- Scripts and the browser ------------------------------------------------------------------------------------------

SINKS = {
    "markup from text": r"\.(?:inner|outer)HTML\s*=|insertAdjacentHTML|document\.write|createContextualFragment",
    "code from text": r"\beval\(|new Function\b|set(?:Timeout|Interval)\(\s*[\"'`]",
    "messages of other windows": r"postMessage|[\"']message[\"']|window\.opener",
    "prototypes": r"__proto__|\.prototype\b|constructor\[",
    "cookies": r"document\.cookie",
    "another kind of storage": r"indexedDB|caches\.open|showSaveFilePicker",
    "web sockets": r"new WebSocket|EventSource|RTCPeerConnection",
}


# The policy of trusted types is what looks at markup before the browser takes it.
LOOKS_AT_MARKUP = "trusted-types.js"


@pytest.mark.parametrize("what", SINKS)
def test_no_script_of_ours_uses(what: str) -> None:
    searched = [path for path in SCRIPTS if not (what == "markup from text" and path.name == LOOKS_AT_MARKUP)]
    found = [
        f"{path.name}: {match.group()}" for path in searched for match in re.finditer(SINKS[what], path.read_text())
    ]
    assert found == []


def test_the_browser_stores_the_theme_and_no_data() -> None:
    """`LED` is a mark without a value, and htmx keeps no history of pages."""
    stored = {
        match.groups()
        for path in SCRIPTS
        for match in re.finditer(r"(local|session)Storage\.setItem\(([^,]+),\s*([^)]+)\)", path.read_text())
    }
    assert {each[:2] for each in stored} <= {("local", '"theme"'), ("session", "LED")}
    assert all(value in ('""', "next") for _, _, value in stored)
    assert '"historyCacheSize": 0' in (ROOT / "templates/_head.html").read_text()


def test_nothing_disturbs_password_managers() -> None:
    """Fields of passwords may be pasted into and filled in."""
    for path in [*SCRIPTS, *sorted((ROOT / "templates").rglob("*.html"))]:
        assert not re.search(r"onpaste|addEventListener\(\s*[\"']paste", path.read_text()), path
    widgets = [
        ast.unparse(call)
        for name, tree in _modules("portal/access")
        for call in _calls(tree)
        if _name(call).endswith("PasswordInput")
    ]
    assert widgets
    assert all("-password" in each or "one-time-code" in each for each in widgets), widgets


# --- Sources of the product -------------------------------------------------------------------------------------------


def _texts(*patterns: str) -> Iterator[tuple[Path, str]]:
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                yield path, path.read_text()


def test_no_secret_stands_in_the_source() -> None:
    """Neither a key of a provider nor a private key, in what an image is built from."""
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|AGE-SECRET-KEY-1[0-9A-Z]{20}")
    found = [
        str(path.relative_to(ROOT))
        for path, text in _texts("portal/**/*.py", "customers/**/*.py", "billing/**/*.py", "deploy/**/*.*", "*.yml")
        if key.search(text) or logs.holds_a_key(text)
    ]
    assert found == []


def test_uploads_are_kept_in_no_folder_that_is_served() -> None:
    """Files that people upload are read and end in rows: there is no folder of media, and no route to one."""
    assert configured.MEDIA_ROOT == ""
    calls = [_name(call) for _, tree in _modules(*OUR_FOLDERS) for call in _calls(tree)]
    assert "default_storage.save" not in calls
    fields = [
        _name(call) for _, tree in _modules(*OUR_FOLDERS) for call in _calls(tree) if _name(call).startswith("models.")
    ]
    assert not {"models.FileField", "models.ImageField", "models.FilePathField"} & set(fields)


def test_types_are_checked_strictly() -> None:
    tools: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["mypy"]["strict"] is True
