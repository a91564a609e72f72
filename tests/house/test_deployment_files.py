"""The files for running it elsewhere: compose file, Dockerfile and pinned versions refer only to what there is."""

import re
import tomllib

import yaml
from support.product import ROOT


def test_every_reference_of_the_compose_file_resolves():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    example = (ROOT / ".env.example").read_text()
    documents = "".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])

    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in volumes
        if "build" in service:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        for name in service.get("environment", {}):
            assert name in documents or name in example, name
    for service in ("redis",):
        command = services[service]["command"]
        assert command[command.index("--appendonly") + 1] == "yes"
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert services["worker"]["restart"] == "unless-stopped"
    assert {name: service.get("profiles") for name, service in services.items()} == {
        "redis": None,
        "worker": ["worker"],
        "sandbox": ["sandbox"],
        "sandbox-worker": ["sandbox"],
    }
    assert "health" not in str(services["sandbox"]["healthcheck"]["test"])
    assert services["sandbox-worker"]["depends_on"]["sandbox"] == {"condition": "service_healthy"}


def test_the_dockerfile_copies_only_what_there_is():
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []


def test_pinned_versions_are_within_the_ranges_and_name_no_registry():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    pins = (ROOT / "constraints.txt").read_text()

    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins.splitlines() if "==" in line}
    # An extra may ask for another extra of the project itself.
    assert {re.split(r"[\[<>=]", name)[0].lower() for name in asked} - {project["name"]} <= pinned
    assert "://" not in pins
