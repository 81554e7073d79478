//! Which conversations are put on record while a large answer of theirs is read.

use std::sync::Arc;

use async_trait::async_trait;

use super::outcome::log_unwritten;
use crate::providers::LargeAnswers;
use crate::store::{SourceId, Store};

/// What an answer is of.
pub(super) struct Reading {
    pub(super) store: Store,
    /// None where it is of the account as a whole.
    pub(super) sources: Vec<SourceId>,
}

impl Reading {
    pub(super) fn of_account(store: &Store) -> Arc<Self> {
        Arc::new(Self { store: store.clone(), sources: vec![] })
    }
}

#[async_trait]
impl LargeAnswers for Reading {
    async fn begins(&self) {
        if !self.sources.is_empty() {
            log_unwritten(self.store.reading_begins(self.sources.clone()).await);
        }
    }

    async fn ends(&self) {
        if !self.sources.is_empty() {
            log_unwritten(self.store.reading_ends(self.sources.clone()).await);
        }
    }
}
