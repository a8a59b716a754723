//! Code that nobody vouches for calls a tool of your own and one of a component, under rules that ask a person:
//! `cargo run -p casemate --example gate --features cedar`.

use casemate::{Answer, ApprovalRequest, CedarPolicy, Engine, Gate, Grants, PolicySource, Tool, Toolset};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    amount: u32,
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
        if refund.amount == 0 {
            return Err("there is nothing to refund");
        }
        Ok(format!("{} for {}", refund.amount, refund.order))
    });
    let lookup = engine.load_bytes(casemate_guests::LEDGER).await?.tool("lookup")?;
    let tools = Toolset::new().with(refund)?.with(lookup)?;

    let rules = PolicySource { name: "rules.cedar", text: RULES };
    let gate = Gate::builder()
        .policy(CedarPolicy::compile(&[rules], &tools.facts())?)
        .approver(|request: ApprovalRequest| async move {
            println!("{} {}: yes", request.question, request.input);
            Answer::Approve
        })
        .build();
    let mut events = gate.subscribe(100);

    let agent = engine.load_bytes(casemate_guests::CALLER).await?;
    let grants = Grants::none().tool("lookup")?.tool("refund")?;
    for amount in [50, 150] {
        let call = agent.call("flow", json!({"order": "A-1001", "amount": amount}));
        let answer = call.grants(grants.clone()).tools(tools.clone()).gate(&gate).await?;
        println!("the agent says: {answer}");
    }
    while let Some(event) = events.try_next() {
        println!("{}", serde_json::to_string(&*event?)?);
    }
    Ok(())
}
