//! Who may be called: nobody inside of our own network, whatever the URL looks like (server-side request forgery).
//!
//! A URL is read as browsers read it, so that `0x7f.1`, `2130706433` and `①②⑦.0.0.1` are 127.0.0.1. A name is resolved
//! once for each connection, and the connection goes to an address of that very answer: a name that points elsewhere a
//! moment later (rebinding) gains nothing. One private address among public ones refuses the name.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;
use url::{Host, Url};

use crate::domain::net::is_public;

/// Finds the addresses of a name.
pub trait Names: Send + Sync {
    /// All of them.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Names for System {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect()) }.boxed()
    }
}

/// Decides. Clones decide alike.
#[derive(Clone)]
pub struct Guard {
    private: bool,
    names: Arc<dyn Names>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("private", &self.private).finish_non_exhaustive()
    }
}

/// Names that mean this machine or this network, whatever a resolver says.
const LOCAL: &[&str] =
    &["localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa"];

impl Guard {
    /// Lets through what is public, over https.
    pub fn public() -> Self {
        Self { private: false, names: Arc::new(System) }
    }

    /// Lets everything through, also over http: for what an operator set, and for development.
    pub fn open() -> Self {
        Self { private: true, names: Arc::new(System) }
    }

    /// The same with another resolver.
    #[must_use]
    pub fn with_names(self, names: impl Names + 'static) -> Self {
        Self { names: Arc::new(names), ..self }
    }

    /// Whether the URL may be called, as far as it can be told without resolving its name.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "https" => {}
            "http" if self.private => {}
            other => return Err(format!("the URL must be https, not {other}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must not hold a user or password".to_owned());
        }
        let refused = |what: &dyn std::fmt::Display| Err(format!("{what} is not a public address"));
        match url.host() {
            None => Err("the URL names no host".to_owned()),
            Some(_) if self.private => Ok(()),
            Some(Host::Ipv4(v4)) if !is_public(v4.into()) => refused(&v4),
            Some(Host::Ipv6(v6)) if !is_public(v6.into()) => refused(&v6),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let local = LOCAL.iter().any(|l| name == *l || name.ends_with(&format!(".{l}")));
                if local || !name.contains('.') { refused(&name) } else { Ok(()) }
            }
            Some(_) => Ok(()),
        }
    }

    async fn resolve(self, name: String) -> io::Result<Vec<IpAddr>> {
        let addresses = self.names.addresses(name.clone()).await?;
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{name} has no address")));
        }
        match addresses.iter().find(|a| !self.private && !is_public(**a)) {
            Some(address) => Err(io::Error::other(Refusal(format!("{name} leads to {address}, which is not public")))),
            None => Ok(addresses),
        }
    }
}

/// A name that leads into a private network.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Refusal>())
}

/// The guard as the connector's resolver.
#[derive(Debug, Clone)]
pub struct Guarded(pub Guard);

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolved = self.0.clone().resolve(name.as_str().to_owned());
        // The connector puts the port in.
        Box::pin(async move {
            let all: Vec<SocketAddr> = resolved.await?.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(all.into_iter())
        })
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
