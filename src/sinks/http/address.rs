//! Addresses that people paste: which forms of them a preset can work with, by host and path. Only
//! what a service's own hosts mean is judged; a server of one's own, a proxy or a test may look as
//! it likes. A warning never repeats an address, which is a secret mostly.

use reqwest::Url;

use super::preset::Preset;

/// What is doubtful about an address, and what to write. `preset` is what writes the messages;
/// `own_body` says that a template does.
pub(super) fn doubt(url: &Url, preset: Option<Preset>, own_body: bool) -> Option<String> {
    let service = service(url);
    match (preset, service) {
        (Some(preset), Some(service)) if preset == service => match preset {
            Preset::Slack => slack(url),
            Preset::Discord => discord(url),
            Preset::Telegram => telegram(url),
            Preset::Teams => teams(url),
            Preset::Ntfy => ntfy(url),
        },
        // Discord takes the messages of Slack, too.
        (Some(Preset::Slack), Some(Preset::Discord)) if url.path().ends_with("/slack") => None,
        (Some(Preset::Ntfy), None) => ntfy(url),
        (Some(_), Some(service)) => Some(format!("url is an address of {0}: write preset = \"{0}\"", service.name())),
        (None, Some(service)) if !own_body => Some(format!(
            "url is an address of {0}, which takes no events: preset = \"{0}\" writes messages for it",
            service.name()
        )),
        (None, None) if url.path().contains("/webhook-test/") => Some(
            "url is a test address of n8n, which listens for one call: write its production URL, /webhook/... , and \
             make the workflow active"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Whose host it is.
fn service(url: &Url) -> Option<Preset> {
    let host = url.host_str()?.trim_end_matches('.');
    let is = |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    let any = |known: &[&str]| known.iter().any(|known| is(known));
    if any(&["slack.com", "slack-gov.com"]) {
        Some(Preset::Slack)
    } else if any(&["discord.com", "discordapp.com"]) {
        Some(Preset::Discord)
    } else if any(&["api.telegram.org", "t.me", "telegram.me"]) {
        Some(Preset::Telegram)
    } else if is_connector(host)
        || any(&["teams.microsoft.com", "teams.cloud.microsoft", "powerautomate.com", "flow.microsoft.com"])
        || is_workflow(url)
    {
        Some(Preset::Teams)
    } else if is("ntfy.sh") {
        Some(Preset::Ntfy)
    } else {
        None
    }
}

fn slack(url: &Url) -> Option<String> {
    const HOOK: &str = "the preset needs an incoming webhook, https://hooks.slack.com/services/T.../B.../...";
    let host = url.host_str().unwrap_or_default();
    let (first, parts) = parts(url);
    match (host.starts_with("hooks."), first) {
        (true, "services") if parts >= 4 => None,
        (true, "services") => Some(format!("url has been cut: {HOOK}")),
        (true, "triggers" | "workflows") => Some(format!(
            "url starts a workflow, which takes the variables that it was made with and no message: {HOOK}; or write \
             template = '{{\"text\": {{{{ headline }}}}}}' with its variables and no preset"
        )),
        (true, _) => Some(format!("url is a reply address, which is good for minutes: {HOOK}")),
        (false, "api") => Some(format!(
            "url is one of Slack's Web API, which takes a channel and a token: {HOOK}; or write a template with \
             \"channel\" and headers = {{ Authorization = \"Bearer ...\" }}, and no preset"
        )),
        (false, _) => Some(format!("url is a page for people: {HOOK}")),
    }
}

fn discord(url: &Url) -> Option<String> {
    const HOOK: &str = "the preset needs https://discord.com/api/webhooks/ID/TOKEN (channel settings, Integrations)";
    let path = url.path().trim_matches('/');
    let mut rest = path.strip_prefix("api/").unwrap_or_default().split('/').peekable();
    if rest.peek().is_some_and(|part| part.starts_with('v') && part[1..].parse::<u8>().is_ok()) {
        rest.next();
    }
    match rest.collect::<Vec<_>>()[..] {
        ["webhooks", id, token] if !id.is_empty() && !token.is_empty() => None,
        ["webhooks", _, _, "slack"] => {
            Some("url ends in /slack and takes the messages of Slack: remove that, or write preset = \"slack\"".into())
        }
        ["webhooks", _, _, "github"] => Some("url ends in /github and takes the events of GitHub: remove that".into()),
        ["webhooks", ..] => Some(format!("url has been cut, or has too much behind the token: {HOOK}")),
        _ => Some(format!("url is no webhook's: {HOOK}")),
    }
}

fn telegram(url: &Url) -> Option<String> {
    const BOT: &str = "the preset needs https://api.telegram.org/bot<token>/sendMessage, where the token is digits, a \
                       colon and what @BotFather gave behind it, and the word bot stands right before it";
    let path = url.path().trim_start_matches('/');
    let token = path.strip_prefix("bot").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let good = token.split_once(':').is_some_and(|(id, key)| {
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty() && !key.contains(['<', '%'])
    });
    (!good).then(|| format!("url has no token of a bot in it: {BOT}"))
}

fn teams(url: &Url) -> Option<String> {
    const FLOW: &str = "the preset needs that of a workflow (\"When a Teams webhook request is received\"), copied from \
                        its first step and whole up to sig=...";
    let host = url.host_str().unwrap_or_default();
    let signed = url.query_pairs().any(|(name, value)| name == "sig" && !value.is_empty());
    if is_connector(host) {
        return Some(format!(
            "url is that of an Office 365 connector, which Microsoft retires: as long as it lives it is served, but \
             {FLOW}"
        ));
    }
    match (is_workflow(url), signed) {
        (true, true) => None,
        (true, false) => Some(format!("url has no sig= in it and has been cut, at an & perhaps: {FLOW}")),
        (false, _) => Some(format!("url is a page for people: {FLOW}")),
    }
}

/// What stands behind a topic to read or to trigger it, or is a page of the server; none of it is a
/// topic.
fn ntfy(url: &Url) -> Option<String> {
    const TOPIC: &str = "the preset needs the topic's own address, https://ntfy.sh/TOPIC";
    let (first, parts) = parts(url);
    let last = url.path().trim_matches('/').rsplit('/').next().unwrap_or_default();
    match parts {
        2.. if matches!(last, "json" | "sse" | "raw" | "ws" | "auth" | "publish" | "send" | "trigger") => {
            Some(format!("url ends in /{last}, which would be taken for the topic: {TOPIC}"))
        }
        2.. if service(url).is_some() => Some(format!("url has more than a topic in it: {TOPIC}")),
        1 if matches!(first, "docs" | "static" | "file" | "app" | "account" | "settings" | "login" | "signup") => {
            Some(format!("url is a page of the server: {TOPIC}"))
        }
        _ => None,
    }
}

/// The first part of the path, and how many there are.
fn parts(url: &Url) -> (&str, usize) {
    let mut parts = url.path().split('/').filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or_default();
    (first, usize::from(!first.is_empty()) + parts.count())
}

/// An incoming webhook of old.
fn is_connector(host: &str) -> bool {
    host == "outlook.office.com" || host == "outlook.office365.com" || host.ends_with(".webhook.office.com")
}

/// A workflow's trigger, at its old or its new place; these hosts serve others, too.
fn is_workflow(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let place = [".logic.azure.com", ".api.powerplatform.com", ".logic.azure.us", ".api.powerplatform.us"];
    place.iter().any(|place| host.ends_with(place)) && url.path().contains("/workflows/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [Preset; 5] = [Preset::Slack, Preset::Discord, Preset::Telegram, Preset::Teams, Preset::Ntfy];

    fn said(preset: impl Into<Option<Preset>>, url: &str) -> Option<String> {
        doubt(&Url::parse(url).unwrap(), preset.into(), false)
    }

    fn doubted(preset: Preset, cases: &[(&str, &str)]) {
        for (url, words) in cases {
            let said = said(preset, url).unwrap_or_else(|| panic!("{url} is not doubted"));
            assert!(said.starts_with("url ") && said.contains(words), "{url}: {said}");
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }

    fn good(preset: Preset, urls: &[&str]) {
        for url in urls {
            assert_eq!(said(preset, url), None, "{url}");
        }
    }

    #[test]
    fn slack_takes_messages_at_incoming_webhooks() {
        good(
            Preset::Slack,
            &[
                "https://hooks.slack.com/services/T0/B0/s3cr3t",
                "https://hooks.slack-gov.com/services/T0/B0/s3cr3t",
                "https://discord.com/api/webhooks/1/s3cr3t/slack",
                "https://mattermost.example.com/hooks/s3cr3t",
            ],
        );
        let needs = "https://hooks.slack.com/services/T";
        doubted(
            Preset::Slack,
            &[
                ("https://hooks.slack.com/triggers/T0/1/s3cr3t", "starts a workflow, which takes the variables"),
                ("https://hooks.slack.com/triggers/T0/1/s3cr3t", "template = '{\"text\": {{ headline }}}'"),
                ("https://hooks.slack.com/workflows/T0/A0/1/s3cr3t", needs),
                ("https://hooks.slack.com/services/T0/s3cr3t", "has been cut"),
                ("https://hooks.slack.com/commands/1/2/s3cr3t", needs),
                ("https://slack.com/api/chat.postMessage", "takes a channel and a token"),
                ("https://acme.slack.com/archives/C0", "a page for people"),
                ("https://discord.com/api/webhooks/1/s3cr3t", "write preset = \"discord\""),
            ],
        );
    }

    #[test]
    fn discord_takes_messages_at_a_webhook_without_a_suffix() {
        good(
            Preset::Discord,
            &[
                "https://discord.com/api/webhooks/1/s3cr3t",
                "https://discordapp.com/api/webhooks/1/s3cr3t?wait=true&thread_id=5",
                "https://canary.discord.com/api/v10/webhooks/1/s3cr3t/",
            ],
        );
        doubted(
            Preset::Discord,
            &[
                ("https://discord.com/api/webhooks/1/s3cr3t/slack", "preset = \"slack\""),
                ("https://discord.com/api/v10/webhooks/1/s3cr3t/github", "the events of GitHub"),
                ("https://discord.com/api/webhooks/1", "has been cut"),
                (
                    "https://discord.com/channels/1/2",
                    "is no webhook's: the preset needs https://discord.com/api/webhooks/",
                ),
            ],
        );
    }

    #[test]
    fn telegram_needs_the_token_behind_the_word_bot() {
        good(
            Preset::Telegram,
            &["https://api.telegram.org/bot123:AAs3cr3t/sendMessage", "http://127.0.0.1:8081/bots3cr3t/sendMessage"],
        );
        doubted(
            Preset::Telegram,
            &[
                ("https://api.telegram.org/123:s3cr3t/sendMessage", "the word bot stands right before it"),
                ("https://api.telegram.org/bots3cr3t/sendMessage", "has no token of a bot"),
                ("https://api.telegram.org/bot<token>/sendMessage", "has no token of a bot"),
                ("https://api.telegram.org/bot/sendMessage", "has no token of a bot"),
            ],
        );
    }

    #[test]
    fn teams_takes_messages_at_workflows_and_at_connectors_as_long_as_they_live() {
        good(
            Preset::Teams,
            &[
                "https://prod-23.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sp=x&sig=s3cr3t",
                "https://default0.1.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/x/\
                 triggers/manual/paths/invoke?api-version=1&sig=s3cr3t",
            ],
        );
        doubted(
            Preset::Teams,
            &[
                ("https://acme.webhook.office.com/webhookb2/s3cr3t/IncomingWebhook/x/y", "which Microsoft retires"),
                ("https://outlook.office.com/webhook/s3cr3t/IncomingWebhook/x/y", "needs that of a workflow"),
                (
                    "https://prod-1.x.logic.azure.com/workflows/x/triggers/manual/paths/invoke?api-version=1",
                    "no sig= in it",
                ),
                ("https://teams.microsoft.com/l/channel/s3cr3t", "a page for people"),
                ("https://make.powerautomate.com/environments/x/flows/s3cr3t", "a page for people"),
            ],
        );
    }

    #[test]
    fn ntfy_needs_the_topic_alone() {
        good(Preset::Ntfy, &["https://ntfy.sh/topic", "https://ntfy.example.com/topic", "http://127.0.0.1/json"]);
        doubted(
            Preset::Ntfy,
            &[
                ("https://ntfy.sh/topic/json", "ends in /json, which would be taken for the topic"),
                ("https://ntfy.example.com/topic/publish", "ends in /publish"),
                ("https://ntfy.sh/v1/topic", "has more than a topic"),
                ("https://ntfy.sh/docs", "is a page of the server"),
            ],
        );
    }

    #[test]
    fn servers_of_ones_own_are_not_judged_and_events_to_a_chat_are_warned_of() {
        for preset in SERVICES {
            let loopback = format!("http://127.0.0.1:8080/{}", if preset == Preset::Ntfy { "topic" } else { "a/b/c" });
            assert_eq!(said(preset, &loopback), None);
        }
        for other in ["https://crm.example.com/services/x", "https://notslack.com/x", "https://prod.logic.azure.com/x"]
        {
            assert_eq!(said(None, other), None, "{other}");
        }
        let hook = "https://hooks.slack.com/services/T0/B0/s3cr3t";
        assert!(said(None, hook).unwrap().contains("preset = \"slack\" writes messages for it"));
        assert_eq!(doubt(&Url::parse(hook).unwrap(), None, true), None, "a template knows what it does");
    }
}
