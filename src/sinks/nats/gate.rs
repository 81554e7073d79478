//! The way to a server. The client library can only be told an address, and takes from there whatever comes: so the
//! connection is ours (which address it leads to, whom TLS trusts), and the library is given a place on loopback, between
//! which and the server everything passes through [`Frames`].
//!
//! Nobody else of this machine gets in: both ends are addresses out of 127.0.0.0/8 that are drawn for this connection, and
//! what comes from any other is turned away. The place is kept until the library has ended: it knocks there once more
//! when the connection is lost, and whoever stood there then would be told the login.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::ServerAddr;
use rand::RngExt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::frames::{Frames, LINE_LIMIT, OutOfBounds};
use crate::connect::{Network, Refusal, Trust, TrustError, in_words};
use crate::model::{Untrusted, cut_at};
use crate::sinks::Error;

/// Longest time in which the library takes what a server has said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Nothing is said to it without TLS.
    pub(super) tls: bool,
}

/// What is to be known of the way to every server.
pub(super) struct Way {
    pub(super) network: Network,
    pub(super) trust: Trust,
}

/// A connection to a server, before anything was said to it.
pub(super) struct Reached {
    stream: Box<dyn Stream>,
    /// What the server has said of itself, as the library is to hear it.
    greeting: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a server cannot be reached.
#[derive(Debug, thiserror::Error)]
enum Unreached {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    #[error("what answers is no NATS server")]
    NoServer,
    #[error("the server says more before TLS than it may: somebody may stand in between")]
    Injected,
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the name of the server cannot be that of a certificate")]
    Name,
}

impl From<Unreached> for Error {
    fn from(error: Unreached) -> Self {
        match &error {
            Unreached::Refused(refusal) => Self::refused(
                format!("no connection: {refusal}"),
                "look at url and network: this address is not one that the sink may connect to",
            ),
            Unreached::Failed(failed) => {
                let words = in_words(failed);
                Self::retry(format!("no connection: {}", words.unwrap_or_else(|| shown(&error))))
            }
            _ => Self::retry(format!("no connection: {}", shown(&error))),
        }
    }
}

fn shown(error: &impl std::fmt::Display) -> String {
    Untrusted(cut_at(&error.to_string(), super::DETAIL_LIMIT)).to_string()
}

impl Way {
    /// Connects to a server, up to where it would hear who we are. Of several addresses each has its share of the time.
    pub(super) async fn to(&self, server: &Server, until: Instant) -> Result<Reached, Error> {
        self.reach(server, until).await.map_err(Error::from)
    }

    async fn reach(&self, server: &Server, until: Instant) -> Result<Reached, Unreached> {
        let mut stream = self.connect(server, until).await?;
        let (greeting, rest) = greeting(&mut stream).await?;
        let mut info = serde_json::from_slice::<serde_json::Map<_, _>>(&greeting).map_err(|_| Unreached::NoServer)?;
        let wants_tls = info.get("tls_required").and_then(serde_json::Value::as_bool) == Some(true);
        // From here on it is ours: the library neither does it once more nor goes elsewhere.
        for ours in ["tls_required", "tls_verify", "tls_available", "connect_urls", "ws_connect_urls"] {
            info.remove(ours);
        }
        let mut greeting = [b"INFO ", serde_json::Value::from(info).to_string().as_bytes(), b"\r\n"].concat();
        if !server.tls && !wants_tls {
            greeting.extend(rest);
            return Ok(Reached { stream: Box::new(stream), greeting });
        }
        if !rest.is_empty() {
            return Err(Unreached::Injected);
        }
        let name = ServerName::try_from(server.host.clone()).map_err(|_| Unreached::Name)?;
        let config = Arc::new(self.trust.config()?);
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Reached { stream: Box::new(stream), greeting })
    }

    async fn connect(&self, server: &Server, until: Instant) -> Result<TcpStream, Unreached> {
        let mut failure = None;
        let mut allowed = Vec::new();
        for address in lookup_host((server.host.as_str(), server.port)).await? {
            match self.network.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(refusal) => failure = failure.or(Some(Unreached::Refused(refusal))),
            }
        }
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
        for (tried, address) in allowed.iter().enumerate() {
            // One that answers nothing leaves the others their time.
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(allowed.len() - tried).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await.unwrap_or_else(late) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => failure = Some(error.into()),
            }
        }
        Err(failure.unwrap_or_else(|| std::io::Error::from(std::io::ErrorKind::AddrNotAvailable).into()))
    }
}

/// What the server says of itself, and what has come behind it.
async fn greeting(stream: &mut TcpStream) -> Result<(Vec<u8>, Vec<u8>), Unreached> {
    let (mut said, mut frames) = (Vec::new(), Frames::default());
    loop {
        let before = said.len();
        if stream.read_buf(&mut said).await? == 0 {
            return Err(Unreached::NoServer);
        }
        frames.pass(&said[before..])?;
        if let Some(end) = said.windows(2).position(|two| two == b"\r\n") {
            let rest = said.split_off(end + 2);
            let info = said.strip_prefix(b"INFO ").ok_or(Unreached::NoServer)?;
            return Ok((info.to_vec(), rest));
        }
        if said.len() > LINE_LIMIT {
            return Err(OutOfBounds::Line.into());
        }
    }
}

/// Where the library finds a server.
pub(super) struct Place {
    /// What it is told to connect to.
    pub(super) address: ServerAddr,
    /// From where.
    pub(super) from: SocketAddr,
}

/// Why a connection was cut, once it was.
pub(super) type Cut = Arc<Mutex<Option<String>>>;

/// An address that nobody can guess.
fn own_address() -> IpAddr {
    let draw = || rand::rng().random_range(1..=254);
    Ipv4Addr::new(127, draw(), draw(), draw()).into()
}

/// Makes a place for the library, and passes between it and the server until `end`. The place is kept until `over`, when the
/// library has ended.
pub(super) async fn open(
    reached: Reached,
    cut: Cut,
    end: CancellationToken,
    over: CancellationToken,
) -> std::io::Result<Place> {
    let from = own_address();
    let listener = TcpListener::bind((own_address(), 0)).await?;
    let address = format!("nats://{}", listener.local_addr()?);
    let address = address.parse().map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        let passing = async {
            end.run_until_cancelled(pass(&listener, from, reached, &cut)).await;
            loop {
                drop(next(&listener).await);
            }
        };
        over.run_until_cancelled(passing).await;
    });
    Ok(Place { address, from: SocketAddr::new(from, 0) })
}

/// Whoever knocks next. What keeps one from being heard, such as too many open files, passes.
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(knocked) => return knocked,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Passes what either says on to the other, until one of them ends.
async fn pass(listener: &TcpListener, from: IpAddr, reached: Reached, cut: &Cut) {
    let mut library = loop {
        let (stream, peer) = next(listener).await;
        if peer.ip() == from {
            break stream;
        }
    };
    let Reached { stream, greeting } = reached;
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_library, mut to_library) = library.split();
    let up = async {
        // Why the server takes no more it says itself, below.
        if tokio::io::copy(&mut from_library, &mut to_server).await.is_err() {
            std::future::pending().await
        }
        drop(to_server.shutdown().await);
    };
    let down = async {
        let (mut frames, mut buffer) = (Frames::default(), vec![0; 16 << 10]);
        frames.pass(&greeting).map_err(|error| shown(&error))?;
        let mut minute = Instant::now();
        let mut heard = to_library.write_all(&greeting).await.is_ok();
        while heard {
            // That we are not let in, TLS says only now.
            let length = from_server.read(&mut buffer).await.map_err(|error| in_words(&error).unwrap_or_default())?;
            if minute.elapsed() >= Duration::from_secs(60) {
                frames.begin_minute();
                minute = Instant::now();
            }
            frames.pass(&buffer[..length]).map_err(|error| shown(&error))?;
            heard = length > 0 && to_library.write_all(&buffer[..length]).await.is_ok();
        }
        Ok::<_, String>(())
    };
    let ended = tokio::select! {
        () = up => return,
        ended = down => ended,
    };
    if let Some(why) = ended.err().filter(|why| !why.is_empty()) {
        *cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
    // The library hears the server's last words first: what is left unread would make the system take them back.
    drop(to_library.shutdown().await);
    drop(timeout(LAST_WORDS, tokio::io::copy(&mut from_library, &mut tokio::io::sink())).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// What is said to whoever knocks from this address, up to the end or the first line.
    async fn knock(place: &Place, from: SocketAddr) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        let address = place.address.socket_addrs().await.unwrap().next().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n") && stream.read_buf(&mut said).await.is_ok_and(|length| length > 0) {}
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn nobody_but_the_library_is_let_in_and_nobody_else_can_stand_there_afterwards() {
        let (server, stream) = tokio::io::duplex(1024);
        let reached = Reached { stream: Box::new(stream), greeting: b"INFO {}\r\n".to_vec() };
        let (cut, over) = (Cut::default(), CancellationToken::new());
        let place = open(reached, Arc::clone(&cut), CancellationToken::new(), over.clone()).await.unwrap();
        let address = place.address.socket_addrs().await.unwrap().next().unwrap();
        assert!(address.ip().is_loopback() && place.from.ip().is_loopback() && address.ip() != place.from.ip());
        assert_eq!(knock(&place, "127.0.0.1:0".parse().unwrap()).await, "");
        assert_eq!(knock(&place, place.from).await, "INFO {}\r\n");
        drop(server);
        assert_eq!(knock(&place, place.from).await, "", "one connection, one place");
        assert!(std::net::TcpListener::bind(address).is_err(), "it is kept");
        over.cancel();
        while std::net::TcpListener::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*cut.lock().unwrap(), None);
    }
}
