import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import requests
from linkedapi import LinkedApi, LinkedApiConfig, LinkedApiError
from linkedapi.types import (
    ConversationPollRequest,
    InboxPersonPollRequest,
    InboxPollRequest,
    NvSyncConversationParams,
    NvSyncInboxParams,
    SyncConversationParams,
    SyncInboxParams,
)

ROOT = sys.argv[1]
START = datetime(2026, 1, 31, 9, tzinfo=timezone.utc)
QUICK = {"poll_interval": 0.02, "timeout": 10.0}


def client(token="sim-linked-api-token"):
    return LinkedApi(
        LinkedApiConfig(
            linked_api_token=token,
            identification_token="sim-identification-token",
            base_url=f"{ROOT}/linkedapi/",
        )
    )


def control(path, body):
    answer = requests.post(f"{ROOT}/control{path}", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ledger(conversation):
    entries = requests.get(f"{ROOT}/control/ledger", timeout=10).json()
    return [entry for entry in entries if entry["conversation"] == conversation]


def time(n):
    return (START + timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def push(conversation, n, text, outbound=False):
    body = {"conversation": conversation, "text": text, "outbound": outbound, "sent_at": time(n)}
    return control("/messages", body)["message_id"]


def same(seen, expected):
    assert seen == expected, f"\n  seen     {seen}\n  expected {expected}"


def types(response):
    return [error.type for error in response.errors]


linkedapi = client()
KINDS = [
    ("st", "standard", linkedapi.sync_conversation, SyncConversationParams, linkedapi.sync_inbox, SyncInboxParams),
    (
        "nv",
        "sales_navigator",
        linkedapi.nv_sync_conversation,
        NvSyncConversationParams,
        linkedapi.nv_sync_inbox,
        NvSyncInboxParams,
    ),
]


def conversations(code, kind, operation, params):
    """Sync and poll, as the vendor's older pages teach it."""
    made = control("/conversations", {"dialect": "linked_api", "kind": kind, "person": f"Python Client {code}"})
    conversation, address = made["conversation"], made["address"]
    control("/conversations/sync", {"conversation": conversation, "sync_until": None})
    ids = [push(conversation, 0, "Good morning"), push(conversation, 1, "Hello 👋", outbound=True)]

    def poll(since=None):
        return linkedapi.poll_conversations([ConversationPollRequest(person_url=address, type=code, since=since)])

    same(types(poll()), ["conversationsNotSynced"])
    started = operation.execute(params(person_url=address, days=7))
    assert started.workflow_status in {"pending", "running"}, started
    result = operation.result(started.workflow_id, **QUICK)
    same(types(result), [])
    assert result.data.sync_until.endswith("Z"), result
    polled = poll().data[0]
    same((polled.person_url, polled.type, polled.sync_until), (address, code, result.data.sync_until))
    assert polled.person_urn.startswith("urn:li:member:"), polled
    seen = [(message.id, message.sender, message.text, message.time) for message in polled.messages]
    same(seen, [(ids[0], "them", "Good morning", time(0)), (ids[1], "us", "Hello 👋", time(1))])
    assert all(message.thread_id.startswith("2-") for message in polled.messages)
    push(conversation, 2, "later")
    same([message.text for message in poll(time(2)).data[0].messages], ["later"])
    # The older contract: a finished sync has no data.
    control("/switches", {"linked_api": {"completion_sync_until": False}})
    older = operation.execute(params(person_url=address))
    same(types(operation.result(older.workflow_id, **QUICK)), [])
    control("/switches", {"linked_api": {"completion_sync_until": True, "pending_ms": 60_000}})
    assert operation.cancel(operation.execute(params(person_url=address)).workflow_id) is True
    control("/switches", {"linked_api": {"pending_ms": 50}})
    unknown = operation.execute(params(person_url="https://www.linkedin.com/in/nobody-of-that-name"))
    same(types(operation.result(unknown.workflow_id, **QUICK)), ["personNotFound"])
    return conversation, address


def inbox(code, conversation, address):
    """One inbox that is monitored: whole, by thread and by person."""
    entries = ledger(conversation)
    thread = linkedapi.poll_inbox(InboxPersonPollRequest(person_url=address, type=code)).data.threads[0]
    same((thread.type, thread.history_complete, thread.history_from), (code, True, time(0)))
    whole = linkedapi.poll_inbox(InboxPollRequest(type=code, thread_id=thread.thread_id)).data
    same([message.text for message in whole], ["later", "Hello 👋", "Good morning"])
    same([message.id for message in whole], [entry["inbox_message_id"] for entry in reversed(entries)])
    first = whole[-1]
    same((first.type, first.sender, first.time, first.thread_id), (code, "them", time(0), thread.thread_id))
    assert first.person_hashed_url == first.person_url and first.person_urn == thread.person_urn, first
    assert (first.person_public_url is None) == (code == "nv"), first
    person = linkedapi.poll_inbox(InboxPersonPollRequest(person_url=address, since=time(1))).data
    seen = [(message.id, message.inbox_message_id) for message in person.messages]
    same(seen, [(entry["message_id"], entry["inbox_message_id"]) for entry in reversed(entries[1:])])
    since = linkedapi.poll_inbox(InboxPollRequest(since=time(2), type=code)).data
    assert conversation is not None and "later" in [message.text for message in since]


def monitoring():
    """Inboxes that are not monitored yet."""
    control("/switches", {"linked_api": {"inbox_monitoring": False}})
    for code, kind, _, _, operation, params in KINDS:
        made = control("/conversations", {"dialect": "linked_api", "kind": kind, "person": f"Python Inbox {code}"})
        control("/messages", {"conversation": made["conversation"], "text": "before"})
        refused(lambda: linkedapi.poll_inbox(InboxPollRequest(type=code)), "inboxNotSynced")
        started = operation.execute(params())
        same(types(operation.result(started.workflow_id, **QUICK)), [])
        same(linkedapi.poll_inbox(InboxPollRequest(type=code)).data, [])
        control("/messages", {"conversation": made["conversation"], "text": "captured"})
        same([message.text for message in linkedapi.poll_inbox(InboxPollRequest(type=code)).data], ["captured"])
    same([message.text for message in linkedapi.poll_inbox().data], ["captured", "captured"])
    control("/switches", {"linked_api": {"inbox_monitoring": True}})


def refused(call, error_type):
    """Refusals with a status are raised; those inside 200 come back where the client looks for errors itself."""
    for status in ["client_error", "ok"]:
        control("/switches", {"linked_api": {"refusal_status": status}})
        try:
            same(types(call()), [error_type])
        except LinkedApiError as error:
            same(error.type, error_type)
    control("/switches", {"linked_api": {"refusal_status": "client_error"}})


for code, kind, operation, params, _, _ in KINDS:
    inbox(code, *conversations(code, kind, operation, params))
monitoring()
refused(lambda: linkedapi.poll_inbox(InboxPollRequest(thread_id="2-bm9wZQ==")), "threadNotFound")
refused(lambda: client("wrong").sync_conversation.execute(SyncConversationParams(person_url="x")), "invalidLinkedApiToken")
same(linkedapi.get_account_info().data.name, "Robin Keller")
print(f"linkedapi {version('linkedapi')}: sync, poll, since, cancel, inbox and refusals, st and nv")
