import assert from "node:assert/strict";
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const recorded = JSON.parse(readFileSync(process.argv[2], "utf8"));
const written = new Map(recorded.written.map((message) => [message.id, message.text]));
// Which shared secrets sign what a sink sends; the library knows no key pairs.
const live = { single: ["only"], rotating: ["old", "new"], mixed: ["only"], pair: [] };
const requests = recorded.requests.map((it) => ({ ...it, body: Buffer.from(it.body, "base64") }));
const signed = requests.flatMap((request) => live[request.sink].map((name) => [request, recorded.secrets[name]]));
const now = () => Math.floor(Date.now() / 1000);

/** What the library returns, here with another body or other headers. */
const verify = (secret, { body, headers }, changed = {}) =>
  new Webhook(secret).verify(changed.body ?? body, { ...headers, ...changed.headers });

const refused = (act, message) =>
  assert.throws(act, (error) => error instanceof WebhookVerificationError && error.message === message);
const unsigned = "No matching signature found";

/** Signatures of one version, as they are written in the header. */
const signatures = ({ headers }, version) =>
  headers["webhook-signature"].split(" ").filter((it) => it.startsWith(`${version},`)).map((it) => it.split(",")[1]);

function check(name, act) {
  try {
    act();
    console.log(`ok   ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    console.error(error);
    process.exit(1);
  }
}

check("every sink sent every message and one event that is about none", () => {
  for (const sink of Object.keys(live)) {
    const events = requests.filter((it) => it.sink === sink).map((it) => JSON.parse(it.body));
    const ids = events.filter((it) => it.type === "message.new").map((it) => it.data.message.id);
    assert.deepEqual(new Set(ids), new Set(written.keys()));
    assert.equal(events.filter((it) => it.type === "account.action_required").length, 1);
  }
});

check("every live secret verifies every request", () => {
  for (const [request, secret] of signed) {
    const event = verify(secret, request);
    assert.equal(event.id, request.headers["webhook-id"]);
    // As text, which is how many receivers hold it.
    assert.deepEqual(verify(secret, { ...request, body: request.body.toString("utf8") }), event);
  }
});

check("texts arrive as they were written, up to the largest event", () => {
  let largest = 0;
  for (const [request, secret] of signed) {
    const { message } = verify(secret, request).data;
    if (message === undefined) continue;
    const text = written.get(message.id);
    assert.ok(request.body.length <= 65536);
    if (message.flags.includes("text_cut")) {
      assert.ok(Buffer.byteLength(text) > 65536 && text.startsWith(message.text));
    } else {
      assert.equal(message.text, text);
      largest = Math.max(largest, request.body.length);
    }
  }
  assert.ok(largest > 64512, `no whole event is near the limit: ${largest}`);
});

check("every other secret is refused", () => {
  for (const request of requests) {
    const others = Object.keys(recorded.secrets).filter((name) => !live[request.sink].includes(name));
    for (const name of others) refused(() => verify(recorded.secrets[name], request), unsigned);
  }
});

check("what was changed on its way is refused", () => {
  for (const [request, secret] of signed) {
    const { "webhook-id": id, "webhook-timestamp": timestamp } = request.headers;
    refused(() => verify(secret, request, { body: `${request.body} ` }), unsigned);
    refused(() => verify(secret, request, { headers: { "webhook-id": `${id}x` } }), unsigned);
    refused(() => verify(secret, request, { headers: { "webhook-timestamp": String(timestamp - 1) } }), unsigned);
  }
});

check("what is older than the tolerance is refused though it is signed", () => {
  for (const [request, secret] of signed) {
    const at = (seconds) => {
      const signature = new Webhook(secret).sign(request.headers["webhook-id"], new Date(seconds * 1000), request.body);
      return { headers: { "webhook-timestamp": String(seconds), "webhook-signature": signature } };
    };
    assert.ok(verify(secret, request, at(now() - 60)));
    refused(() => verify(secret, request, at(now() - 310)), "Message timestamp too old");
    refused(() => verify(secret, request, at(now() + 310)), "Message timestamp too new");
  }
});

// By the text of the specification: ed25519 over id, timestamp and body; the key is whpk_ and base64.
check("the public key verifies every request that the key pair signs (v1a, by node:crypto)", () => {
  assert.match(recorded.public, /^whpk_/);
  const raw = Buffer.from(recorded.public.slice(5), "base64");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  for (const request of requests) {
    const { "webhook-id": id, "webhook-timestamp": timestamp } = request.headers;
    const made = signatures(request, "v1a");
    assert.equal(made.length, ["pair", "mixed"].includes(request.sink) ? 1 : 0);
    for (const signature of made) {
      const holds = (content) => verifySignature(null, content, key, Buffer.from(signature, "base64"));
      const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), request.body]);
      assert.ok(holds(content));
      assert.ok(!holds(Buffer.concat([content, Buffer.from(" ")])));
      assert.ok(!holds(Buffer.concat([Buffer.from(`${id}.${timestamp - 1}.`), request.body])));
    }
  }
});

check("there is one signature for each live key", () => {
  for (const request of requests) {
    const all = request.headers["webhook-signature"].split(" ").length;
    assert.equal(all, { single: 1, rotating: 2, mixed: 2, pair: 1 }[request.sink]);
    assert.equal(signatures(request, "v1").length, live[request.sink].length);
  }
});

const { version } = createRequire(import.meta.url)("standardwebhooks/package.json");
console.log(`standardwebhooks ${version}: ${requests.length} requests`);
