//! A proxy in front of the server that cuts, stalls and throttles connections as they come.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::random::Random;

#[derive(Default)]
pub(crate) struct Proxy {
    /// Where the server is, while there is one.
    server: Mutex<Option<SocketAddr>>,
    /// Whether connections are let alone.
    calm: AtomicBool,
}

impl Proxy {
    /// Listens; gives the address.
    pub(crate) async fn start(seed: u64) -> (Arc<Proxy>, SocketAddr) {
        let proxy = Arc::new(Proxy::default());
        let socket = TcpSocket::new_v4().expect("a socket");
        // Little, so that the server soon notices whom the proxy does not let read.
        socket.set_recv_buffer_size(16 * 1024).expect("a socket takes a size");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener: TcpListener = socket.listen(1024).expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepting = Arc::clone(&proxy);
        tokio::spawn(async move {
            let mut random = Random::new(seed);
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let weather = Random::new(random.next());
                tokio::spawn(Arc::clone(&accepting).carry(client, weather));
            }
        });
        (proxy, address)
    }

    pub(crate) fn lead_to(&self, server: Option<SocketAddr>) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// From now on what is cut stays cut, and nothing else happens.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    async fn carry(self: Arc<Self>, client: TcpStream, mut random: Random) {
        let server = *self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = server else { return };
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a socket takes a size");
        // The server may just have been killed.
        let Ok(server) = socket.connect(server).await else { return };
        let cut_after = Duration::from_millis(300 + random.below(12_000));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let up = Random::new(random.next());
        let ways = async {
            tokio::join!(self.pump(from_client, to_server, up), self.pump(from_server, to_client, random));
        };
        tokio::select! {
            () = ways => {}
            // Dropped with what is on its way.
            () = self.storm(cut_after) => {}
        }
    }

    /// Ends after so long, unless it is calm by then.
    async fn storm(&self, time: Duration) {
        sleep(time).await;
        if self.calm.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Carries bytes one way, in pieces, with pauses.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut random: Random) {
        let most = [100, 3_000, 64 * 1024][random.below(3) as usize];
        let stalls = [20, 200, 1_000][random.below(3) as usize];
        let mut piece = vec![0; most];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            if !self.calm.load(Ordering::Relaxed) {
                if random.one_in(stalls) {
                    sleep(Duration::from_millis(random.below(1_500))).await;
                } else if most < 1_000 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            if to.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
        // Fails only if the other side is gone.
        let _ = to.shutdown().await;
    }
}
