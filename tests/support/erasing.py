"""A contact in every place that a record can be in, and a look at the whole server."""

from support.people import person

from contact_ingest import enqueue

ADA = "ada.planted@example.com"
NAME = "Planted-Lovelace"
LONG = "x" * 51
NEVER = ({"job_seconds": [600, 600]}, {"job_seconds": [0.05, 0.1]})


def ada(**more):
    return {"email": "Ada.Planted@Example.com", "first_name": NAME, **more}


def everything(client) -> bytes:
    """Every name and every value in the whole server."""
    found = []
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        read = {
            "string": client.get,
            "list": lambda k: b"\n".join(client.lrange(k, 0, -1)),
            "hash": lambda k: b"\n".join(part for pair in client.hgetall(k).items() for part in pair),
            "zset": lambda k: b"\n".join(client.zrange(k, 0, -1)),
            "set": lambda k: b"\n".join(client.smembers(k)),
            "none": lambda _: b"",  # it has expired meanwhile
        }[kind]
        found += [key, read(key) or b""]
    return b"\n".join(found)


def traces_left(client) -> bool:
    return b"planted" in everything(client).lower()


def counts(said):
    return {name: said.json[name] for name in ("waiting", "held", "failed") if said.json[name]}


def erase(cli, *args):
    return cli("erase", *(args or (ADA,)), "--yes", "--json")


def has_failed(harness, sandbox):
    enqueue([person(1, last_name=LONG), ada(last_name=LONG)])
    harness.run_until_settled()
