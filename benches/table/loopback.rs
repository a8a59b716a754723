//! A server on loopback that answers as fast as it can, on a thread of its own, and a client that is nothing but hyper.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// What `/large` answers with, in bytes.
pub(crate) const LARGE: u64 = 100_000_000;
const PIECE: usize = 256 << 10;

/// The server: `/large` is large, `/wait` is answered once so many have asked for it, all else is small.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// `crowd`: how many requests of `/wait` come together.
    pub(crate) fn start(crowd: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let together = Arc::new(tokio::sync::Barrier::new(crowd));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, together.clone()));
            }
        });
        Ok(Self { address, runtime: Some(runtime) })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Async code may not wait for a runtime to end.
        self.runtime.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}

async fn serve(mut stream: TcpStream, together: Arc<tokio::sync::Barrier>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        };
        let asked = head.drain(..end).collect::<Vec<_>>();
        if asked.starts_with(b"GET /large") {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).await?;
            let piece = vec![b'x'; PIECE];
            let mut left = usize::try_from(LARGE).unwrap_or(usize::MAX);
            while left > 0 {
                let part = piece.get(..left.min(PIECE)).unwrap_or(&piece);
                stream.write_all(part).await?;
                left -= part.len();
            }
            continue;
        }
        if asked.starts_with(b"GET /wait") {
            together.wait().await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await?;
    }
}

/// One connection of hyper's.
pub(crate) struct Bare {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Bare {
    pub(crate) async fn connect(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: server.address.to_string() })
    }

    /// Reads a response to its end and keeps none of it; tells how many bytes there were.
    pub(crate) async fn get(&mut self, path: &str) -> Result<u64> {
        self.sender.ready().await?;
        let request = Request::get(path).header("host", &self.host).body(Empty::new())?;
        let mut body = self.sender.send_request(request).await?.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(bytes)
    }
}
