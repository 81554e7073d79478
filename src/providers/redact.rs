//! Keeps an account's own credentials out of its errors: a provider may repeat them in a refusal, and an error's detail
//! goes into the log, the store and `status`. And out of the provider's own objects of messages, which go into events.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Balance, Call, Error, Folders, Inbox, ListRequest, Listing, Monitoring, Page, PageRequest, Provider, Started,
    Upkeep, Workflow,
};
use crate::model::Conversation;

/// A provider whose errors do not carry these secrets.
pub(super) struct Redacted {
    pub(super) inner: Box<dyn Provider>,
    /// The credentials that the provider is sent: it may repeat them anywhere.
    pub(super) secrets: Vec<SecretString>,
    /// The credentials of what stands between. The provider knows nothing of them, so a message that contains one merely has
    /// the same word in it.
    pub(super) on_the_way: Vec<SecretString>,
}

fn filled(secrets: &[SecretString]) -> impl Iterator<Item = &str> {
    secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
}

impl Redacted {
    fn redact(&self, mut error: Error) -> Error {
        error.detail = self.redact_text(error.detail);
        error
    }

    fn redact_text(&self, mut text: String) -> String {
        for secret in filled(&self.secrets).chain(filled(&self.on_the_way)) {
            text = masked(&text, secret);
        }
        text
    }

    /// An object that has a credential in it is not passed on at all: masked, it would not be the provider's any more.
    fn redact_page(&self, mut page: Page) -> Page {
        for message in &mut page.messages {
            message.raw.take_if(|raw| filled(&self.secrets).any(|secret| raw.get().contains(secret)));
        }
        page
    }

    fn redact_workflow(&self, workflow: Workflow) -> Workflow {
        match workflow {
            Workflow::Failed(error) => Workflow::Failed(self.redact(error)),
            other => other,
        }
    }

    fn upkept(&self) -> &dyn Upkeep {
        self.inner.upkeep().expect("upkeep is offered only where the provider has it")
    }

    fn listed(&self) -> &dyn Inbox {
        self.inner.inbox().expect("an inbox is offered only where the provider has it")
    }

    fn monitored(&self) -> &dyn Monitoring {
        self.listed().monitoring().expect("monitoring is offered only where the provider has it")
    }
}

/// The text without the secret, also where a limit has cut the text in the middle of it.
fn masked(text: &str, secret: &str) -> String {
    let text = text.replace(secret, "***");
    let Some(kept) = text.strip_suffix("...") else { return text };
    let begins = (1..secret.len()).rev().filter(|at| secret.is_char_boundary(*at));
    match begins.map(|at| &secret[..at]).find(|begin| kept.ends_with(begin)) {
        Some(begin) => format!("{}***...", &kept[..kept.len() - begin.len()]),
        None => text,
    }
}

#[async_trait]
impl Provider for Redacted {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        self.inner.page(request).await.map(|page| self.redact_page(page)).map_err(|e| self.redact(e))
    }

    async fn batch(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let pages = self.inner.batch(requests).await.map_err(|e| self.redact(e))?;
        let redact = |page: Result<Page, Error>| page.map(|page| self.redact_page(page)).map_err(|e| self.redact(e));
        Ok(pages.into_iter().map(redact).collect())
    }

    async fn probe(&self) -> Result<(), Error> {
        self.inner.probe().await.map_err(|e| self.redact(e))
    }

    fn wants_account(&self) -> bool {
        self.inner.wants_account()
    }

    async fn look_at_account(&self) -> Result<(), Error> {
        self.inner.look_at_account().await.map_err(|e| self.redact(e))
    }

    async fn examine(&self, listed: &[&Conversation]) -> Result<Vec<String>, Error> {
        let notes = self.inner.examine(listed).await.map_err(|e| self.redact(e))?;
        Ok(notes.into_iter().map(|note| self.redact_text(note)).collect())
    }

    fn balance(&self) -> Option<&dyn Balance> {
        self.inner.balance().map(|_| self as &dyn Balance)
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.inner.upkeep().map(|_| self as &dyn Upkeep)
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        self.inner.inbox().map(|_| self as &dyn Inbox)
    }

    fn price(&self, call: Call) -> u32 {
        self.inner.price(call)
    }
}

#[async_trait]
impl Balance for Redacted {
    async fn credits_left(&self) -> Result<u64, Error> {
        let balance = self.inner.balance().expect("a balance is offered only where the provider tells it");
        balance.credits_left().await.map_err(|e| self.redact(e))
    }
}

#[async_trait]
impl Upkeep for Redacted {
    async fn start(&self, conversation: &Conversation) -> Result<Started, Error> {
        self.upkept().start(conversation).await.map_err(|e| self.redact(e))
    }

    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        let workflow = self.upkept().status(workflow_id).await.map_err(|e| self.redact(e))?;
        Ok(self.redact_workflow(workflow))
    }

    fn period(&self) -> Duration {
        self.upkept().period()
    }
}

#[async_trait]
impl Inbox for Redacted {
    fn known_folders(&self) -> Option<Folders> {
        self.listed().known_folders()
    }

    async fn folders(&self) -> Result<Folders, Error> {
        self.listed().folders().await.map_err(|e| self.redact(e))
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        self.listed().list(request).await.map_err(|e| self.redact(e))
    }

    fn monitoring(&self) -> Option<&dyn Monitoring> {
        self.listed().monitoring().map(|_| self as &dyn Monitoring)
    }
}

#[async_trait]
impl Monitoring for Redacted {
    async fn start(&self, folder: &str) -> Result<Started, Error> {
        self.monitored().start(folder).await.map_err(|e| self.redact(e))
    }

    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        let workflow = self.monitored().status(workflow_id).await.map_err(|e| self.redact(e))?;
        Ok(self.redact_workflow(workflow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationId, ConversationType, Direction, Message, MessageId, Sender};
    use crate::providers::Class;

    struct Fake(Vec<&'static str>);

    #[async_trait]
    impl Provider for Fake {
        async fn page(&self, _: PageRequest<'_>) -> Result<Page, Error> {
            let message = |raw: &&str| Message {
                id: MessageId::new("1"),
                direction: Direction::Unknown,
                sent_at: None,
                sender: Sender::default(),
                text: String::new(),
                subject: None,
                quoted: None,
                forwarded: None,
                attachments: vec![],
                flags: vec![],
                unannounced: false,
                raw: serde_json::from_str(raw).unwrap(),
            };
            Ok(Page { messages: self.0.iter().map(message).collect(), ..Page::default() })
        }

        async fn probe(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_object_that_repeats_a_secret_is_not_passed_on() {
        let fake = Fake(vec![r#"{"a": 1}"#, r#"{"token": "s3cr3t"}"#, r#"{"text": "let us pass"}"#]);
        let secrets = vec!["".into(), "s3cr3t".into()];
        let provider = Redacted { inner: Box::new(fake), secrets, on_the_way: vec!["".into(), "pass".into()] };
        let conversation = Conversation {
            id: ConversationId::new("2-A"),
            address: "2-A".into(),
            kind: ConversationType::Standard,
            person_url: None,
        };
        let request = PageRequest { conversation: &conversation, since: None, cursor: None };
        let batch = provider.batch(&[request]).await.unwrap().remove(0).unwrap();
        for page in [provider.page(request).await.unwrap(), batch] {
            let kept: Vec<_> = page.messages.iter().map(|message| message.raw.is_some()).collect();
            assert_eq!(kept, [true, false, true]);
        }
        let told = Error::new(Class::Auth, "s3cr3t by pass");
        assert_eq!(provider.redact(told).detail, "*** by ***");
    }

    #[test]
    fn a_secret_is_masked_whole_or_cut() {
        assert_eq!(masked("key s3cr3t is wrong", "s3cr3t"), "key *** is wrong");
        assert_eq!(masked("the key is s3c...", "s3cr3t"), "the key is ***...");
        assert_eq!(masked("ends otherwise...", "s3cr3t"), "ends otherwise...");
        assert_eq!(masked("s3c is no secret", "s3cr3t"), "s3c is no secret");
    }
}
