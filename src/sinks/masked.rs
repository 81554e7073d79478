//! Keeps what a sink is sent beside events out of its errors: the place may repeat it in a refusal, and an error goes into
//! the log, the record of the attempt and the answers of commands.

use async_trait::async_trait;

use super::{Delivered, Error, Outgoing, Sink};
use crate::mask::Mask;
use crate::model::cut_at;

/// First bytes of what a place says that are kept.
const REPLY_LIMIT: usize = 200;

/// A sink whose errors do not carry these secrets.
pub(super) struct Masked {
    pub(super) inner: Box<dyn Sink>,
    pub(super) mask: Mask,
}

impl Masked {
    fn hide(&self, error: Error) -> Error {
        let shown = |said: String| {
            let hidden = self.mask.hide(&said);
            cut_at(&hidden, REPLY_LIMIT).to_owned()
        };
        Error { detail: self.mask.hide(&error.detail), reply: error.reply.map(shown), ..error }
    }
}

#[async_trait]
impl Sink for Masked {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        let Delivered { count, failure } = self.inner.deliver(events).await;
        Delivered { count, failure: failure.map(|error| self.hide(error)) }
    }

    async fn probe(&self) -> Result<(), Error> {
        self.inner.probe().await.map_err(|error| self.hide(error))
    }

    fn reopen(&self) {
        self.inner.reopen();
    }
}
