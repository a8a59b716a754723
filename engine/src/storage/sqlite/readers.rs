//! The few threads that read, each with a connection of its own: readers wait for no writer, and no executor waits for
//! a disk.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::StorageError;
use super::writer::Closed;

type Query = Box<dyn FnOnce(&Connection) + Send>;

/// Where questions are handed in.
pub(super) struct Readers(Sender<Query>);

impl Readers {
    pub(super) fn spawn(connections: Vec<Connection>) -> io::Result<Self> {
        let (sender, queries) = mpsc::channel();
        let queries = Arc::new(Mutex::new(queries));
        for connection in connections {
            let queries = queries.clone();
            thread::Builder::new().name("casemate-sqlite".to_owned()).spawn(move || serve(&connection, &queries))?;
        }
        Ok(Self(sender))
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            // Whoever asked may have gone.
            let _ = reply.send(query(connection));
        });
        self.0.send(query).map_err(|_| StorageError::Refused(Box::new(Closed)))?;
        let answer = answer.await.map_err(|_| StorageError::Refused(Box::new(Closed)))?;
        answer.map_err(|error| StorageError::Refused(Box::new(error)))
    }
}

/// One thread waits for the next question, the others for it.
fn serve(connection: &Connection, queries: &Mutex<Receiver<Query>>) {
    let next = || queries.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(query) = next() {
        query(connection);
    }
}
