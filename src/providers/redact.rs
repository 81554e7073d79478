//! Keeps an account's own credentials out of its errors: a provider may repeat them in a refusal, and an error's detail
//! goes into the log, the store and `status`.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::{Error, Page, PageRequest, Provider, Started, Upkeep, Workflow};
use crate::model::Conversation;

/// A provider whose errors do not carry these secrets.
pub(super) struct Redacted<P> {
    pub(super) inner: P,
    pub(super) secrets: Vec<SecretString>,
}

impl<P> Redacted<P> {
    fn redact(&self, mut error: Error) -> Error {
        for secret in self.secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
            error.detail = error.detail.replace(secret, "***");
        }
        error
    }
}

#[async_trait]
impl<P: Provider> Provider for Redacted<P> {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        self.inner.page(request).await.map_err(|e| self.redact(e))
    }

    async fn batch(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let pages = self.inner.batch(requests).await.map_err(|e| self.redact(e))?;
        Ok(pages.into_iter().map(|page| page.map_err(|e| self.redact(e))).collect())
    }

    async fn probe(&self) -> Result<(), Error> {
        self.inner.probe().await.map_err(|e| self.redact(e))
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.inner.upkeep().map(|_| self as &dyn Upkeep)
    }
}

#[async_trait]
impl<P: Provider> Upkeep for Redacted<P> {
    async fn start(&self, conversation: &Conversation) -> Result<Started, Error> {
        self.upkept().start(conversation).await.map_err(|e| self.redact(e))
    }

    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        match self.upkept().status(workflow_id).await.map_err(|e| self.redact(e))? {
            Workflow::Failed(error) => Ok(Workflow::Failed(self.redact(error))),
            other => Ok(other),
        }
    }

    fn period(&self) -> Duration {
        self.upkept().period()
    }
}

impl<P: Provider> Redacted<P> {
    fn upkept(&self) -> &dyn Upkeep {
        self.inner.upkeep().expect("upkeep is offered only where the provider has it")
    }
}
