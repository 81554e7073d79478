//! Keeps an account's own credentials out of its errors: a provider may repeat them in a refusal, and an error's detail
//! goes into the log, the store and `status`. And out of the provider's own objects of messages, which go into events.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::bounds::{bounded_folders, bounded_listing, bounded_page};
use super::{
    Balance, Call, Error, Folders, Inbox, ListRequest, Listing, Monitoring, Page, PageRequest, Provider, Started,
    Upkeep, Workflow,
};
use crate::mask::Mask;
use crate::model::{Conversation, Flag};

/// A provider whose errors do not carry these secrets.
pub(super) struct Redacted {
    pub(super) inner: Box<dyn Provider>,
    /// The credentials that the provider is sent: it may repeat them anywhere.
    pub(super) secrets: Vec<SecretString>,
    /// These, the credentials of what stands between, and what `${...}` has inserted. Of the latter two the provider knows
    /// nothing, so a message that contains one merely has the same word in it.
    pub(super) mask: Mask,
}

/// Whether a secret stands in JSON as it is, or with its slashes escaped.
fn repeats(json: &str, secret: &str) -> bool {
    let is_in = |secret: &str| !secret.is_empty() && json.contains(secret);
    is_in(secret) || (secret.contains('/') && is_in(&secret.replace('/', "\\/")))
}

impl Redacted {
    fn redact(&self, mut error: Error) -> Error {
        error.detail = self.mask.hide(&error.detail);
        error
    }

    /// An object that has a credential in it is not passed on at all: masked, it would not be the provider's any more.
    fn redact_page(&self, page: Page) -> Result<Page, Error> {
        let mut page = bounded_page(page)?;
        for message in &mut page.messages {
            // So is an attachment, which may be an address with a key in it.
            let before = message.attachments.len();
            message
                .attachments
                .retain(|own| !self.secrets.iter().any(|secret| repeats(own.get(), secret.expose_secret())));
            if message.attachments.len() < before {
                message.flag(Flag::AttachmentsCut);
            }
            message.raw.take_if(|raw| self.secrets.iter().any(|secret| repeats(raw.get(), secret.expose_secret())));
        }
        Ok(page)
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

#[async_trait]
impl Provider for Redacted {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        self.inner.page(request).await.and_then(|page| self.redact_page(page)).map_err(|e| self.redact(e))
    }

    async fn batch(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let pages = self.inner.batch(requests).await.map_err(|e| self.redact(e))?;
        let redact =
            |page: Result<Page, Error>| page.and_then(|page| self.redact_page(page)).map_err(|e| self.redact(e));
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
        Ok(notes.into_iter().map(|note| self.mask.hide(&note)).collect())
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
        self.listed().folders().await.map(bounded_folders).map_err(|e| self.redact(e))
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        self.listed().list(request).await.and_then(bounded_listing).map_err(|e| self.redact(e))
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
        let fake =
            Fake(vec![r#"{"a": 1}"#, r#"{"token": "s3cr3t"}"#, r#"{"text": "let us pass"}"#, r#"{"a": "x\/Y1"}"#]);
        let secrets: Vec<SecretString> = vec!["".into(), "s3cr3t".into(), "x/Y1".into()];
        let mask = Mask::default().and_all(&secrets).and("pass");
        let provider = Redacted { inner: Box::new(fake), secrets, mask };
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
            assert_eq!(kept, [true, false, true, false]);
        }
        let told = Error::new(Class::Auth, "s3cr3t by pass");
        assert_eq!(provider.redact(told).detail, "*** by ***");
    }
}
