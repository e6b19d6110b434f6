//! Threads that serve connections, each with a reactor of its own.
//!
//! A boot script is an answer of a hundred bytes: on the program's common threads, to wake another one and to hand it the
//! connection costs more than the answer. Here a connection stays on the thread that it was given to, and what its thread
//! does between two of its answers is other connections of the same kind.

use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::num::NonZero;
use std::thread;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// The threads. They end, and all connections with them, when this is dropped.
#[derive(Debug)]
pub(super) struct Lanes<Seat> {
    lanes: Vec<UnboundedSender<(TcpStream, Seat)>>,
    next: usize,
}

impl<Seat: Send + 'static> Lanes<Seat> {
    /// One thread for each processor; `serve` makes of a connection what it does.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn start<F>(
        serve: impl Fn(tokio::net::TcpStream, Seat) -> F + Clone + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut lanes = Vec::new();
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, receiver) = unbounded_channel();
            let serve = serve.clone();
            thread::Builder::new().name("boot-http".into()).spawn(move || runtime.block_on(run(receiver, serve)))?;
            lanes.push(sender);
        }
        Ok(Lanes { lanes, next: 0 })
    }

    /// Gives a connection to the next thread; their number is bounded by the seats.
    pub(super) fn give(&mut self, stream: tokio::net::TcpStream, seat: Seat) {
        // A socket that cannot leave its reactor is as good as a client that has left.
        let Ok(stream) = stream.into_std() else { return };
        self.next = (self.next + 1) % self.lanes.len().max(1);
        if let Some(lane) = self.lanes.get(self.next) {
            // The thread lives as long as the sender.
            let _ = lane.send((stream, seat));
        }
    }
}

async fn run<Seat, F>(mut given: UnboundedReceiver<(TcpStream, Seat)>, serve: impl Fn(tokio::net::TcpStream, Seat) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            next = given.recv() => match next {
                Some((stream, seat)) => if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    connections.spawn(serve(stream, seat));
                },
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
