//! What there is without inboxd: a `reqwest` client that asks the same questions and does next to nothing with the
//! answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use inboxd::simulator::{Dialect, Settings};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use tokio::task::JoinSet;

use crate::peers::{Listed, Simulation};
use crate::proc;

/// Requests in flight, here as in the daemon.
pub(crate) const IN_FLIGHT: usize = 64;

/// Conversations in one request of Linked API, here as in the daemon.
pub(crate) const BATCH: usize = 100;

/// Messages on a page of ConnectSafely, here as in the daemon.
const COUNT: usize = 50;

pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) fn client() -> Result<Client> {
    inboxd::providers::install_tls();
    Ok(Client::builder().timeout(Duration::from_secs(30)).build()?)
}

/// A request, ready to be sent any number of times.
#[derive(Clone)]
pub(crate) struct Ask {
    method: Method,
    pub(crate) url: String,
    headers: HeaderMap,
    body: Option<String>,
}

impl Ask {
    pub(crate) fn post(url: &str, body: String) -> Self {
        Self { method: Method::POST, url: url.into(), headers: HeaderMap::new(), body: Some(body) }
    }

    /// The page of a ConnectSafely conversation; `since` in milliseconds.
    pub(crate) fn page(url: String) -> Result<Self> {
        let key = HeaderValue::from_str(&format!("Bearer {}", Settings::default().api_key))?;
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, key), (ACCEPT, HeaderValue::from_static("application/json"))]);
        Ok(Self { method: Method::GET, url, headers, body: None })
    }

    /// The first page of a conversation as the daemon asks for it, of a provider that is asked with GET.
    pub(crate) fn first_page(of: &Simulation, conversation: &Listed) -> Result<Self> {
        let (base, it) = (of.base_url(conversation.dialect), Settings::default());
        let address = utf8_percent_encode(&conversation.address, SEGMENT);
        let url = match conversation.dialect {
            Dialect::UnipileV2 => format!("{base}/{}/chats/{address}/messages?limit=25", it.unipile_account_id),
            Dialect::UnipileV1 => format!("{base}/chats/{address}/messages?limit=100"),
            _ => format!("{base}/conversations/{address}/messages?accountId={}&count={COUNT}&sync=true", it.account_id),
        };
        let mut ask = Self::page(url)?;
        ask.headers.insert("x-api-key", HeaderValue::from_str(&it.unipile_api_key)?);
        Ok(ask)
    }

    /// The page after it: `more` goes to the query.
    pub(crate) fn next_page(&self, more: &str) -> Self {
        Self { url: format!("{}&{more}", self.url), ..self.clone() }
    }

    /// The request of the daemon for each of these ConnectSafely conversations.
    pub(crate) fn pages(of: &Simulation, conversations: &[Listed], since: Option<i64>) -> Result<Vec<Self>> {
        let (base, account) = (of.base_url(Dialect::ConnectSafely), Settings::default().account_id);
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let page = |listed: &Listed| {
            let urn = utf8_percent_encode(&listed.address, SEGMENT);
            Self::page(format!(
                "{base}/conversations/{urn}/messages?accountId={account}&count={COUNT}&sync=true{since}"
            ))
        };
        conversations.iter().map(page).collect()
    }

    /// The requests of the daemon for these Linked API conversations, so many in each; `since` as the wire has it.
    pub(crate) fn batches(
        of: &Simulation,
        conversations: &[Listed],
        size: usize,
        since: Option<&str>,
    ) -> Result<Vec<Self>> {
        let url = format!("{}/conversations/poll", of.base_url(Dialect::LinkedApi));
        let credentials = Settings::default();
        let mut headers = HeaderMap::new();
        headers.insert("linked-api-token", HeaderValue::from_str(&credentials.linked_api_token)?);
        headers.insert("identification-token", HeaderValue::from_str(&credentials.identification_token)?);
        headers.insert("client", HeaderValue::from_static("bench"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let entry = |listed: &Listed| {
            let mut entry = serde_json::json!({ "personUrl": listed.address, "type": listed.wire_kind() });
            if let Some(since) = since {
                entry["since"] = since.into();
            }
            entry
        };
        let batch = |chunk: &[Listed]| {
            let body = serde_json::Value::from(chunk.iter().map(entry).collect::<Vec<_>>()).to_string();
            Self { headers: headers.clone(), ..Self::post(&url, body) }
        };
        Ok(conversations.chunks(size).map(batch).collect())
    }

    /// Sends it and reads the answer whole.
    pub(crate) async fn send(&self, client: &Client) -> Result<Vec<u8>> {
        let mut request = client.request(self.method.clone(), &self.url).headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.bytes().await?.into())
    }
}

/// Requests answered and the processor time they took this process.
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: Option<f64>,
}

/// Asks round and round for as long as `window`.
pub(crate) async fn for_a_while(asks: &[Ask], window: Duration) -> Result<Load> {
    let client = client()?;
    // Connections first, as the daemon has them when its window begins.
    each(&client, &asks[..asks.len().min(IN_FLIGHT)], 1).await?;
    let (asks, next, answered): (Arc<[Ask]>, _, _) =
        (asks.into(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let cpu_before = proc::cpu_seconds(std::process::id());
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, asks, next, answered) =
            (client.clone(), Arc::clone(&asks), Arc::clone(&next), Arc::clone(&answered));
        tasks.spawn(async move {
            while began.elapsed() < window {
                let at = next.fetch_add(1, Ordering::Relaxed) % asks.len();
                asks[at].send(&client).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?.context("the bare loop was refused")?;
    }
    let cpu_seconds = proc::cpu_seconds(std::process::id()).zip(cpu_before).map(|(after, before)| after - before);
    let seconds = began.elapsed().as_secs_f64();
    Ok(Load { requests: answered.load(Ordering::Relaxed), seconds, cpu_seconds })
}

/// Asks everything so many times.
pub(crate) async fn each(client: &Client, asks: &[Ask], times: usize) -> Result<()> {
    let (asks, next): (Arc<[Ask]>, _) = (asks.into(), Arc::new(AtomicUsize::new(0)));
    let total = asks.len() * times;
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, asks, next) = (client.clone(), Arc::clone(&asks), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= total {
                    return anyhow::Ok(());
                }
                asks[at % asks.len()].send(&client).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// For a process of its own: asks for every URL on standard input once and prints its own resident memory in MiB.
pub(crate) async fn once_and_tell() -> Result<()> {
    use std::io::Write;
    let text = std::io::read_to_string(std::io::stdin())?;
    let asks = text.lines().map(|url| Ask::page(url.to_owned())).collect::<Result<Vec<_>>>()?;
    drop(text);
    let client = client()?;
    each(&client, &asks, 1).await?;
    let resident = proc::resident_mib(std::process::id());
    ensure!(!asks.is_empty(), "no URLs on standard input");
    writeln!(std::io::stdout(), "{}", resident.map_or_else(|| "n/a".into(), |mib| mib.to_string()))?;
    Ok(())
}
