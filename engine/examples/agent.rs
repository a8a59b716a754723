//! An embedder runs an agent: `guests/triage`, with a tool of its own and a model, kept in SQLite.
//!
//! ```sh
//! cargo run -p casemate --example agent --features sqlite
//! ```

use std::sync::Arc;

use casemate::storage::SqliteStorage;
use casemate::{Agent, Engine, EventKind, Grants, Models, RunRequest, Runs, ScriptedModel, Tool, Toolset};

/// What the tool takes.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Lookup {
    /// The number of the order.
    order: String,
}

const SCRIPT: &str = r#"
[[turns]]
text = "Your order has left the house. You hear from us again within two days."
"#;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lookup = Tool::new("lookup", |input: Lookup| async move {
        Ok::<_, String>(serde_json::json!({"order": input.order, "sent": true}))
    });
    let engine = Engine::new()?;
    let agent = Agent::load(&engine, casemate_guests::TRIAGE)
        .await?
        .tools(Toolset::new().with(lookup)?)
        .models(Models::new().with("script", ScriptedModel::from_toml(SCRIPT)?)?)
        .grants(Grants::none().tool("lookup")?.model("script")?);
    let folder = tempfile::tempdir()?;
    let storage = SqliteStorage::open(folder.path().join("runs.db"))?;
    let runs = Runs::builder(&engine, Arc::new(storage)).agent("triage", agent).build();

    let run = runs.start("triage", RunRequest::new("Where is my order?")).await?;
    let mut events = run.events(1);
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::InputRequired { question, .. } => {
                println!("? {question}");
                run.send_input("A-1042").await?;
            }
            EventKind::ToolCall { tool, input, .. } => println!("> {tool} {input}"),
            EventKind::Complete { output, .. } => println!("{output}"),
            EventKind::Failed { message, .. } => return Err(message.into()),
            _ => {}
        }
    }
    runs.shutdown().await;
    Ok(())
}
