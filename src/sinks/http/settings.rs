//! The keys of an HTTP sink, and what is wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::preset::Preset;
use super::signature::{Secrets, SignatureError};
use super::{address, headers};
use crate::connect::{Network, Proxy, ProxyError, Trust, TrustError, is_in_the_open};
use crate::mask::Mask;
use crate::model::{Patterns, kind, sample_events};
use crate::settings::{OneOrMany, Rate};
use crate::sinks::template::{Escape, Template};

const DEFAULT_RETRY: [Duration; 10] = {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_secs(2 * MINUTE),
        Duration::from_secs(10 * MINUTE),
        Duration::from_secs(30 * MINUTE),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(5 * HOUR),
        Duration::from_secs(10 * HOUR),
        Duration::from_secs(10 * HOUR),
    ]
};

/// The media type of events, templates and presets unless `content_type` says another. Standard
/// Webhooks advises it, and receivers such as n8n, Express and Make parse no body of another type:
/// they would go on with `{}`.
const JSON: &str = "application/json";

/// The keys of an HTTP sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where events are sent. Kept as a secret: many services put a token into the path.
    url: SecretString,
    /// `whsec_...` or `whsk_...`, or several while rotating; without one, events are not signed.
    #[serde(default)]
    secret: Option<OneOrMany<SecretString>>,
    /// Sent with every event. The values are secrets.
    #[serde(default)]
    headers: BTreeMap<String, SecretString>,
    /// Writes the messages of a service.
    #[serde(default)]
    preset: Option<Preset>,
    /// The chat that a bot of Telegram writes to.
    #[serde(default, deserialize_with = "chat_id")]
    chat_id: Option<String>,
    /// Makes the body of an event. Kept as a secret: a token may have been expanded into it.
    #[serde(default)]
    template: Option<SecretString>,
    /// The media type of what is sent: of the event as it is, or of what the template makes.
    #[serde(default)]
    content_type: Option<String>,
    /// A whole attempt.
    #[serde(default = "default_timeout", with = "crate::settings::duration")]
    pub(super) timeout: Duration,
    /// Conversations beside each other.
    #[serde(default = "default_concurrency", deserialize_with = "crate::settings::count")]
    pub(in crate::sinks) concurrency: usize,
    /// Waits between attempts; after the last one the delivery is dead.
    #[serde(default = "default_retry", with = "crate::settings::durations")]
    pub(in crate::sinks) retry: Vec<Duration>,
    /// At most so many attempts in so long.
    #[serde(default)]
    rate: Option<Rate>,
    /// Which addresses may be connected to.
    #[serde(default)]
    pub(super) network: Network,
    /// A proxy, with its user and password if it wants any.
    #[serde(default)]
    proxy: Option<Proxy>,
    /// Whom TLS trusts, and who we are.
    #[serde(default)]
    pub(super) tls: Trust,
}

fn default_timeout() -> Duration {
    Duration::from_secs(15)
}

fn default_concurrency() -> usize {
    8
}

pub(in crate::sinks) fn default_retry() -> Vec<Duration> {
    DEFAULT_RETRY.to_vec()
}

/// A number, or the name of a channel.
fn chat_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ChatId {
        Number(i64),
        Name(String),
    }
    match ChatId::deserialize(deserializer) {
        Ok(ChatId::Number(number)) => Ok(Some(number.to_string())),
        Ok(ChatId::Name(name)) => Ok(Some(name)),
        Err(_) => Err(serde::de::Error::custom("expected the number of a chat, or a channel such as \"@news\"")),
    }
}

/// A key, and what is wrong with its value.
pub(super) type Problem = (&'static str, String);

/// Where requests go.
pub(super) struct Target {
    pub(super) url: Url,
    /// The topic of an ntfy server, which is in the body.
    topic: Option<String>,
}

/// What is sent: the event as it is, or what a template makes of it.
pub(super) struct Body {
    pub(super) template: Option<Template>,
    pub(super) content_type: HeaderValue,
}

impl Settings {
    /// What is wrong, where it can be told without trying. `events` are the types that the sink is sent.
    pub(in crate::sinks) fn problem(&self, events: &Patterns) -> Option<Problem> {
        self.problems(events).err()
    }

    fn problems(&self, events: &Patterns) -> Result<(), Problem> {
        let target = self.target()?;
        self.network.check_host(&target.url).map_err(|refusal| ("url", format!("names an address, and {refusal}")))?;
        self.secrets().map_err(|error| ("secret", error.to_string()))?;
        self.headers()?;
        let body = self.body(&target)?;
        let wanted: Vec<_> = kind::ALL.iter().filter(|kind| events.want(kind)).collect();
        if let Some(template) = &body.template {
            template.check(&sample_events(wanted)).map_err(|problem| ("template", problem))?;
        }
        self.proxy()?;
        let speaks_tls = target.url.scheme() == "https";
        let by_https =
            self.proxy.as_ref().and_then(|proxy| proxy.url().ok()).is_some_and(|url| url.scheme() == "https");
        if by_https && !self.tls.is_of_the_system() {
            return Err(("tls", TrustError::WITH_PROXY.into()));
        }
        self.tls.problem(speaks_tls).map_err(|TrustError { key, message }| (key, message.to_owned()))?;
        if !(1..=256).contains(&self.concurrency) {
            return Err(("concurrency", "must be 1 to 256".into()));
        }
        if self.timeout.is_zero() {
            return Err(("timeout", "must be longer than 0s".into()));
        }
        Ok(())
    }

    pub(in crate::sinks) fn warning(&self) -> Option<String> {
        let proves_itself = self.secret.is_some() || self.preset.is_some() || !self.headers.is_empty();
        let unsigned = (!proves_itself).then(|| {
            "has no secret: the receiver cannot tell our events from anybody else's; \"inboxd secret new\" makes one"
                .to_owned()
        });
        let unescaped = || {
            let kind = self.content_type.as_deref().filter(|_| self.template.is_some())?;
            let is_plain = kind.trim().to_ascii_lowercase().starts_with("text/plain");
            media_type(kind).ok().filter(|(_, escape)| *escape == Escape::Plain && !is_plain)?;
            Some(format!(
                "content_type {} is none whose values can be escaped (JSON, forms, HTML, XML): what a message says stands in \
                 the body as it is, and may add to it; see that the receiver cannot be misled, or use urlencode",
                crate::model::Untrusted(kind)
            ))
        };
        let url = Url::parse(self.url.expose_secret()).ok();
        let clear = url.as_ref().filter(|url| is_in_the_open(url)).map(|_| {
            "url begins with http://, so that everybody on the way can read the messages, and what proves who sends them; \
             write https://"
                .to_owned()
        });
        let doubt = url.and_then(|url| address::doubt(&url, self.preset, self.template.is_some()));
        // A chat, which is all that is doubted, has no use for a signature.
        unescaped().or(clear).or(doubt).or(unsigned)
    }

    /// What a receiver is sent that nobody is to see again.
    pub(in crate::sinks) fn mask(&self) -> Mask {
        let proxy = self.proxy.iter().flat_map(Proxy::secrets).collect::<Vec<_>>();
        let mask = Mask::default()
            .and_address(&self.url)
            .and_all(self.headers.values())
            .and_all(&proxy)
            .and_all(&self.tls.secrets());
        let tokens = self.template.iter().flat_map(|template| token_like(template.expose_secret()));
        tokens.fold(mask, |mask, token| mask.and(token))
    }

    /// How many attempts in how long.
    pub(in crate::sinks) fn rate(&self) -> Option<Rate> {
        self.rate.or_else(|| self.preset.map(Preset::rate))
    }

    pub(super) fn preset(&self) -> Option<Preset> {
        self.preset
    }

    /// The URL, and what of it belongs into the body.
    pub(super) fn target(&self) -> Result<Target, Problem> {
        let refused = |message: &str| Err(("url", message.to_owned()));
        let mut url = match Url::parse(self.url.expose_secret()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            Ok(_) => return refused("must begin with https:// or http://"),
            Err(_) => return refused("is not a URL"),
        };
        match self.preset {
            Some(Preset::Telegram) if !url.path().ends_with("/sendMessage") => {
                refused("must be that of a bot's sendMessage: https://api.telegram.org/bot<token>/sendMessage")
            }
            Some(Preset::Ntfy) => {
                let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
                let topic_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                if !(1..=64).contains(&last.len()) || !last.chars().all(topic_like) {
                    return refused("must end with the topic, as https://ntfy.sh/TOPIC does");
                }
                let topic = Some(last.to_owned());
                url.set_path("/");
                Ok(Target { url, topic })
            }
            _ => Ok(Target { url, topic: None }),
        }
    }

    pub(super) fn secrets(&self) -> Result<Secrets, SignatureError> {
        match &self.secret {
            None => Secrets::parse(&[]),
            Some(OneOrMany::One(secret)) => Secrets::parse(std::slice::from_ref(secret)),
            Some(OneOrMany::Many(secrets)) => Secrets::parse(secrets),
        }
    }

    pub(super) fn headers(&self) -> Result<HeaderMap, Problem> {
        headers::parse(&self.headers).map_err(|problem| ("headers", problem))
    }

    pub(super) fn body(&self, target: &Target) -> Result<Body, Problem> {
        match (self.preset, &self.chat_id) {
            (Some(Preset::Telegram), None) => {
                return Err(("chat_id", "is missing: which chat does the bot write to?".into()));
            }
            (Some(Preset::Telegram), Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(("chat_id", "belongs to preset = \"telegram\"; remove it".into())),
        }
        match (self.preset, &self.template, &self.content_type) {
            (Some(_), Some(_), _) => Err(("template", "and preset each make the body; remove one of them".into())),
            (Some(_), None, Some(_)) => {
                Err(("content_type", "and preset cannot both be there: a preset brings its own; remove it".into()))
            }
            (None, None, content_type) => {
                let (content_type, escape) = media_type(content_type.as_deref().unwrap_or(JSON))?;
                if escape != Escape::Json {
                    let message = "names no JSON, and an event is JSON: application/json, application/cloudevents+json or \
                                   another that ends in json; or make another body by a template";
                    return Err(("content_type", message.into()));
                }
                Ok(Body { template: None, content_type })
            }
            (Some(preset), None, None) => {
                let constants = [("chat_id", &self.chat_id), ("topic", &target.topic)];
                let constants: Vec<_> =
                    constants.into_iter().filter_map(|(name, v)| Some((name, v.clone()?))).collect();
                let template = Template::compile(preset.template().to_owned(), Escape::Json, &constants)
                    .map_err(|problem| ("preset", problem))?;
                Ok(Body { template: Some(template), content_type: HeaderValue::from_static(JSON) })
            }
            (None, Some(template), content_type) => {
                let (content_type, escape) = media_type(content_type.as_deref().unwrap_or(JSON))?;
                let template = Template::compile(template.expose_secret().to_owned(), escape, &[])
                    .map_err(|problem| ("template", problem))?;
                Ok(Body { template: Some(template), content_type })
            }
        }
    }

    /// A proxy is asked for names, so a rule about the addresses behind them could not be checked.
    pub(super) fn proxy(&self) -> Result<Option<reqwest::Proxy>, Problem> {
        let Some(proxy) = &self.proxy else { return Ok(None) };
        if self.network != Network::Any {
            return Err(("proxy", "makes the connections, so network could not be kept; remove one of the two".into()));
        }
        let refused = |error: ProxyError| ("proxy", error.to_string());
        let url = proxy.url().map_err(refused)?;
        self.network.check_host(&url).map_err(|refusal| ("proxy", format!("names an address, and {refusal}")))?;
        proxy.through().map(Some).map_err(refused)
    }
}

/// Words of a template that may be tokens: long, in one piece, and with digits in them.
fn token_like(template: &str) -> impl Iterator<Item = &str> {
    const SHORTEST: usize = 12;
    let parts = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '{' | '}' | '<' | '>' | '(' | ')' | ',' | ';' | '&' | '=' | '|')
    };
    let words = template.split(parts);
    words.filter(|word| word.len() >= SHORTEST && word.bytes().any(|b| b.is_ascii_digit()))
}

/// A media type, and how values are escaped in it.
fn media_type(text: &str) -> Result<(HeaderValue, Escape), Problem> {
    let refused = || ("content_type", "is not a media type, such as application/json or text/plain".to_owned());
    let value = HeaderValue::from_str(text).map_err(|_| refused())?;
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (_, subtype) = essence.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty()).ok_or_else(refused)?;
    let escape = match (essence.as_str(), subtype) {
        (_, "json") => Escape::Json,
        (_, subtype) if subtype.ends_with("+json") => Escape::Json,
        ("application/x-www-form-urlencoded", _) => Escape::Form,
        (_, "html" | "xml") => Escape::Markup,
        (_, subtype) if subtype.ends_with("+xml") => Escape::Markup,
        _ => Escape::Plain,
    };
    Ok((value, escape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(keys: Value) -> Settings {
        let mut table = json!({"url": "https://example.com/hooks"});
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        serde_json::from_value(table).unwrap()
    }

    fn problem(keys: Value) -> (&'static str, String) {
        settings(keys).problem(&Patterns::default()).expect("is refused")
    }

    #[test]
    fn every_preset_renders_every_type_of_event() {
        let everything = Patterns::new(vec!["*".into()]).unwrap();
        for keys in [
            json!({"preset": "slack"}),
            json!({"preset": "discord"}),
            json!({"preset": "teams"}),
            json!({"preset": "ntfy"}),
            json!({"preset": "telegram", "chat_id": -100_123, "url": "https://api.telegram.org/bot1:s3cr3t/sendMessage"}),
        ] {
            assert_eq!(settings(keys.clone()).problem(&everything), None, "{keys}");
            assert_eq!(settings(keys).warning(), None, "the service knows the sender by its URL");
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_told() {
        let (key, message) = problem(json!({"preset": "slack", "template": "{{ id }}"}));
        assert!(key == "template" && message.contains("remove one of them"), "{message}");
        assert_eq!(problem(json!({"content_type": "text/plain"})).0, "content_type");
        assert_eq!(problem(json!({"preset": "slack", "content_type": "text/plain"})).0, "content_type");
        assert_eq!(problem(json!({"template": "x", "content_type": "plain"})).0, "content_type");
        assert_eq!(problem(json!({"chat_id": 5})).0, "chat_id");
        let telegram = "https://api.telegram.org/bot1:s3cr3t/sendMessage";
        assert_eq!(problem(json!({"preset": "telegram", "url": telegram})).0, "chat_id");
        assert_eq!(problem(json!({"preset": "telegram", "url": "https://api.telegram.org/bot1:s3cr3t"})).0, "url");
        assert_eq!(problem(json!({"preset": "ntfy", "url": "https://ntfy.sh/"})).0, "url");
        let (key, message) = problem(json!({"proxy": "http://u:s3cr3t@10.0.0.1:3128", "network": "public"}));
        assert!(key == "proxy" && message.contains("network could not be kept"), "{message}");
        for proxy in ["socks5://10.0.0.1", "s3cr3t", "http://169.254.169.254/"] {
            let (key, message) = problem(json!({"proxy": proxy}));
            assert!(key == "proxy" && !message.contains("s3cr3t"), "{message}");
        }
    }

    #[test]
    fn events_as_they_are_go_out_as_json_under_the_type_that_content_type_names() {
        let sent_as = |keys: Value| {
            let settings = settings(keys);
            settings.body(&settings.target().unwrap()).map(|body| body.content_type.to_str().unwrap().to_owned())
        };
        assert_eq!(sent_as(json!({})).as_deref(), Ok("application/json"));
        for json in ["application/json", "application/cloudevents+json", "application/json; charset=utf-8", "text/JSON"]
        {
            assert_eq!(sent_as(json!({"content_type": json})).as_deref(), Ok(json));
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "json", "application/json\r\nX-Evil: 1", ""] {
            assert_eq!(sent_as(json!({"content_type": other})).unwrap_err().0, "content_type", "{other}");
        }
    }

    #[test]
    fn a_template_is_checked_against_the_types_that_the_sink_asks_for() {
        let template = json!({"template": "{\"state\": {{ data.state }}}"});
        assert_eq!(problem(template.clone()).0, "template");
        let accounts = Patterns::new(vec!["account.*".into()]).unwrap();
        assert_eq!(settings(template).problem(&accounts), None);
        let (key, message) = problem(json!({"template": "\n{{ headline "}));
        assert!(key == "template" && message.starts_with("line 2: "), "{message}");
        assert_eq!(problem(json!({"template": "Hi"})).0, "template");
        for plain in ["text/plain", "text/plain; charset=utf-8"] {
            assert_eq!(settings(json!({"template": "Hi", "content_type": plain})).problem(&accounts), None);
        }
        assert_eq!(problem(json!({"template": "Hi", "content_type": "application/problem+JSON; x=y"})).0, "template");
    }

    #[test]
    fn a_preset_brings_the_rate_of_its_service_and_rate_overrides_it() {
        assert_eq!(settings(json!({})).rate(), None);
        assert_eq!(settings(json!({"preset": "discord"})).rate(), Rate::parse("30/m"));
        assert_eq!(settings(json!({"preset": "discord", "rate": "1/h"})).rate(), Rate::parse("1/h"));
    }

    #[test]
    fn debug_output_has_no_secret() {
        let telling = json!({"url": "https://example.com/s3cr3t", "secret": ["whsec_s3cr3t"], "headers": {"X-Key": "s3cr3t"},
            "template": "s3cr3t", "proxy": "http://s3cr3t@10.0.0.1"});
        let shown = format!("{:?}", settings(telling));
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
