//! Connections that wait for their next request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use casemate_policy::Origin;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;

use super::{Inner, OutBody};

/// One end of a connection, which is closed when this is dropped.
pub(super) struct Sender {
    pub(super) sender: SendRequest<OutBody>,
    driver: JoinHandle<()>,
}

impl Sender {
    pub(super) fn new(sender: SendRequest<OutBody>, driver: JoinHandle<()>) -> Self {
        Self { sender, driver }
    }
}

/// A server that has answered may still wait for the rest of a request.
impl Drop for Sender {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Where a connection goes. The address is part of it: whoever may reach a name may not reach all its addresses.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) origin: Origin,
    pub(super) address: IpAddr,
}

#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Key, Vec<Idle>>>);

struct Idle {
    sender: Sender,
    since: Instant,
}

/// How long a connection waits.
const LONGEST_IDLE: Duration = Duration::from_mins(1);
/// How long a connection has to become free.
const SOON: Duration = Duration::from_millis(50);
/// How many wait, for all destinations together: each is an open file.
const MOST_IDLE: usize = 128;

impl Pool {
    /// The connection that was used last.
    pub(super) async fn take(&self, key: &Key) -> Option<Sender> {
        while let Some(mut sender) = self.pop(key) {
            // The end of a response is seen a moment before its connection is free. It never is where the server
            // answered before it had the whole request.
            if let Ok(Ok(())) = tokio::time::timeout(SOON, sender.sender.ready()).await {
                return Some(sender);
            }
        }
        None
    }

    fn pop(&self, key: &Key) -> Option<Sender> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.get_mut(key)?;
        let sender = idle.pop().filter(Idle::is_of_use).map(|idle| idle.sender);
        if sender.is_none() {
            // Those below have waited for longer.
            all.remove(key);
        }
        sender
    }

    fn put(&self, key: Key, sender: Sender) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, idle| {
            idle.retain(Idle::is_of_use);
            !idle.is_empty()
        });
        if all.values().map(Vec::len).sum::<usize>() >= MOST_IDLE {
            // None is empty here, and each list begins with the one that has waited longest.
            let oldest = all.values_mut().min_by_key(|idle| idle.first().map(|idle| idle.since));
            drop(oldest.map(|idle| idle.remove(0)));
        }
        all.entry(key).or_default().push(Idle { sender, since: Instant::now() });
    }
}

impl Idle {
    fn is_of_use(&self) -> bool {
        !self.sender.sender.is_closed() && self.since.elapsed() < LONGEST_IDLE
    }
}

/// The way of one connection back to the pool, at the end of a response. Dropped before, it closes the connection.
pub(super) struct Back {
    client: Arc<Inner>,
    key: Key,
    sender: Sender,
    further: Further,
}

/// Which requests a connection may have after this one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Further {
    Any,
    None,
}

impl Back {
    pub(super) fn new(client: Arc<Inner>, key: Key, sender: Sender, further: Further) -> Self {
        Self { client, key, sender, further }
    }

    pub(super) fn go(self) {
        if self.further == Further::Any {
            self.client.pool.put(self.key, self.sender);
        }
    }
}
