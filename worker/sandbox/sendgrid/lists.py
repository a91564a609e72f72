"""Lists: GET and POST /v3/marketing/lists, and one list by its id.

Source: tsg_mc_lists_v3.yaml (github.com/twilio/sendgrid-oai), checked 2026-11-22. Whether two lists may share a name is
not documented; here they may not.
"""

from typing import Any
from uuid import uuid4

from contact_ingest.sandbox.messages import Call, Reply, json_reply
from contact_ingest.sandbox.sendgrid.accounts import Account
from contact_ingest.sandbox.sendgrid.bodies import json_object
from contact_ingest.sandbox.sendgrid.replies import refusal

PATH = "/v3/marketing/lists"
LARGEST_PAGE = 1000
LONGEST_NAME = 100


def list_lists(account: Account, call: Call) -> Reply:
    size, token = call.query.get("page_size", "100"), call.query.get("page_token", "0")
    if not (size.isascii() and size.isdigit() and 1 <= int(size) <= LARGEST_PAGE):
        return refusal(400, f"must be 1 to {LARGEST_PAGE}", "page_size")
    if not (token.isascii() and token.isdigit()):
        return refusal(400, "invalid page token", "page_token")
    start, end = int(token), int(token) + int(size)
    shown = [_shown(account, each, call.origin) for each in list(account.lists)[start:end]]
    metadata: dict[str, Any] = {"self": call.origin + PATH, "count": len(account.lists)}
    if end < len(account.lists):
        metadata["next"] = f"{call.origin}{PATH}?page_size={size}&page_token={end}"
    return json_reply(200, {"result": shown, "_metadata": metadata})


def create_list(account: Account, call: Call) -> Reply:
    name = json_object(call, required={"name"})["name"]
    if type(name) is not str or not 1 <= len(name) <= LONGEST_NAME:
        return refusal(400, f"must be 1 to {LONGEST_NAME} long", "name")
    if name in account.lists.values():
        return refusal(400, "a list with this name exists", "name")
    list_id = str(uuid4())
    account.lists[list_id] = name
    return json_reply(201, _shown(account, list_id, call.origin))


def read_list(account: Account, call: Call, list_id: str) -> Reply:
    """A list that does not exist answers 404 with a bare object, as documented."""
    if list_id not in account.lists:
        return json_reply(404, {})
    return json_reply(200, _shown(account, list_id, call.origin))


def _shown(account: Account, list_id: str, origin: str) -> dict[str, Any]:
    return {
        "id": list_id,
        "name": account.lists[list_id],
        "contact_count": account.contacts.in_list[list_id],
        "_metadata": {"self": f"{origin}{PATH}/{list_id}"},
    }
