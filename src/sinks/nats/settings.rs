//! The keys of a NATS sink, and what is wrong with them.

use std::time::Duration;

use async_nats::ConnectOptions;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::gate::{Server, Way};
use super::subject::Subject;
use crate::connect::{Network, Trust, TrustError, is_in_the_open};
use crate::mask::Mask;
use crate::model::Patterns;
use crate::settings::{OneOrMany, Rate};
use crate::sinks::http::default_retry;

/// The keys of a NATS sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server, or the servers of a cluster. Kept as a secret: there may be a password in it.
    url: OneOrMany<SecretString>,
    /// Makes the subject of an event; by default its account and type.
    #[serde(default)]
    subject: Option<String>,
    /// The content of a `.creds` file.
    #[serde(default)]
    credentials: Option<SecretString>,
    #[serde(default)]
    token: Option<SecretString>,
    #[serde(default)]
    user: Option<SecretString>,
    #[serde(default)]
    password: Option<SecretString>,
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
    pub(in crate::sinks) rate: Option<Rate>,
    /// Which addresses may be connected to.
    #[serde(default)]
    network: Network,
    /// Whom TLS trusts, and who we are.
    #[serde(default)]
    tls: Trust,
}

/// The port of a server whose URL says none.
const PORT: u16 = 4222;

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_concurrency() -> usize {
    16
}

/// A key, and what is wrong with its value.
type Problem = (&'static str, String);

/// How we prove to a server who we are.
enum Login {
    Nobody,
    Token(String),
    Password { user: String, password: String },
    Credentials(String),
}

impl Settings {
    /// What is wrong, where it can be told without trying. `events` are the types that the sink is sent.
    pub(in crate::sinks) fn problem(&self, events: &Patterns) -> Option<Problem> {
        self.problems(events).err()
    }

    fn problems(&self, events: &Patterns) -> Result<(), Problem> {
        self.servers()?;
        for url in self.urls()? {
            self.network.check_host(&url).map_err(|refusal| ("url", format!("names an address, and {refusal}")))?;
        }
        self.way()?;
        self.options()?;
        self.subject()?.check(events).map_err(|problem| ("subject", problem))?;
        if !(1..=256).contains(&self.concurrency) {
            return Err(("concurrency", "must be 1 to 256".into()));
        }
        if self.timeout.is_zero() {
            return Err(("timeout", "must be longer than 0s".into()));
        }
        Ok(())
    }

    pub(in crate::sinks) fn warning(&self) -> Option<String> {
        let is_clear = self.urls().ok()?.iter().any(is_in_the_open);
        is_clear.then(|| {
            "url begins with nats://, so that everybody on the way can read the messages and the login unless the server \
             asks for TLS; write tls://"
                .into()
        })
    }

    pub(super) fn subject(&self) -> Result<Subject, Problem> {
        Subject::compile(self.subject.as_deref()).map_err(|problem| ("subject", problem))
    }

    /// Where the servers are, without user and password.
    pub(super) fn servers(&self) -> Result<Vec<Server>, Problem> {
        let server = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Server { host: bare.to_owned(), port: url.port().unwrap_or(PORT), tls: url.scheme() == "tls" }
        };
        Ok(self.urls()?.iter().map(server).collect())
    }

    /// How they are reached.
    pub(super) fn way(&self) -> Result<Way, Problem> {
        let wrong = |error: TrustError| (error.key, error.message.to_owned());
        self.tls.problem(self.urls()?.iter().all(|url| url.scheme() == "tls")).map_err(wrong)?;
        Ok(Way { network: self.network.clone(), trust: self.tls.clone() })
    }

    /// How a connection is made.
    pub(super) fn options(&self) -> Result<ConnectOptions, Problem> {
        let options = ConnectOptions::new().name("inboxd");
        match self.login()? {
            Login::Nobody => Ok(options),
            Login::Token(token) => Ok(options.token(token)),
            Login::Password { user, password } => Ok(options.user_and_password(user, password)),
            // Whoever read the file for us has taken away the line break at its end, which the client waits for.
            Login::Credentials(text) => options.credentials(&(text + "\n")).map_err(|_| {
                let message = "is not the content of a .creds file; \"${file:/path/to/nats.creds}\" reads one";
                ("credentials", message.to_owned())
            }),
        }
    }

    /// What a server is sent that nobody is to see again.
    pub(in crate::sinks) fn mask(&self) -> Mask {
        let mask = self.addresses().iter().fold(Mask::default(), Mask::and_address);
        let login = [&self.credentials, &self.token, &self.user, &self.password];
        mask.and_all(login.into_iter().flatten()).and_all(&self.tls.secrets())
    }

    fn addresses(&self) -> &[SecretString] {
        match &self.url {
            OneOrMany::One(url) => std::slice::from_ref(url),
            OneOrMany::Many(urls) => urls,
        }
    }

    fn urls(&self) -> Result<Vec<Url>, Problem> {
        let urls = self.addresses();
        if urls.is_empty() {
            return Err(("url", "is an empty list; name at least one server".into()));
        }
        let parsed = urls.iter().map(|url| match Url::parse(url.expose_secret()) {
            Ok(url) if matches!(url.scheme(), "nats" | "tls") && url.has_host() => Ok(url),
            _ => Err(("url", "must be nats://host:4222 or tls://host:4222, or a list of such".to_owned())),
        });
        parsed.collect()
    }

    /// The one way to log in that the keys name.
    fn login(&self) -> Result<Login, Problem> {
        let own = |secret: &SecretString| secret.expose_secret().to_owned();
        let mut ways = vec![];
        if let Some(credentials) = &self.credentials {
            ways.push(("credentials", Login::Credentials(own(credentials))));
        }
        if let Some(token) = &self.token {
            ways.push(("token", Login::Token(own(token))));
        }
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                ways.push(("password", Login::Password { user: own(user), password: own(password) }));
            }
            (None, None) => {}
            (Some(_), None) => return Err(("password", "is missing: user is nothing without it".into())),
            (None, Some(_)) => return Err(("user", "is missing: whose password is it?".into())),
        }
        if let Some(login) = self.login_of_urls()? {
            ways.push(("url", login));
        }
        match ways.len() {
            0 => Ok(Login::Nobody),
            1 => Ok(ways.remove(0).1),
            _ => {
                let (one, other) = (ways[0].0, ways[1].0);
                Err((one, format!("and {other} each say who asks; keep one of them")))
            }
        }
    }

    /// What stands before the host: `user:password@`, or `token@`. One connection at a time is made with one login, so
    /// every server that has one has the same.
    fn login_of_urls(&self) -> Result<Option<Login>, Problem> {
        let refused = |message: &str| Err(("url", message.to_owned()));
        let urls = self.urls()?;
        let mut named = urls.iter().filter(|url| !url.username().is_empty() || url.password().is_some());
        let Some(first) = named.next() else { return Ok(None) };
        if named.any(|url| (url.username(), url.password()) != (first.username(), first.password())) {
            return refused("has servers with different users or passwords; one login serves them all");
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        match (decoded(first.username()), first.password().map(decoded)) {
            (Ok(token), None) => Ok(Some(Login::Token(token))),
            (Ok(user), Some(Ok(password))) => Ok(Some(Login::Password { user, password })),
            _ => refused("has a user or a password that is not UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The example of NATS's own documentation, with another JWT.
    const CREDENTIALS: &str = "-----BEGIN NATS USER JWT-----\neyJ0eXAi.s3cr3t.x\n------END NATS USER JWT------\n\n\
        -----BEGIN USER NKEY SEED-----\nSUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM\n\
        ------END USER NKEY SEED------";

    fn settings(keys: Value) -> Settings {
        let mut table = json!({"url": "nats://127.0.0.1:4222"});
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        serde_json::from_value(table).unwrap()
    }

    fn problem(keys: Value) -> Option<Problem> {
        settings(keys).problem(&Patterns::default())
    }

    #[test]
    fn servers_are_one_or_many_and_lose_what_stands_before_the_host() {
        let servers = |url: Value| settings(json!({"url": url})).servers().unwrap();
        let server = |host: &str, port, tls| Server { host: host.into(), port, tls };
        assert_eq!(servers(json!("nats://u:s3cr3t@127.0.0.1:4223")), [server("127.0.0.1", 4223, false)]);
        let both = [server("a.example", 4222, true), server("::1", 1, false)];
        assert_eq!(servers(json!(["tls://s3cr3t@a.example", "nats://[::1]:1"])), both);
    }

    #[test]
    fn urls_that_no_client_could_use_are_refused_without_repeating_them() {
        for url in
            [json!("http://s3cr3t@h"), json!("s3cr3t:4222"), json!("nats://"), json!([]), json!(["tls://h", "s3cr3t"])]
        {
            let (key, message) = problem(json!({"url": url})).expect("is refused");
            assert!(key == "url" && !message.contains("s3cr3t"), "{message}");
        }
        let (key, message) = problem(json!({"url": ["nats://u:s3cr3t@a", "nats://u:other@b"]})).unwrap();
        assert!(key == "url" && message.contains("different users"), "{message}");
    }

    #[test]
    fn there_is_one_way_to_log_in() {
        let user = json!({"user": "u", "password": "s3cr3t"});
        let token = json!({"token": "s3cr3t"});
        let credentials = json!({"credentials": CREDENTIALS});
        let in_url = json!({"url": "nats://u:p%40ss@h"});
        let all = [user, token, credentials, in_url];
        for keys in &all {
            assert_eq!(problem(keys.clone()), None, "{keys}");
        }
        for (position, one) in all.iter().enumerate() {
            for other in &all[..position] {
                let mut both = one.clone();
                both.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
                let (_, message) = problem(both).expect("is refused");
                assert!(message.contains("keep one of them") && !message.contains("s3cr3t"), "{message}");
            }
        }
        assert_eq!(problem(json!({"user": "u"})).unwrap().0, "password");
        assert_eq!(problem(json!({"password": "s3cr3t"})).unwrap().0, "user");
        assert!(matches!(settings(json!({"url": "nats://u:p%40ss@h"})).login(),
            Ok(Login::Password { user, password }) if user == "u" && password == "p@ss"));
        assert!(matches!(settings(json!({"url": "nats://t@h"})).login(), Ok(Login::Token(token)) if token == "t"));
    }

    #[test]
    fn credentials_are_the_content_of_their_file() {
        let (key, message) = problem(json!({"credentials": "/run/secrets/s3cr3t.creds"})).unwrap();
        assert!(key == "credentials" && message.contains("${file:") && !message.contains("s3cr3t"), "{message}");
    }

    #[test]
    fn numbers_out_of_bounds_are_told() {
        assert_eq!(problem(json!({"concurrency": 0})).unwrap().0, "concurrency");
        assert_eq!(problem(json!({"concurrency": 257})).unwrap().0, "concurrency");
        assert_eq!(problem(json!({"timeout": "0s"})).unwrap().0, "timeout");
        assert_eq!(problem(json!({"subject": "a..b"})).unwrap().0, "subject");
    }

    #[test]
    fn debug_output_has_no_secret() {
        let keys = json!({"url": ["nats://u:s3cr3t@h"], "token": "s3cr3t", "user": "s3cr3t", "password": "s3cr3t",
            "credentials": "s3cr3t"});
        let shown = format!("{:?}", settings(keys));
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
