"""Write what the portal is made of as CycloneDX: `python -m tools.bill_of_materials [FILE]`.

It lists every pinned requirement of production and every file of others that browsers get, with version, license and
hashes. The same source gives the same file, but for the time in it.
"""

from __future__ import annotations

import sys
import tomllib
import uuid
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tools.pinned import ROOT, Pinned, pinned_requirements

FILE = "bill-of-materials.json"
# The license by SPDX, where a package says it in its own words, has several texts, or is not installed here.
BY_HAND = {
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "fido2": "BSD-2-Clause AND Apache-2.0 AND MPL-2.0",  # the last two of a list of domain names and of one file
    "iso4217": "LicenseRef-Public-Domain",
    "pyrage": "MIT",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "qrcode": "BSD-3-Clause",
    "tzdata": "Apache-2.0",
}
# Classifiers name a family, and SPDX its members. Where a package says no more, it is the common one.
_OF_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_SPDX = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MPL-2.0"})


class UnknownLicense(Exception):
    """A package doesn't name its license in a way that is understood. Add it to BY_HAND."""


def license_of(name: str) -> str:
    """Return the license of a package, as an SPDX expression."""
    if name in BY_HAND:
        return BY_HAND[name]
    try:
        said = metadata(name)
    except PackageNotFoundError:
        raise UnknownLicense(f"{name} is not installed. Add its license to BY_HAND.") from None
    if expression := _field(said, "License-Expression"):
        return expression
    if (plain := _field(said, "License")) in _SPDX:
        return plain
    classifiers = [each.rpartition(" :: ")[2] for each in said.get_all("Classifier", []) if each.startswith("License")]
    found = {_OF_CLASSIFIER[each] for each in classifiers if each in _OF_CLASSIFIER}
    if len(found) != 1:
        raise UnknownLicense(f"{name} says: {classifiers or plain!r}. Add its license to BY_HAND.")
    return found.pop()


def _field(said: PackageMetadata, name: str) -> str:
    return str((said.get_all(name) or [""])[0])


def vendored_files() -> list[dict[str, str]]:
    with (ROOT / "tools" / "vendored.toml").open("rb") as file:
        found: list[dict[str, str]] = tomllib.load(file)["files"]
    return found


def bill() -> Bom:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    bom = Bom()
    root = Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION, bom_ref="postkeeper"
    )
    bom.metadata.component = root
    pinned = pinned_requirements()
    components = {each.name: _package(each) for each in pinned}
    for each in [*components.values(), *map(_file, vendored_files())]:
        bom.components.add(each)
    for name, component in {"postkeeper": root, **components}.items():
        bom.register_dependency(component, [components[each.name] for each in pinned if name in each.via])
    told = "\n".join(sorted(f"{each.purl} {[str(each) for each in each.hashes]}" for each in bom.components))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{project['version']}\n{told}")
    return bom


def _package(each: Pinned) -> Component:
    return Component(
        name=each.name, version=each.version, type=ComponentType.LIBRARY, bom_ref=f"{each.name}@{each.version}",
        purl=PackageURL("pypi", name=each.name, version=each.version), licenses=_licenses(license_of(each.name)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in each.hashes],
        scope=ComponentScope.REQUIRED if each.is_for_here else ComponentScope.OPTIONAL,
    )  # fmt: skip


def _file(each: dict[str, str]) -> Component:
    where = each.get("file") or f"{each['package']}: {each['package_file']}"
    return Component(
        name=each["name"], version=each.get("version"), type=ComponentType.LIBRARY, bom_ref=where, description=where,
        purl=PackageURL.from_string(each["purl"]), licenses=_licenses(each["license"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each["sha256"])],
    )  # fmt: skip


def _licenses(expression: str) -> list[Any]:
    return [LicenseFactory().make_from_string(expression)]


def main(argv: list[str]) -> int:
    path = Path(argv[0] if argv else FILE)
    path.write_text(JsonV1Dot6(bill()).output_as_string(indent=2) + "\n", encoding="utf-8")
    print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
