//! What every provider keeps to, whatever its wire looks like: one row per provider, and every test over every row.

mod faults;
mod messages;
mod odd;
mod raw;

use inboxd::simulator::{ConversationRef, Dialect, Endpoint, Fault, Kind};

use crate::support::{Daemon, Rig, until};

/// A provider, or one API generation of it.
pub(super) struct Row {
    pub(super) dialect: Dialect,
    /// Where one conversation is polled.
    pub(super) polls: Endpoint,
    /// Whether conversations are those that the inbox lists.
    discovers: bool,
    /// Seconds from refused credentials to the first probe.
    pub(super) first_probe: u64,
    /// Whether long answers come in pages.
    pub(super) has_pages: bool,
}

/// A module for each row, with the tests of faults and of messages, or of messages alone.
macro_rules! rows {
    ($($name:ident $($alone:ident)?: $row:expr;)*) => { $(
        mod $name {
            use super::*;
            const ROW: Row = $row;
            rows!(@faults $($alone)?);
            rows!(@tests
                messages::a_history_of_many_pages_comes_oldest_first_and_once,
                messages::a_cursor_that_repeats_once_loses_nothing,
                messages::messages_of_one_millisecond_all_come,
                messages::a_message_that_turns_up_late_comes_once_and_is_marked,
                messages::what_is_written_while_pages_are_read_comes_after_them,
                messages::a_message_of_the_owner_is_told_and_never_taken_for_one_of_the_other,
                raw::the_providers_own_object_is_kept_as_it_was_sent,
                odd::a_message_that_cannot_be_read_takes_no_other_with_it,
                odd::a_row_that_cannot_be_read_takes_no_other_with_it,
                odd::a_byte_order_mark_and_compression_are_undone_and_other_encodings_are_named
            );
        }
    )* };
    (@faults messages_alone) => {};
    (@faults) => {
        rows!(@tests
            faults::a_fault_has_its_class_moves_nothing_and_loses_nothing_once_it_has_passed,
            faults::a_told_wait_is_kept_by_the_whole_account_and_an_unreadable_one_is_as_none,
            faults::refused_credentials_pause_the_account_and_nothing_is_asked_meanwhile,
            faults::a_conversation_that_is_gone_is_paused_alone,
            faults::an_interval_is_kept_and_downtime_causes_one_poll_and_no_burst
        );
    };
    (@tests $($module:ident::$test:ident),*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            super::$module::$test(&ROW).await;
        }
    )* };
}

const PLAIN: Row = Row {
    dialect: Dialect::ConnectSafely,
    polls: Endpoint::ConnectSafelyMessages,
    discovers: false,
    first_probe: 60,
    has_pages: true,
};

rows! {
    connectsafely: PLAIN;
    linkedapi: Row { dialect: Dialect::LinkedApi, polls: Endpoint::LinkedApiPoll, has_pages: false, ..PLAIN };
    // The channel is another, the way and the refusals are the same.
    linkedapi_inbox messages_alone: Row {
        dialect: Dialect::LinkedApi,
        polls: Endpoint::LinkedApiInboxPoll,
        discovers: true,
        has_pages: false,
        ..PLAIN
    };
    linkup_v1: Row {
        dialect: Dialect::LinkupV1,
        polls: Endpoint::LinkupV1Messages,
        first_probe: 86_400,
        ..PLAIN
    };
    linkup_v2: Row { dialect: Dialect::LinkupV2, polls: Endpoint::LinkupV2Messages, ..PLAIN };
    unipile_v2: Row { dialect: Dialect::UnipileV2, polls: Endpoint::UnipileMessages, ..PLAIN };
    unipile_v1: Row { dialect: Dialect::UnipileV1, polls: Endpoint::UnipileV1ChatMessages, ..PLAIN };
}

impl Row {
    pub(super) async fn rig(&self) -> Rig {
        let mut rig = Rig::new().await;
        rig.polling = "timeout = \"500ms\"\n".into();
        // Faults are aimed at one conversation each.
        rig.linkedapi = "batch_size = 1\n".into();
        if self.discovers {
            rig.polling += "sweep_interval = \"100ms\"\n";
            rig.discover(self.dialect, "");
        }
        rig
    }

    pub(super) fn conversation(&self, rig: &mut Rig, person: &str) -> ConversationRef {
        if self.discovers {
            rig.world().add_conversation(self.dialect, Kind::Standard, person)
        } else {
            rig.follow(self.dialect, person)
        }
    }

    /// A conversation with one message delivered, and the daemon that follows it.
    pub(super) async fn followed(&self) -> (Rig, ConversationRef, Daemon) {
        let mut rig = self.rig().await;
        let conversation = self.conversation(&mut rig, "Ada Byron");
        rig.world().push(conversation, "before");
        let daemon = rig.start();
        rig.until_taken(1).await;
        until("the conversation to be read", || rig.watermark().is_some()).await;
        (rig, conversation, daemon)
    }

    /// Its id in events.
    pub(super) fn id_of(&self, rig: &Rig, conversation: ConversationRef) -> String {
        if self.discovers && self.dialect == Dialect::LinkedApi {
            return format!("inbox:st:{}", rig.world().thread_id(conversation));
        }
        rig.world().ledger().into_iter().find(|e| e.conversation == conversation).unwrap().conversation_id
    }
}

pub(super) fn status(code: u16) -> Fault {
    Fault::Status { code, body: "{\"error\":\"refused\"}".into(), headers: vec![] }
}
