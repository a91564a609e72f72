"""The package pyloops, generated from the specification, against the sandbox."""

import asyncio
import json
import sys

import pyloops


async def main() -> None:
    pyloops.configure(api_key="sandbox", base_url=f"{sys.argv[1]}/api")
    client = pyloops.get_client()
    saved = await client.upsert_contact(email="ann@example.com", first_name="Ann", subscribed=True)
    [found] = await client.find_contact(email="ann@example.com")
    lists = await client.list_mailing_lists()
    print(
        json.dumps(
            {
                "saved": saved.success,
                "same": saved.id == found.id,
                "first_name": found.first_name,
                "lists": [entry.id for entry in lists],
            }
        )
    )


asyncio.run(main())
