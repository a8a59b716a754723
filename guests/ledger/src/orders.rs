//! Orders, which follow from their numbers.

const CURRENCIES: [&str; 3] = ["EUR", "GBP", "USD"];

/// Refuses what would not be one line of the ledger.
pub(crate) fn require_number(order: &str) -> Result<(), String> {
    if order.is_empty() {
        return Err("the number of the order is empty".to_owned());
    }
    if order.contains(char::is_control) {
        return Err("the number of the order is not on one line, or has control characters".to_owned());
    }
    Ok(())
}

/// What was paid, from 10.00 to 99.99, and in which currency.
pub(crate) fn payment(order: &str) -> (u32, &'static str) {
    let mark = order.bytes().fold(7, |mark: u32, byte| mark.wrapping_mul(31).wrapping_add(byte.into()));
    let currency = CURRENCIES.iter().cycle().nth((mark % 3) as usize).unwrap_or(&"EUR");
    (1_000 + mark % 9_000, currency)
}
