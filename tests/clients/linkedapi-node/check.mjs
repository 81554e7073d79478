import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
// The entry is CommonJS; its default export differs between releases.
const sdk = require('@linkedapi/node');
const LinkedApi = sdk.LinkedApi ?? sdk.default;

const root = process.argv[2];
const tokens = { linkedApiToken: 'sim-linked-api-token', identificationToken: 'sim-identification-token' };
const linkedapi = new LinkedApi({ ...tokens, baseUrl: `${root}/linkedapi` });

async function control(path, body) {
    const response = await fetch(`${root}/control${path}`, { method: 'POST', body: JSON.stringify(body) });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
}

const T0 = Date.UTC(2026, 0, 31, 9);
const time = (n) => new Date(T0 + n * 1000).toISOString();

/** A conversation that was never synced, with two messages. */
async function seed(kind, person) {
    const made = await control('/conversations', { dialect: 'linked_api', kind, person });
    await control('/conversations/sync', { conversation: made.conversation, sync_until: null });
    const push = (n, text, outbound) =>
        control('/messages', { conversation: made.conversation, text, outbound, sent_at: time(n) });
    const ids = [await push(0, 'Good morning', false), await push(1, 'Hello \u{1F44B} "you"', true)];
    return { ...made, ids: ids.map((answer) => answer.message_id), push };
}

const types = [
    { type: 'st', kind: 'standard', operation: linkedapi.syncConversation },
    { type: 'nv', kind: 'sales_navigator', operation: linkedapi.nvSyncConversation },
];

for (const { type, kind, operation } of types) {
    const { address, conversation, ids, push } = await seed(kind, `Node Client ${type}`);
    const poll = (since) => linkedapi.pollConversations([{ personUrl: address, type, ...(since ? { since } : {}) }]);

    const unsynced = await poll();
    assert.deepEqual(unsynced.errors.map((error) => error.type), ['conversationsNotSynced']);

    const started = await operation.execute({ personUrl: address });
    const workflowId = typeof started === 'string' ? started : started.workflowId;
    const synced = await operation.result(workflowId, { pollInterval: 20, timeout: 10_000 });
    assert.deepEqual(synced.errors, [], `${type}: sync`);

    const polled = await poll();
    assert.deepEqual(polled.errors, []);
    assert.equal(polled.data.length, 1);
    assert.equal(polled.data[0].personUrl, address);
    assert.equal(polled.data[0].type, type);
    const seen = polled.data[0].messages.map(({ id, sender, text, time }) => ({ id, sender, text, time }));
    assert.deepEqual(seen, [
        { id: ids[0], sender: 'them', text: 'Good morning', time: time(0) },
        { id: ids[1], sender: 'us', text: 'Hello \u{1F44B} "you"', time: time(1) },
    ]);

    await push(2, 'later', false);
    const later = await poll(time(2));
    assert.deepEqual(later.data[0].messages.map(({ text }) => text), ['later']);
    assert.equal(later.data[0].since, time(2));

    const both = await control('/conversations', { dialect: 'linked_api', kind, person: `Node Second ${type}` });
    const batch = await linkedapi.pollConversations([
        { personUrl: address, type },
        { personUrl: both.address, type },
    ]);
    assert.deepEqual(batch.data.map(({ messages }) => messages.length), [3, 0]);

    await control('/switches', { linked_api: { pending_ms: 60_000 } });
    const waiting = await operation.execute({ personUrl: address });
    const waitingId = typeof waiting === 'string' ? waiting : waiting.workflowId;
    assert.equal(await operation.cancel(waitingId), true);
    await control('/switches', { linked_api: { pending_ms: 50 } });

    const wrong = await operation.execute({ personUrl: 'https://www.linkedin.com/in/nobody-of-that-name' });
    const failed = await operation.result(typeof wrong === 'string' ? wrong : wrong.workflowId, { pollInterval: 20 });
    assert.deepEqual(failed.errors.map((error) => error.type), ['personNotFound']);
    assert.ok(conversation >= 0);
}

const account = await linkedapi.getAccountInfo();
assert.equal(account.data.name, 'Robin Keller');

for (const refusal of ['client_error', 'ok']) {
    await control('/switches', { linked_api: { refusal_status: refusal } });
    const stranger = new LinkedApi({ ...tokens, linkedApiToken: 'wrong', baseUrl: `${root}/linkedapi` });
    await assert.rejects(stranger.syncConversation.execute({ personUrl: 'x' }), { type: 'invalidLinkedApiToken' });
}
await control('/switches', { linked_api: { refusal_status: 'client_error' } });

const { version } = require('@linkedapi/node/package.json');
console.log(`@linkedapi/node ${version}: sync, poll, since, batch, cancel and refusals, st and nv`);
