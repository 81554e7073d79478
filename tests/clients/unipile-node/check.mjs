// What the official SDK accepts, and what it must be told, of the simulator's Unipile v1.
import assert from "node:assert/strict";
import { InvalidResponseTypeError, UnipileClient } from "unipile-node-sdk";

const root = process.argv[2];
// What the simulator's settings default to.
const key = "sim-unipile-key";
const account_id = "simV1accountId0000001";

// The validators are off by default, and then any JSON passes.
const strict = { validateRequestPayload: true, validateRequestPayloadLevel: "error" };
const client = new UnipileClient(`${root}/unipile/v1`, key, strict);

async function control(method, path, body) {
  const answer = await fetch(`${root}/control${path}`, { method, body: body && JSON.stringify(body) });
  const json = await answer.json();
  assert.equal(answer.status, 200, `${method} ${path}: ${JSON.stringify(json)}`);
  return json;
}

async function check(name, act) {
  try {
    await act();
    console.log(`ok   ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    // The SDK's errors carry what did not fit in `body`, as an iterator.
    const detail = error?.body?.[Symbol.iterator] ? [...error.body].slice(0, 3) : error?.body;
    console.error(error, detail === undefined ? "" : JSON.stringify(detail, null, 2));
    process.exit(1);
  }
}

/** All pages of a list, the cursor alone asking for the next one. */
async function walk(ask, input) {
  const items = [];
  let pages = 0;
  let page = await ask(input);
  for (;;) {
    items.push(...page.items);
    pages += 1;
    if (page.cursor === null) return { items, pages };
    page = await ask({ ...(input.chat_id && { chat_id: input.chat_id }), cursor: page.cursor });
  }
}

const ids = (items) => items.map((item) => item.id);
const newestFirst = (items) =>
  items.every((item, at) => at === 0 || items[at - 1].timestamp >= item.timestamp);

// Later than all there is, so that a second run on the same simulator finds its own chats first.
const there = await control("GET", "/ledger");
const base = Math.max(Date.now(), ...there.map((it) => Date.parse(it.sent_at))) + 86_400_000;
const time = (n) => new Date(base + n * 1000).toISOString();
const TALK = 320;

await check("the SDK refuses an answer that lacks what it requires", async () => {
  const fault = { status: { code: 200, body: '{"object":"AccountList","items":[{"object":"Account"}],"cursor":null}' } };
  await control("POST", "/faults", { fault, when: { endpoint: "unipile_v1_accounts", times: 1 } });
  const error = await client.account.getAll().then(() => assert.fail("it was accepted"), (error) => error);
  assert.ok(error instanceof InvalidResponseTypeError, String(error));
});

const talk = await control("POST", "/conversations", { dialect: "unipile_v1", person: "Ada Byron" });
const written = [];
for (let n = 0; n < TALK; n += 1) {
  const message = { conversation: talk.conversation, text: `message ${n}`, sent_at: time(n), outbound: n % 3 === 0 };
  written.push((await control("POST", "/messages", message)).message_id);
}
const odd = await control("POST", "/conversations", { dialect: "unipile_v1", kind: "recruiter", person: "Mara Lind" });
const oddities = [
  { text: "edited", edited: true },
  { text: "hidden", hidden: true },
  { text: "renamed the chat", event: true },
  { text: "", attachments: [{ id: "a1", type: "file", file_name: "offer.pdf", unavailable: false }] },
  { text: "deleted", deleted: true },
];
for (const [n, message] of oddities.entries()) {
  await control("POST", "/messages", { conversation: odd.conversation, sent_at: time(TALK + n), ...message });
}
const silent = await control("POST", "/conversations", { dialect: "unipile_v1", kind: "sales_navigator" });

await check("accounts are listed, with the status of their source", async () => {
  const accounts = await client.account.getAll();
  assert.deepEqual(ids(accounts.items), [account_id]);
  assert.equal(accounts.items[0].sources[0].status, "OK");
});

await check("one account is read", async () => {
  assert.equal((await client.account.getOne(account_id)).id, account_id);
});

await check("chats are listed, the last one to move first", async () => {
  const chats = await client.messaging.getAllChats({ account_id, account_type: "LINKEDIN" });
  assert.deepEqual(ids(chats.items).slice(0, 2), [odd.conversation_id, talk.conversation_id]);
  assert.ok(ids(chats.items).includes(silent.conversation_id));
});

await check("chats are paged by cursor to the end, each once", async () => {
  const { items, pages } = await walk((input) => client.messaging.getAllChats(input), { limit: 2 });
  const known = (await control("GET", "/conversations")).filter((it) => it.dialect === "unipile_v1");
  assert.deepEqual(new Set(ids(items)), new Set(known.map((it) => it.conversation_id)));
  assert.equal(items.length, known.length);
  assert.equal(pages, Math.ceil(known.length / 2));
});

await check("a chat is read with its last message, and without one", async () => {
  const chat = await client.messaging.getChat(talk.conversation_id);
  assert.equal(chat.lastMessage.id, written.at(-1));
  // A chat's time is in whole seconds, the message's in milliseconds.
  assert.ok(Math.abs(Date.parse(chat.timestamp) - Date.parse(time(TALK - 1))) <= 1000, chat.timestamp);
  assert.equal((await client.messaging.getChat(silent.conversation_id)).lastMessage, null);
});

await check("messages of a chat are paged by cursor to the end, each once, newest first", async () => {
  const chat_id = talk.conversation_id;
  const { items, pages } = await walk((input) => client.messaging.getAllMessagesFromChat(input), { chat_id });
  assert.deepEqual(ids(items), [...written].reverse());
  assert.equal(pages, Math.ceil(TALK / 100));
  assert.ok(newestFirst(items));
  assert.equal(items.filter((item) => item.is_sender === 1).length, Math.ceil(TALK / 3));
});

await check("messages of the account are paged by cursor to the end, each once, newest first", async () => {
  const { items, pages } = await walk((input) => client.messaging.getAllMessages(input), { account_id, limit: 250 });
  const ledger = (await control("GET", "/ledger")).filter((it) => it.dialect === "unipile_v1");
  assert.ok(pages >= 2);
  assert.equal(new Set(ids(items)).size, items.length);
  const mine = new Set([talk.conversation, odd.conversation]);
  const wanted = ledger.filter((it) => mine.has(it.conversation)).map((it) => it.message_id);
  const got = new Set(ids(items));
  assert.ok(wanted.every((id) => got.has(id)));
  assert.ok(newestFirst(items));
});

await check("after and before leave out the message of their own instant", async () => {
  const chat_id = talk.conversation_id;
  const between = { chat_id, after: time(10), before: time(14) };
  const page = await client.messaging.getAllMessagesFromChat(between);
  assert.deepEqual(ids(page.items), [written[13], written[12], written[11]]);
  const late = await client.messaging.getAllMessages({ account_id, after: time(TALK - 2), before: time(TALK) });
  assert.deepEqual(ids(late.items), [written[TALK - 1]]);
});

await check("a cursor carries the filter of its first page", async () => {
  const input = { account_id, after: time(0), before: time(TALK), limit: 100 };
  const { items, pages } = await walk((it) => client.messaging.getAllMessages(it), input);
  assert.deepEqual([items.length, pages], [TALK - 1, 4]);
});

await check("edited, hidden, event, deleted and attachment messages are valid", async () => {
  const { items } = await client.messaging.getAllMessagesFromChat({ chat_id: odd.conversation_id });
  const [deleted, file, event, hidden, edited] = items;
  assert.deepEqual([deleted.deleted, deleted.text], [1, null]);
  assert.equal(file.attachments[0].file_name, "offer.pdf");
  assert.deepEqual([event.is_event, hidden.hidden, edited.edited], [1, 1, 1]);
});

await check("one message is read by its id", async () => {
  assert.equal((await client.messaging.getMessage(written[7])).text, "message 7");
});

await check("an inexact time, a wrong key and an unknown chat are refused with an error body", async () => {
  const refused = async (asked, type) => {
    const error = await asked.then(() => assert.fail("it was not refused"), (error) => error);
    assert.equal(error.body?.type, `errors/${type}`);
  };
  await refused(client.messaging.getAllMessages({ after: "2026-11-20T09:00:00Z" }), "invalid_parameters");
  await refused(client.messaging.getAllMessages({ limit: 251 }), "invalid_parameters");
  await refused(client.messaging.getAllMessagesFromChat({ chat_id: "nobody" }), "resource_not_found");
  const stranger = new UnipileClient(`${root}/unipile/v1`, "other", strict);
  await refused(stranger.account.getAll(), "insufficient_privileges");
});

await check("a disconnected account goes on answering with what it had", async () => {
  await control("POST", "/switches", { unipile: { v1_source_status: "CREDENTIALS" } });
  await control("POST", "/messages", { conversation: talk.conversation, text: "unseen", sent_at: time(TALK + 100) });
  const newest = async () => (await client.messaging.getAllMessages({ limit: 1 })).items[0].text;
  assert.notEqual(await newest(), "unseen");
  assert.equal((await client.account.getOne(account_id)).sources[0].status, "CREDENTIALS");
  await control("POST", "/switches", { unipile: { v1_source_status: "OK" } });
  assert.equal(await newest(), "unseen");
});
