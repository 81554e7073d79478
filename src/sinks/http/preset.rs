//! Services that a message can be sent to with one line: what they take, and how often.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::Rate;

/// A service whose messages inboxd knows how to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preset {
    /// An incoming webhook of Slack.
    Slack,
    /// A channel's webhook of Discord.
    Discord,
    /// A bot of Telegram: `https://api.telegram.org/bot<token>/sendMessage`.
    Telegram,
    /// A workflow of Microsoft Teams ("When a Teams webhook request is received").
    Teams,
    /// A topic of an ntfy server.
    Ntfy,
}

impl Preset {
    /// How the configuration calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Telegram => "telegram",
            Self::Teams => "teams",
            Self::Ntfy => "ntfy",
        }
    }

    /// The template of its messages.
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Slack => include_str!("presets/slack.json.j2"),
            Self::Discord => include_str!("presets/discord.json.j2"),
            Self::Telegram => include_str!("presets/telegram.json.j2"),
            Self::Teams => include_str!("presets/teams.json.j2"),
            Self::Ntfy => include_str!("presets/ntfy.json.j2"),
        }
    }

    /// What the service takes for long, unless `rate` says otherwise:
    ///
    /// - Slack: one message a second for each incoming webhook (docs.slack.dev/apis/web-api/rate-limits).
    /// - Discord: 30 messages a minute in each channel (said by an engineer of theirs in discord/discord-api-docs#367; the
    ///   documentation says only to follow the answers, which is done as well).
    /// - Telegram: 20 messages a minute in one group (core.telegram.org/bots/faq, "My bot is hitting limits").
    /// - Teams: four requests a second (learn.microsoft.com, "Create and send messages", rate limiting for webhooks).
    /// - ntfy: a request every five seconds once the first 60 are spent (docs.ntfy.sh/config, `visitor-request-limit-replenish`).
    pub(super) fn rate(self) -> Rate {
        let (events, seconds) = match self {
            Self::Slack => (1, 1),
            Self::Discord => (30, 60),
            Self::Telegram => (20, 60),
            Self::Teams => (4, 1),
            Self::Ntfy => (12, 60),
        };
        let events = NonZeroU32::new(events).unwrap_or(NonZeroU32::MIN);
        Rate { events, per: Duration::from_secs(seconds) }
    }
}
