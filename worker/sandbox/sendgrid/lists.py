"""Lists: GET and POST /v3/marketing/lists, and one list by its id.

Source: tsg_mc_lists_v3.yaml (github.com/twilio/sendgrid-oai), checked 2026-11-22. Whether two lists may share a name is
not documented; here they may not.
"""

from typing import Any
from uuid import uuid4

from contact_ingest.sandbox.messages import Reply, Request, json_reply
from contact_ingest.sandbox.sendgrid.accounts import Account
from contact_ingest.sandbox.sendgrid.bodies import json_object
from contact_ingest.sandbox.sendgrid.replies import refusal

PATH = "/v3/marketing/lists"
MAX_PAGE_SIZE = 1000
MAX_NAME_LENGTH = 100


def list_lists(account: Account, request: Request) -> Reply:
    size, token = request.query.get("page_size", "100"), request.query.get("page_token", "0")
    if not (size.isascii() and size.isdigit() and 1 <= int(size) <= MAX_PAGE_SIZE):
        return refusal(400, f"must be 1 to {MAX_PAGE_SIZE}", "page_size")
    if not (token.isascii() and token.isdigit()):
        return refusal(400, "invalid page token", "page_token")
    start, end = int(token), int(token) + int(size)
    shown = [_public(account, each, request.origin) for each in list(account.lists)[start:end]]
    metadata: dict[str, Any] = {"self": request.origin + PATH, "count": len(account.lists)}
    if end < len(account.lists):
        metadata["next"] = f"{request.origin}{PATH}?page_size={size}&page_token={end}"
    return json_reply(200, {"result": shown, "_metadata": metadata})


def create_list(account: Account, request: Request) -> Reply:
    name = json_object(request, required={"name"})["name"]
    if type(name) is not str or not 1 <= len(name) <= MAX_NAME_LENGTH:
        return refusal(400, f"must be 1 to {MAX_NAME_LENGTH} long", "name")
    if name in account.lists.values():
        return refusal(400, "a list with this name exists", "name")
    list_id = str(uuid4())
    account.lists[list_id] = name
    return json_reply(201, _public(account, list_id, request.origin))


def read_list(account: Account, request: Request, list_id: str) -> Reply:
    """One list. A list that does not exist gives 404 with an empty object, as documented."""
    if list_id not in account.lists:
        return json_reply(404, {})
    return json_reply(200, _public(account, list_id, request.origin))


def _public(account: Account, list_id: str, origin: str) -> dict[str, Any]:
    return {
        "id": list_id,
        "name": account.lists[list_id],
        "contact_count": account.contacts.in_list[list_id],
        "_metadata": {"self": f"{origin}{PATH}/{list_id}"},
    }
