//! Code that nobody vouches for calls a tool of yours, one of a component, and one on the web with a key that it never
//! sees, under rules that ask a person: `cargo run -p casemate --example gate --features cedar,http`.

use std::io::{Read as _, Write as _};

use casemate::{Answer, ApprovalRequest, CedarPolicy, Engine, Gate, Grants, HttpTool, PolicySource};
use casemate::{Secret, SecretFuture, SecretPlace, SecretSource, Secrets, Tool, Toolset};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    amount: u32,
}

/// Where a real program has `EnvironmentSecret`, `FileSecret`, or a vault.
struct MadeUp;

impl SecretSource for MadeUp {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async { Ok(Some("made-up-key".into())) })
    }
    fn place(&self) -> String {
        "the example".to_owned()
    }
}

const RULES: &str = r#"
    permit(principal, action, resource);
    @approval("Refund more than 100?")
    forbid(principal, action == Action::"call:refund", resource)
    when { context.input.amount > 100 };
"#;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new()?;
    let refund = Tool::new("refund", |refund: Refund| async move {
        if refund.amount == 0 { Err("there is nothing to refund") } else { Ok(format!("done for {}", refund.order)) }
    });
    let lookup = engine.load_bytes(casemate_guests::LEDGER).await?.tool("lookup")?;
    let parcels = HttpTool::new("parcels", &format!("http://{}", web()?))?.secret("KEY", SecretPlace::bearer())?;
    let tools = Toolset::new().with(refund)?.with(lookup)?.with(parcels)?;
    let secrets = Secrets::new();
    secrets.set(Secret::new("KEY", MadeUp)?);
    let approve = |request: ApprovalRequest| async move {
        println!("{} {}: yes", request.question, request.input);
        Answer::Approve
    };
    let policy = CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text: RULES }], &tools.facts())?;
    let gate = Gate::builder().policy(policy).approver(approve).secrets(secrets).build();
    let mut events = gate.subscribe(100);
    let agent = engine.load_bytes(casemate_guests::CALLER).await?;
    let grants = Grants::none().tool("lookup")?.tool("refund")?.tool("parcels")?;
    for (function, input) in [
        ("flow", json!({"order": "A-1001", "amount": 50})),
        ("flow", json!({"order": "A-1001", "amount": 150})),
        ("try-tool", json!({"name": "parcels", "input": r#"{"method": "GET", "path": "/A-1001"}"#})),
    ] {
        let call = agent.call(function, input).grants(grants.clone()).tools(tools.clone());
        println!("the agent says: {}", call.gate(&gate).await?);
    }
    while let Some(event) = events.try_next() {
        println!("{}", serde_json::to_string(&*event?)?);
    }
    Ok(())
}

/// Answers one request on this machine with whatever it was asked, the key included.
fn web() -> std::io::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, mut asked) = (listener.accept()?.0, [0; 4096]);
        let length = stream.read(&mut asked)?;
        let asked = String::from_utf8_lossy(asked.get(..length).unwrap_or_default());
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{asked}")
    });
    Ok(address)
}
