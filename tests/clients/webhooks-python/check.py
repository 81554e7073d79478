import base64
import json
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.v1.http import from_http
from standardwebhooks import Webhook, WebhookVerificationError

RECORDED = json.loads(Path(sys.argv[1]).read_text())
SECRETS = RECORDED["secrets"]
WRITTEN = {message["id"]: message for message in RECORDED["written"]}
# Which shared secrets sign what a sink sends. The library knows no key pairs.
LIVE = {"single": ["only"], "rotating": ["old", "new"], "mixed": ["only"], "pair": []}
LARGEST = 64 * 1024


class Request:
    def __init__(self, recorded):
        self.sink, self.headers = recorded["sink"], recorded["headers"]
        self.body = base64.b64decode(recorded["body"])
        self.event = json.loads(self.body)
        self.id = self.headers["webhook-id"]

    def verified(self, secret, body=None, **headers):
        """What the library returns, here with another body or other headers."""
        replaced = {f"webhook-{name}": value for name, value in headers.items()}
        return Webhook(secret).verify(body or self.body, {**self.headers, **replaced})


REQUESTS = [Request(recorded) for recorded in RECORDED["requests"]]
SIGNED = [(request, SECRETS[name]) for request in REQUESTS for name in LIVE[request.sink]]


def same(seen, expected):
    assert seen == expected, f"\n  seen     {seen!r:.500}\n  expected {expected!r:.500}"


def moment(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")


def refused(verify, reason):
    try:
        verify()
    except WebhookVerificationError as error:
        same(str(error), reason)
    else:
        raise AssertionError(f"accepted, instead of: {reason}")


def every_sink_got_every_message_once_and_its_first_one_twice():
    for sink in LIVE:
        requests = [request for request in REQUESTS if request.sink == sink]
        same([request.event["type"] for request in requests], ["message.new"] * 7 + ["account.action_required"])
        ids = [request.event["data"]["message"]["id"] for request in requests[:-1]]
        first = RECORDED["written"][0]["id"]
        same(ids, [first, *WRITTEN])
        refused_one, repeated = requests[:2]
        same((repeated.id, repeated.body), (refused_one.id, refused_one.body))
        same(len({request.id for request in requests}), len(requests) - 1)
        # Time has gone by between the two.
        assert int(repeated.headers["webhook-timestamp"]) > int(refused_one.headers["webhook-timestamp"])


def every_live_secret_verifies_every_request():
    for request, secret in SIGNED:
        same(request.verified(secret), request.event)


def every_other_secret_is_refused():
    for request in REQUESTS:
        for name in SECRETS.keys() - set(LIVE[request.sink]):
            refused(lambda: request.verified(SECRETS[name]), "No matching signature found")


def what_was_changed_on_its_way_is_refused():
    unsigned = "No matching signature found"
    for request, secret in SIGNED:
        last = request.body[:-1] + b" "
        refused(lambda: request.verified(secret, request.body + b" "), unsigned)
        refused(lambda: request.verified(secret, last), unsigned)
        refused(lambda: request.verified(secret, id=request.id + "x"), unsigned)
        timestamp = int(request.headers["webhook-timestamp"])
        refused(lambda: request.verified(secret, timestamp=str(timestamp - 1)), unsigned)


def what_is_older_than_the_tolerance_is_refused_though_it_is_signed():
    for request, secret in SIGNED:
        for seconds, reason in [(60, None), (310, "Message timestamp too old"), (-310, "Message timestamp too new")]:
            at = datetime.now(timezone.utc) - timedelta(seconds=seconds)
            signature = Webhook(secret).sign(request.id, at, request.body.decode())

            def verify():
                return request.verified(secret, timestamp=str(int(at.timestamp())), signature=signature)

            if reason:
                refused(verify, reason)
            else:
                same(verify(), request.event)


def texts_arrive_as_they_were_written_up_to_the_largest_event():
    for request in REQUESTS:
        assert len(request.body) <= LARGEST, len(request.body)
        message = request.event["data"].get("message")
        if message is None:
            continue
        written = WRITTEN[message["id"]]["text"]
        if message["flags"] == ["text_cut"]:
            assert len(request.body) > LARGEST - 1024 and len(written.encode()) > LARGEST
            same(message["text"], written[: len(message["text"])])
        else:
            same((message["flags"], message["text"]), ([], written))
    largest = max(len(request.body) for request in REQUESTS if request.event["data"].get("message", {}).get("flags") == [])
    assert largest > LARGEST - 1024, f"no whole event is near the limit: {largest}"


def events_are_json_unless_content_type_says_another():
    for request in REQUESTS:
        expected = "application/json" if request.sink == "single" else "application/cloudevents+json"
        same(request.headers["content-type"], expected)


def cloudevents_gives_back_what_was_sent():
    for request in REQUESTS:
        if request.sink == "single":
            continue
        event = from_http_event(HTTPMessage(request.headers, request.body))
        seen = (event.get_id(), event.get_source(), event.get_specversion(), event.get_datacontenttype())
        same(seen, (request.id, "/inboxd/accounts/work", "1.0", "application/json"))
        same(event.get_data(), request.event["data"])
        if event.get_type() == "message.new":
            sent_at = WRITTEN[event.get_data()["message"]["id"]]["sent_at"]
            same((event.get_subject(), event.get_time()), (RECORDED["subject"], moment(sent_at)))
        else:
            since = event.get_data()["since"]
            same((event.get_subject(), event.get_time()), ("work", moment(since)))
        # No attribute that is not in the specification.
        known = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype"}
        same(event.get_attributes().keys(), known)
        # What was written for version 1 of the library.
        older = from_http(request.headers, request.body)
        same(older.get_attributes(), {name: request.event[name] for name in known})
        same(older.data, request.event["data"])


for fact in [
    every_sink_got_every_message_once_and_its_first_one_twice,
    every_live_secret_verifies_every_request,
    every_other_secret_is_refused,
    what_was_changed_on_its_way_is_refused,
    what_is_older_than_the_tolerance_is_refused_though_it_is_signed,
    texts_arrive_as_they_were_written_up_to_the_largest_event,
    events_are_json_unless_content_type_says_another,
    cloudevents_gives_back_what_was_sent,
]:
    fact()
    print(f"ok   {fact.__name__.replace('_', ' ')}")
print(f"standardwebhooks {version('standardwebhooks')}, cloudevents {version('cloudevents')}: {len(REQUESTS)} requests")
