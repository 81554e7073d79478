//! Sockets that can be told to misbehave.
//!
//! HTTP servers take care never to send half an answer, so a fault below HTTP has to be made below HTTP: the handler
//! leaves a plan with the connection it answers on, and the socket carries it out on the next write.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// What a socket does with the answer written next.
#[derive(Debug, Default)]
enum Plan {
    /// Sends it.
    #[default]
    Pass,
    /// Sends the head and the first bytes of the body, then closes.
    Cut { in_head: bool, keep: usize },
    /// Sends the head, then the body in pieces with a pause after each.
    Slow { in_head: bool, piece: usize, pause: Duration, left: usize },
    /// Sends nothing and resets the connection.
    Reset,
    /// Sends nothing more and closes in order.
    Closed,
}

#[derive(Debug, Default)]
struct Wire {
    plan: Mutex<Plan>,
    /// Whether `plan` is anything but `Pass`: spares a lock per write in the common case.
    armed: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

/// The handler's end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection(Arc<Wire>);

impl Connection {
    /// The next answer breaks off after `keep` bytes of body.
    pub(super) fn cut_after(&self, keep: usize) {
        self.arm(Plan::Cut { in_head: true, keep });
    }

    /// The next answer, with a body of `length` bytes, takes about `duration`.
    pub(super) fn trickle(&self, length: usize, duration: Duration) {
        const PIECES: u32 = 10;
        if length > 0 {
            let piece = length.div_ceil(PIECES as usize);
            self.arm(Plan::Slow { in_head: true, piece, pause: duration / PIECES, left: length });
        }
    }

    /// The connection is reset instead of the next answer.
    pub(super) fn reset(&self) {
        self.arm(Plan::Reset);
    }

    fn arm(&self, plan: Plan) {
        *lock(&self.0.plan) = plan;
        self.0.armed.store(true, Ordering::Release);
        if let Some(reader) = lock(&self.0.reader).take() {
            reader.wake();
        }
    }
}

impl Connected<IncomingStream<'_, Listener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().connection.clone()
    }
}

/// Every connection that is open, so that stopping does not wait for peers.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenConnections(Arc<Mutex<Vec<Weak<Wire>>>>);

impl OpenConnections {
    fn add(&self, connection: &Connection) {
        let mut open = lock(&self.0);
        if open.len() == open.capacity() {
            open.retain(|wire| wire.strong_count() > 0);
        }
        open.push(Arc::downgrade(&connection.0));
    }

    /// Ends them all.
    pub(super) fn close(&self) {
        for wire in lock(&self.0).drain(..).filter_map(|wire| wire.upgrade()) {
            Connection(wire).arm(Plan::Closed);
        }
    }
}

/// Accepts connections whose sockets follow a plan.
pub(super) struct Listener {
    pub(super) inner: TcpListener,
    pub(super) open: OpenConnections,
}

impl axum::serve::Listener for Listener {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.inner).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::trace!(%error, "no TCP_NODELAY on this connection");
        }
        let connection = Connection::default();
        self.open.add(&connection);
        (Socket { stream, connection, pause: None }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A TCP stream and the plan for it.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Connection,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    fn follow_plan(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = Arc::clone(&self.connection.0);
        let mut plan = lock(&wire.plan);
        let limit = match &mut *plan {
            Plan::Pass => buf.len(),
            Plan::Reset => {
                self.stream.set_zero_linger()?;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Plan::Closed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Plan::Cut { in_head: true, .. } | Plan::Slow { in_head: true, .. } => head_length(buf).unwrap_or(buf.len()),
            Plan::Cut { keep: 0, .. } => {
                *plan = Plan::Closed;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Plan::Cut { keep, .. } => buf.len().min(*keep),
            Plan::Slow { piece, .. } => {
                if let Some(pause) = &mut self.pause {
                    ready!(pause.as_mut().poll(cx));
                    self.pause = None;
                }
                buf.len().min(*piece)
            }
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..limit]))?;
        match &mut *plan {
            Plan::Cut { in_head, .. } | Plan::Slow { in_head, .. } if *in_head => {
                *in_head = head_length(buf) != Some(written);
            }
            Plan::Cut { keep, .. } => *keep -= written,
            Plan::Slow { pause, left, .. } => {
                *left = left.saturating_sub(written);
                if *left == 0 {
                    *plan = Plan::Pass;
                    wire.armed.store(false, Ordering::Release);
                } else {
                    self.pause = Some(Box::pin(tokio::time::sleep(*pause)));
                }
            }
            Plan::Pass | Plan::Reset | Plan::Closed => {}
        }
        Poll::Ready(Ok(written))
    }
}

/// Length of an answer's head, with the empty line that ends it.
fn head_length(buf: &[u8]) -> Option<usize> {
    buf.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        // Before the plan is looked at: one laid in between wakes this reader.
        remember(&socket.connection.0.reader, cx.waker());
        if socket.connection.0.armed.load(Ordering::Acquire) {
            match *lock(&socket.connection.0.plan) {
                Plan::Reset => {
                    socket.stream.set_zero_linger()?;
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Plan::Closed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Plan::Pass | Plan::Cut { .. } | Plan::Slow { .. } => {}
            }
        }
        Pin::new(&mut socket.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        if socket.connection.0.armed.load(Ordering::Acquire) {
            return socket.follow_plan(cx, buf);
        }
        Pin::new(&mut socket.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn remember(slot: &Mutex<Option<Waker>>, waker: &Waker) {
    let mut slot = lock(slot);
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
