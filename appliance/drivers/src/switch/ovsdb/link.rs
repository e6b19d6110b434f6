//! One connection to a database: requests go out, replies come back to whoever asked, echoes are answered.
//!
//! A task of its own owns the stream, so that the database's question whether we are there is answered while nobody asks
//! anything. It ends with the connection, or when nobody holds the [`Link`].

use leasehold_protocols::ovsdb::{Framer, Incoming, LONGEST_MESSAGE, PeerError, echo_reply, request};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// Messages that nobody asked for before a peer is taken for a mad one. An honest database sends an echo now and then.
const MOST_UNASKED: u32 = 10_000;
/// Requests that wait for their turn to be sent.
const QUEUE: usize = 64;
/// How long the peer may refuse to take what is sent.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// A stream to a database.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkError {
    /// The connection ended, or nothing came in time.
    Gone(String),
    /// What comes is no JSON-RPC.
    Nonsense(String),
    Peer(PeerError),
}

struct Call {
    method: &'static str,
    params: Value,
    answer: oneshot::Sender<Result<Value, LinkError>>,
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    calls: mpsc::Sender<Call>,
}

impl Link {
    /// Takes a fresh stream over.
    pub(super) fn start(stream: impl Stream + 'static) -> Link {
        let (calls, asked) = mpsc::channel(QUEUE);
        tokio::spawn(Talk { stream, asked, waiting: HashMap::new(), next: 1, unasked: 0 }.run());
        Link { calls }
    }

    /// It is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.calls.is_closed()
    }

    /// Asks, and waits at most so long.
    pub(super) async fn call(
        &self,
        method: &'static str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, LinkError> {
        let ended = || LinkError::Gone("the connection ended".to_owned());
        let asked = async {
            let (answer, answered) = oneshot::channel();
            self.calls.send(Call { method, params, answer }).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        };
        let late = |_| LinkError::Gone(format!("no answer within {} s", patience.as_secs_f32()));
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }
}

struct Talk<S> {
    stream: S,
    asked: mpsc::Receiver<Call>,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, LinkError>>>,
    next: u64,
    unasked: u32,
}

impl<S: Stream> Talk<S> {
    async fn run(mut self) {
        let why = self.talk().await;
        self.asked.close();
        while let Ok(call) = self.asked.try_recv() {
            self.waiting.insert(self.next, call.answer);
            self.next += 1;
        }
        for answer in self.waiting.into_values() {
            let _whoever_asked_may_be_gone = answer.send(Err(why.clone()));
        }
    }

    /// Returns when the connection is over, with the reason.
    async fn talk(&mut self) -> LinkError {
        let mut framer = Framer::new(LONGEST_MESSAGE);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            tokio::select! {
                call = self.asked.recv() => {
                    let Some(call) = call else { return LinkError::Gone("nobody asks any more".to_owned()) };
                    let id = self.next;
                    self.next += 1;
                    let bytes = request(id, call.method, &call.params);
                    // Those who gave up waiting need no answer any more.
                    self.waiting.retain(|_, answer| !answer.is_closed());
                    self.waiting.insert(id, call.answer);
                    if let Err(error) = self.send(&bytes).await {
                        return error;
                    }
                }
                read = self.stream.read(&mut buffer) => {
                    let bytes = match read {
                        Ok(0) => return LinkError::Gone("it ended the connection".to_owned()),
                        Ok(length) => buffer.get(..length).unwrap_or_default(),
                        Err(error) => return LinkError::Gone(format!("the connection broke: {error}")),
                    };
                    let messages = match framer.push(bytes) {
                        Ok(messages) => messages,
                        Err(error) => return LinkError::Nonsense(error.to_string()),
                    };
                    for message in messages {
                        if let Err(error) = self.take(message).await {
                            return error;
                        }
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: Value) -> Result<(), LinkError> {
        self.unasked += 1;
        match Incoming::read(message).map_err(|error| LinkError::Nonsense(error.to_string()))? {
            Incoming::Echo { id, params } => self.send(&echo_reply(&id, &params)).await?,
            Incoming::Reply { id, result } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    self.unasked = 0;
                    let _whoever_asked_may_be_gone = answer.send(result.map_err(LinkError::Peer));
                }
            }
            Incoming::Other => {}
        }
        if self.unasked > MOST_UNASKED {
            return Err(LinkError::Nonsense(format!("{MOST_UNASKED} messages that nobody asked for")));
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(SEND_PATIENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LinkError::Gone(format!("the connection broke: {error}"))),
            Err(_) => Err(LinkError::Gone("it takes nothing more".to_owned())),
        }
    }
}
