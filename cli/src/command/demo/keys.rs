//! A tool on the web whose key neither the agent nor the tool's caller ever holds.

use anyhow::Context as _;
use casemate::{
    Engine, EventKind, Gate, Grants, HttpTool, Secret, SecretFuture, SecretPlace, SecretSource, Secrets, Tool, Toolset,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::render::{self, BAD, DIM, GOOD, styled};

/// More events than this part has.
const MAX_EVENTS: usize = 1_000;

const NAME: &str = "ORDERS_KEY";
const KEY: &str = "made-up-key-4711";

/// A value for the demo alone.
struct MadeUp;

impl SecretSource for MadeUp {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(std::future::ready(Ok(Some(KEY.into()))))
    }

    fn place(&self) -> String {
        "the demo".to_owned()
    }
}

/// Shows it; whether the key arrived at the server, and nowhere else.
pub(super) async fn show(engine: &Engine) -> anyhow::Result<bool> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the demo needs a port on this machine")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (tell, mut told) = mpsc::channel(1);
    let server = tokio::spawn(serve(listener, tell));

    let orders: Tool = HttpTool::new("orders", &url)?.secret(NAME, SecretPlace::bearer())?.into();
    let secrets = Secrets::new();
    secrets.set(Secret::new(NAME, MadeUp)?);
    let gate = Gate::builder().secrets(secrets).build();
    let mut events = gate.subscribe(MAX_EVENTS);
    let agent = engine.load_bytes(casemate_guests::CALLER).await?;
    let asks = json!({"method": "GET", "path": "/orders/A-17"});
    let call = agent.call("try-tool", json!({"name": "orders", "input": asks.to_string()}));
    let call = call.tools(Toolset::new().with(orders)?).grants(Grants::none().tool("orders")?).gate(&gate);
    let got = call.await?;
    server.abort();

    let sent = told.try_recv().unwrap_or_default();
    let arrived = sent == format!("Bearer {KEY}");
    row("the agent asks `orders`", &asks.to_string());
    row("the server gets", &format!("authorization: {}", if arrived { shortened(&sent) } else { sent }));
    row("the agent gets", got.as_str().unwrap_or_default());
    let mut leaked = got.to_string().contains(KEY);
    let mut used = false;
    while let Some(event) = events.try_next() {
        let event = event?;
        leaked |= serde_json::to_string(&*event)?.contains(KEY);
        if let EventKind::SecretUsed { secret, place, request, .. } = &event.kind {
            used |= secret == NAME;
            row("what passed the Gate tells", &format!("secret_used {secret} in the {place} of {request}"));
        }
    }
    let kept = arrived && used && !leaked;
    let mark = if kept { styled(GOOD, "kept") } else { styled(BAD, "NOT KEPT") };
    anstream::println!("   {:<28} {mark}  in the request, and nowhere else", "the key");
    Ok(kept)
}

/// What arrived, for the eyes of whoever watches: the demo keeps even a made-up key to itself.
fn shortened(sent: &str) -> String {
    let shown: String = sent.chars().take("Bearer made-up".len()).collect();
    format!("{shown}… ({} letters, the whole key)", sent.len())
}

fn row(who: &str, what: &str) {
    anstream::println!("   {who:<28} {}", styled(DIM, render::plain(what)));
}

/// Answers each request with the header that the key is in, and tells it.
async fn serve(listener: TcpListener, tell: mpsc::Sender<String>) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let sent = authorization(&mut stream).await?;
        let body = json!({"order": "A-17", "you-sent": sent}).to_string();
        // Told before it is answered, so that it is known once the answer is there.
        _ = tell.try_send(sent);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

/// The one header of a request that this is about.
async fn authorization(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
    let head = String::from_utf8_lossy(&head);
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    Ok(found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}
