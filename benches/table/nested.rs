//! What does a component cost that calls a component, beside two fresh calls?

use casemate::{Grants, Toolset};
use serde_json::json;

use crate::bare::OrderInfo;
use crate::guests::{CALLS, Guests, LEDGER};
use crate::measure::timed;
use crate::table::{Goal, Table};
use crate::{Error, Result};

pub(crate) async fn rows(table: &mut Table, guests: &Guests) -> Result<()> {
    if !table.wants("nested/lookup") {
        return Ok(());
    }
    let (caller, ledger) = (guests.caller().await?, guests.ledger().await?);
    let tools = Toolset::new().with(ledger.ours.tool("lookup")?)?;
    let grants = Grants::none().tool("lookup")?;
    let ours = async || {
        let call = caller.ours.call("call-tool", json!({"name": "lookup", "input": r#"{"order":"A-1"}"#}));
        call.tools(tools.clone()).grants(grants.clone()).await
    };
    let (call_tool, lookup) =
        (caller.bare.export(Some(CALLS), "call-tool")?, ledger.bare.export(Some(LEDGER), "lookup")?);
    let bare = async || {
        let input = ("lookup".to_owned(), r#"{"order":"A-1"}"#.to_owned());
        let (answer,): (Result<String, String>,) = caller.bare.call(call_tool, input, None).await?;
        let (order,): (Result<OrderInfo, String>,) = ledger.bare.call(lookup, ("A-1".to_owned(),), None).await?;
        Ok::<_, Error>((answer?, order?))
    };
    table.compare("nested/lookup", Goal::Times(1.5), async || timed(ours).await, async || timed(bare).await).await
}
