//! What was asked: the last requests and a count per endpoint.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// Most requests that are kept.
const KEPT: usize = 10_000;

/// Most bytes of a body that are kept.
const BODY_KEPT: usize = 4 * 1024;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /conversations/poll`
    LinkedApiPoll,
    /// `POST /workflows`
    LinkedApiStart,
    /// `GET /workflows/{id}`
    LinkedApiStatus,
    /// `DELETE /workflows/{id}`
    LinkedApiCancel,
    /// `GET /account`
    LinkedApiAccount,
    /// `GET /conversations/{urn}/messages`
    ConnectSafelyMessages,
    /// `GET /conversations`
    ConnectSafelyConversations,
    /// `GET /conversations/exists/{slug}`
    ConnectSafelyExists,
    /// `GET /conversations/sync/status`
    ConnectSafelySyncStatus,
    /// `GET /accounts`
    ConnectSafelyAccounts,
    /// `GET /account/status` and `GET /account/{id}/status`
    ConnectSafelyAccountStatus,
    /// Paths that ConnectSafely redirects with 307.
    ConnectSafelyRetired,
    /// Unipile v2: `GET /accounts/`
    UnipileAccounts,
    /// Unipile v2: `GET /accounts/{account}`
    UnipileAccount,
    /// Unipile v2: `GET /{account}/users/me`
    UnipileMe,
    /// Unipile v2: `GET /{account}/inboxes`
    UnipileInboxes,
    /// Unipile v2: `GET /{account}/inboxes/{inbox}/chats`
    UnipileInboxChats,
    /// Unipile v2: `GET /{account}/chats`
    UnipileChats,
    /// Unipile v2: `GET /{account}/chats/{chat}`
    UnipileChat,
    /// Unipile v2: `GET /{account}/chats/{chat}/messages`
    UnipileMessages,
    /// Unipile v2: `GET /{account}/chats/{chat}/messages/{message}`
    UnipileMessage,
    /// Unipile v1: `GET /chats`
    UnipileV1Chats,
    /// Unipile v1: `GET /chats/{chat}`
    UnipileV1Chat,
    /// Unipile v1: `GET /chats/{chat}/messages`
    UnipileV1ChatMessages,
    /// Unipile v1: `GET /messages`
    UnipileV1Messages,
    /// Unipile v1: `GET /messages/{message}`
    UnipileV1Message,
    /// Unipile v1: `GET /accounts`
    UnipileV1Accounts,
    /// Unipile v1: `GET /accounts/{account}`
    UnipileV1Account,
    /// `POST /inbox/poll`
    LinkedApiInboxPoll,
    /// `POST /v1/messages/conversation`
    LinkupV1Messages,
    /// `POST /v1/messages/inbox`
    LinkupV1Inbox,
    /// `POST /v2/messages`, action `get_conversation`
    LinkupV2Messages,
    /// `POST /v2/messages`, action `list_inbox`
    LinkupV2Inbox,
    /// `GET /v2/accounts`
    LinkupV2Accounts,
    /// `GET /v2/accounts/{id}`
    LinkupV2Account,
    /// `GET /v2/credits`
    LinkupV2Credits,
    /// `/v2/webhooks` and what is below, but for events
    LinkupV2Webhooks,
    /// `GET /v2/webhooks/{id}/events`
    LinkupV2Events,
    /// `GET /health`
    Health,
    /// A path or method that no contract has.
    Unknown,
}

impl Endpoint {
    /// Every endpoint, in the order of its declaration.
    pub const ALL: [Self; 40] = [
        Self::LinkedApiPoll,
        Self::LinkedApiStart,
        Self::LinkedApiStatus,
        Self::LinkedApiCancel,
        Self::LinkedApiAccount,
        Self::ConnectSafelyMessages,
        Self::ConnectSafelyConversations,
        Self::ConnectSafelyExists,
        Self::ConnectSafelySyncStatus,
        Self::ConnectSafelyAccounts,
        Self::ConnectSafelyAccountStatus,
        Self::ConnectSafelyRetired,
        Self::UnipileAccounts,
        Self::UnipileAccount,
        Self::UnipileMe,
        Self::UnipileInboxes,
        Self::UnipileInboxChats,
        Self::UnipileChats,
        Self::UnipileChat,
        Self::UnipileMessages,
        Self::UnipileMessage,
        Self::UnipileV1Chats,
        Self::UnipileV1Chat,
        Self::UnipileV1ChatMessages,
        Self::UnipileV1Messages,
        Self::UnipileV1Message,
        Self::UnipileV1Accounts,
        Self::UnipileV1Account,
        Self::LinkedApiInboxPoll,
        Self::LinkupV1Messages,
        Self::LinkupV1Inbox,
        Self::LinkupV2Messages,
        Self::LinkupV2Inbox,
        Self::LinkupV2Accounts,
        Self::LinkupV2Account,
        Self::LinkupV2Credits,
        Self::LinkupV2Webhooks,
        Self::LinkupV2Events,
        Self::Health,
        Self::Unknown,
    ];
}

/// One request to a provider endpoint; never with its headers, which carry secrets.
#[derive(Clone, Debug, Serialize)]
pub struct RequestEntry {
    /// HTTP method.
    pub method: String,
    /// Path as sent, still percent-encoded.
    pub path: String,
    /// What it asks for.
    pub endpoint: Endpoint,
    /// Query as sent, without the question mark.
    pub query: String,
    /// Body, at most its first 4 KiB.
    pub body: String,
    /// When it was taken.
    pub at: UnixMillis,
}

struct Kept {
    method: Method,
    uri: Uri,
    endpoint: Endpoint,
    body: Bytes,
    at: UnixMillis,
}

/// The log: cheap to write, made readable only when somebody looks.
pub(super) struct Requests {
    counts: [u64; Endpoint::ALL.len()],
    last: VecDeque<Kept>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { counts: [0; Endpoint::ALL.len()], last: VecDeque::new() }
    }
}

impl Requests {
    pub(super) fn count(&mut self, endpoint: Endpoint) {
        self.counts[endpoint as usize] += 1;
    }

    pub(super) fn keep(&mut self, method: &Method, uri: &Uri, endpoint: Endpoint, body: &Bytes) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        // A slice would keep the whole body alive.
        let body = if body.len() > BODY_KEPT { Bytes::copy_from_slice(&body[..BODY_KEPT]) } else { body.clone() };
        self.last.push_back(Kept { method: method.clone(), uri: uri.clone(), endpoint, body, at: UnixMillis::now() });
    }

    pub(super) fn counted(&self, endpoint: Endpoint) -> u64 {
        self.counts[endpoint as usize]
    }

    pub(super) fn entries(&self) -> Vec<RequestEntry> {
        let entry = |kept: &Kept| RequestEntry {
            method: kept.method.to_string(),
            path: kept.uri.path().into(),
            endpoint: kept.endpoint,
            query: kept.uri.query().unwrap_or_default().into(),
            body: String::from_utf8_lossy(&kept.body).into_owned(),
            at: kept.at,
        };
        self.last.iter().map(entry).collect()
    }
}
