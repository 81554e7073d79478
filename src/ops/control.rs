//! The way for commands to reach a running daemon: a Unix socket beside the database, for its owner alone. One line of
//! JSON asks, one line answers.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::store::{self, Selection};
use crate::time::UnixMillis;

/// Longest request, in bytes.
const REQUEST_LIMIT: u64 = 64 * 1024;

/// Commands that ask at once.
const CLIENT_LIMIT: usize = 64;

/// A client that does not finish its line holds nothing but itself, and not for ever.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// A rewind waits for the poll of its conversation that is in flight, which may read many pages; a replay may be long.
const ANSWER_TIME: Duration = Duration::from_secs(600);

/// What a command asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Follow a conversation.
    Follow {
        /// Name of the account.
        account: String,
        /// As the configuration would name it.
        conversation: String,
    },
    /// Follow it no more.
    Unfollow {
        /// Name of the account.
        account: String,
        /// Its address or id.
        conversation: String,
    },
    /// Set its watermark back.
    Rewind {
        /// Name of the account.
        account: String,
        /// Its address or id.
        conversation: String,
        /// To here.
        to: UnixMillis,
    },
    /// Make dead deliveries pending again.
    RetryDead {
        /// Of this sink; `None`: of all.
        sink: Option<String>,
        /// Of these events.
        of: Selection,
    },
    /// Send a sink again what it was sent.
    Replay {
        /// The sink.
        sink: String,
        /// Of these events.
        of: Selection,
        /// Only count.
        dry_run: bool,
    },
    /// Remove deliveries for good.
    Purge {
        /// Of this sink; `None`: of all.
        sink: Option<String>,
        /// Of these events.
        of: Selection,
        /// Pending ones too.
        pending: bool,
        /// Only count.
        dry_run: bool,
    },
    /// Erase what people wrote.
    Erase {
        /// Name of the account.
        account: String,
        /// Its address or id.
        conversation: String,
        /// Only this message.
        message: Option<String>,
    },
    /// Probe an account that is paused, because it may have been repaired.
    Wake {
        /// Name of the account.
        account: String,
    },
    /// Tell when what is polled next, and why then.
    Schedule {},
}

impl Request {
    /// Whether it is about deliveries alone, and needs nobody who polls.
    pub fn is_of_outbox(&self) -> bool {
        matches!(self, Self::RetryDead { .. } | Self::Replay { .. } | Self::Purge { .. })
    }

    /// Whether something is another afterwards.
    fn changes_something(&self) -> bool {
        match self {
            Self::Schedule {} | Self::Wake { .. } => false,
            Self::Replay { dry_run, .. } | Self::Purge { dry_run, .. } => !dry_run,
            Self::Follow { .. }
            | Self::Unfollow { .. }
            | Self::Rewind { .. }
            | Self::RetryDead { .. }
            | Self::Erase { .. } => true,
        }
    }

    /// The command in a word, for the log.
    fn name(&self) -> &'static str {
        match self {
            Self::Follow { .. } => "follow",
            Self::Unfollow { .. } => "unfollow",
            Self::Rewind { .. } => "rewind",
            Self::RetryDead { .. } => "retry",
            Self::Replay { .. } => "replay",
            Self::Purge { .. } => "purge",
            Self::Erase { .. } => "erase",
            Self::Wake { .. } => "wake",
            Self::Schedule {} => "schedule",
        }
    }

    /// How long an answer may take. Whoever only looks does not wait for a daemon that is busy with a long command.
    fn answer_time(&self) -> Duration {
        if matches!(self, Self::Schedule {}) { REQUEST_TIME } else { ANSWER_TIME }
    }
}

/// What became of it: what was done, or why nothing was.
pub type Answer = Result<String, String>;

/// The daemon's end of the socket; it is removed when dropped.
pub struct Control {
    asked: Mutex<mpsc::Receiver<Asked>>,
    listening: JoinHandle<()>,
    path: PathBuf,
}

/// A request and the way to answer it.
pub struct Asked {
    /// What is asked.
    pub request: Request,
    stream: UnixStream,
}

/// The socket lies beside the database file itself, whatever links lead to it. From the working
/// folder where that is shorter: the address of a socket has room for about a hundred bytes.
fn socket_of(database: &Path) -> PathBuf {
    let database = store::resolved(database).unwrap_or_else(|_| database.to_owned());
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    let from_here = here.as_deref().and_then(|here| database.strip_prefix(here).ok());
    PathBuf::from(format!("{}.sock", from_here.unwrap_or(&database).display()))
}

impl Control {
    /// Listens beside a database whose lock this process holds: what is left of an earlier socket is replaced.
    pub fn listen(database: &Path) -> io::Result<Self> {
        let path = socket_of(database);
        let draft = PathBuf::from(format!("{}.new", path.display()));
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, &path)?;
        let (tell, asked) = mpsc::channel(1);
        let listening = tokio::spawn(accept(listener, tell));
        Ok(Self { asked: Mutex::new(asked), listening, path })
    }

    /// The next request. Whoever does not ask properly is told so and forgotten.
    pub async fn next(&self) -> Asked {
        match self.asked.lock().await.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

/// Reads every client in a task of its own, so that one that says nothing holds up nobody.
async fn accept(listener: UnixListener, tell: mpsc::Sender<Asked>) {
    let mut clients = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue,
        };
        match stream {
            // Each may say nothing for a while, and all of them are one user's.
            Ok(_) if clients.len() >= CLIENT_LIMIT => {
                tracing::debug!("a command was turned away: too many ask at once")
            }
            Ok((stream, _)) => {
                let tell = tell.clone();
                clients.spawn(async move {
                    match tokio::time::timeout(REQUEST_TIME, read(stream)).await {
                        // The daemon has stopped when nobody takes it.
                        Ok(Ok(asked)) => drop(tell.send(asked).await),
                        Ok(Err(error)) => tracing::debug!(%error, "a command was not understood"),
                        Err(_) => tracing::debug!("a command did not finish its request"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a command could not reach the daemon");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.listening.abort();
        // A socket that stays behind is replaced at the next start.
        drop(std::fs::remove_file(&self.path));
    }
}

async fn read(mut stream: UnixStream) -> io::Result<Asked> {
    let mut line = String::new();
    tokio::io::BufReader::new((&mut stream).take(REQUEST_LIMIT)).read_line(&mut line).await?;
    match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            if request.changes_something() {
                let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
                tracing::info!(uid, request = request.name(), "a command asks for a change");
            }
            Ok(Asked { request, stream })
        }
        Err(error) => {
            write(&mut stream, &Err("this daemon does not know the command; is it of another release?".into())).await?;
            Err(error.into())
        }
    }
}

async fn write(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

impl Asked {
    /// Answers; nobody minds when the command has gone.
    pub async fn answer(mut self, answer: Answer) {
        // Nor does anybody wait for one that does not read.
        drop(tokio::time::timeout(REQUEST_TIME, write(&mut self.stream, &answer)).await);
    }
}

/// Asks the daemon that works on a database; `None` when there is none.
pub fn ask(database: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let mut stream = match std::os::unix::net::UnixStream::connect(socket_of(database)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                // No daemon can listen at a path that is too long for a socket.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(request.answer_time()))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon ended before it answered"));
    }
    Ok(Some(serde_json::from_str(&answer)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request::Unfollow { account: "main".into(), conversation: "2-A".into() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_is_answered_and_what_is_no_request_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("inboxd.db");
        assert_eq!(ask(&database, &request()).unwrap(), None, "nobody listens");
        let control = Control::listen(&database).unwrap();
        let mode = std::fs::metadata(socket_of(&database)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let serving = tokio::spawn(async move {
            let asked = control.next().await;
            assert_eq!(asked.request, request());
            asked.answer(Ok("done".into())).await;
        });
        let nonsense = socket_of(&database);
        let refused = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(nonsense).unwrap();
            stream.write_all(b"{\"dance\":{}}\n").unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            answer
        });
        assert!(refused.await.unwrap().contains("another release"));
        let path = database.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&path, &request()).unwrap());
        assert_eq!(answer.await.unwrap(), Some(Ok("done".into())));
        serving.await.unwrap();
        assert_eq!(ask(&database, &request()).unwrap(), None, "the socket is gone with its daemon");
    }
}
