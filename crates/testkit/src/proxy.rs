//! A wire that can be cut: stands between a role and an engine.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes connections on while it is mended; ends all of them, and refuses new ones, while it is cut.
#[derive(Debug, Clone)]
pub struct Wire {
    address: SocketAddr,
    mended: watch::Sender<bool>,
}

impl Wire {
    /// A cut wire to this address.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { address: listener.local_addr().unwrap(), mended: watch::Sender::new(false) };
        let mended = wire.mended.subscribe();
        tokio::spawn(async move {
            loop {
                let Ok((mut near, _)) = listener.accept().await else { return };
                let (mut mended, target) = (mended.clone(), target.clone());
                tokio::spawn(async move {
                    if !*mended.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = mended.wait_for(|m| !m) => {}
                    }
                });
            }
        });
        wire
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on connections pass.
    pub fn mend(&self) {
        self.mended.send_replace(true);
    }

    /// From now on none does.
    pub fn cut(&self) {
        self.mended.send_replace(false);
    }
}
