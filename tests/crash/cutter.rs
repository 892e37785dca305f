//! A way to the database that can be cut: every connection through it is gone at once.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy on a free port.
#[derive(Debug)]
pub struct Cutter {
    /// Where it listens.
    pub port: u16,
    cuts: watch::Sender<u32>,
}

impl Cutter {
    /// Starts one that goes to `port` on this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let cuts = watch::Sender::new(0);
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        tokio::spawn(serve(listener, to, cuts.clone()));
        Self { port: address.port(), cuts }
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, cuts: watch::Sender<u32>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut cut = cuts.subscribe();
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else { return };
            // Whatever ends it, both sides are closed.
            drop((near.set_nodelay(true), far.set_nodelay(true)));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.changed() => {}
            }
        });
    }
}
