//! How much a whole run may do.

use casemate::Budget;
use clap::Args;

use super::flags::Flags;

/// What an agent and all of its tools may do, together.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct BudgetOptions {
    /// How often models are asked [default: 1000]
    #[arg(long = "max-turns", value_name = "N")]
    turns: Option<u64>,
    /// How many calls of tools there are [default: 10000]
    #[arg(long = "max-calls", value_name = "N")]
    calls: Option<u64>,
    /// Tokens of models, of conversations and answers together; the last answer may go beyond [default: 10000000]
    #[arg(long = "max-tokens", value_name = "N")]
    tokens: Option<u64>,
    /// What models cost, in US dollars, as far as they say; the last answer may go beyond [default: 10]
    #[arg(long = "max-cost", value_name = "DOLLARS", value_parser = micro_dollars)]
    cost: Option<u64>,
}

impl BudgetOptions {
    pub(super) fn budget(&self) -> Budget {
        let budget = self.turns.into_iter().fold(Budget::default(), Budget::chats);
        let budget = self.calls.into_iter().fold(budget, Budget::calls);
        let budget = self.tokens.into_iter().fold(budget, Budget::tokens);
        self.cost.into_iter().fold(budget, Budget::cost)
    }

    pub(super) fn write(&self, flags: &mut Flags) {
        flags.add_all("max-turns", self.turns);
        flags.add_all("max-calls", self.calls);
        flags.add_all("max-tokens", self.tokens);
        let dollars = |micro: u64| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        flags.add_all("max-cost", self.cost.map(dollars));
    }
}

/// Dollars with up to six places behind the point.
fn micro_dollars(text: &str) -> anyhow::Result<u64> {
    let parsed = || {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 {
            return None;
        }
        let micro: u64 = format!("{part:0<6}").parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micro)
    };
    parsed().ok_or_else(|| anyhow::anyhow!("`{text}` is no amount of dollars, such as 0.25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_last_millionth() {
        for (text, micro) in [("10", 10_000_000), ("0.25", 250_000), ("1.000001", 1_000_001)] {
            assert_eq!(micro_dollars(text).unwrap(), micro);
        }
        for text in ["", ".", "1.", ".5", "-1", "1.0000001", "1e3", "99999999999999999999"] {
            assert!(micro_dollars(text).is_err(), "{text}");
        }
    }
}
