use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// What [`Resolve::resolve`] answers with.
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Looks names up.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, the best first. The name is in lower case, in Punycode, and without a final dot.
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a>;
}

/// As the system does it.
pub(super) struct System {
    /// A look-up cannot be broken off, and holds a thread of those that files are read on.
    places: Arc<Semaphore>,
}

/// Look-ups at once.
const AT_ONCE: usize = 32;

impl Default for System {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        Box::pin(async move {
            let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let name = name.to_owned();
            let found = tokio::task::spawn_blocking(move || {
                let _place = place;
                (name.as_str(), 0).to_socket_addrs()
            });
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.await??.map(|found| found.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        })
    }
}
