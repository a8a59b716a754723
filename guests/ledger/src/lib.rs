//! Orders and their refunds: what `wit/ledger` says, and nothing else.
//!
//! It checks no amount and remembers no refund, so that whatever keeps it from paying twice stands outside of it.

mod file;
mod orders;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/ledger",
        world: "ledger-keeper",
    });

    export!(Ledger with_types_in self);

    use super::Ledger;
}

use bindings::exports::casemate::ledger::ledger::{self, OrderInfo, Receipt};

struct Ledger;

impl ledger::Guest for Ledger {
    fn lookup(order: String) -> Result<OrderInfo, String> {
        orders::require_number(&order)?;
        let (paid, currency) = orders::payment(&order);
        Ok(OrderInfo { order, paid, currency: currency.to_owned() })
    }

    fn refund(order: String, amount: u32) -> Result<Receipt, String> {
        orders::require_number(&order)?;
        file::append(&format!("{order} {amount}\n"))?;
        let count = u32::try_from(file::lines()?.len()).unwrap_or(u32::MAX);
        Ok(Receipt { order, amount, count })
    }

    fn refunds() -> Result<Vec<String>, String> {
        file::lines()
    }
}
