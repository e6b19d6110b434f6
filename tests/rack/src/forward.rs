//! The way from the host to the appliance: a port on 127.0.0.1, each connection handed on from the users' namespace.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Weak;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;

use crate::wiring::Wiring;

/// The running forwarder; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Forward {
    runtime: Option<Runtime>,
    port: u16,
}

impl Forward {
    /// Listens on 127.0.0.1:`port` of the host (0: a free one) for `target` as seen from the users' namespace.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(wiring: Weak<Wiring>, port: u16, target: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port} on 127.0.0.1 cannot be used: name another one with --port"))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("forward")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(async { TcpListener::from_std(listener) })?;
        runtime.spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let wiring = wiring.clone();
                // A refused connection is closed: the client sees what it would see of a box that is down.
                tokio::spawn(async move { hand_on(client, &wiring, target).await.ok() });
            }
        });
        Ok(Self { runtime: Some(runtime), port })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        }
    }
}

async fn hand_on(mut client: TcpStream, wiring: &Weak<Wiring>, target: SocketAddr) -> Result<()> {
    // A socket belongs to the namespace of the thread that makes it, wherever it is used later.
    let socket = {
        let wiring = wiring.upgrade().context("the rack is being taken down")?;
        wiring.user.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))??
    };
    socket.set_nonblocking(true)?;
    let mut server = TcpSocket::from_std_stream(socket.into()).connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
