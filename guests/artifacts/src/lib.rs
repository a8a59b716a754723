//! Casemate's own components, as the bytes that the build script made.
//!
//! Each feature builds one guest for `wasm32-wasip2` from the sources beside
//! this crate; without a feature nothing is built and nothing is here. The
//! crate knows nothing of how a component is run.

/// The toolbox: tools for reading, searching and changing files.
///
/// It carries the doc comments of its WIT, so its functions describe themselves.
#[cfg(feature = "toolbox")]
pub const TOOLBOX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolbox.wasm"));

/// The guest that misbehaves on purpose, one exported function for each attack.
#[cfg(feature = "adversarial")]
pub const ADVERSARIAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adversarial.wasm"));

/// The guest that gives back what it gets, with a function for each type of WIT.
#[cfg(feature = "echo")]
pub const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.wasm"));

/// The guest that calls tools, in every way there is.
#[cfg(feature = "caller")]
pub const CALLER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caller.wasm"));

/// Orders and their refunds: tools of which one leaves traces, in `/ledger/refunds.log`.
#[cfg(feature = "ledger")]
pub const LEDGER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ledger.wasm"));

/// Forecasts: exports `acme:weather/forecast@1.0.0`, the interface that `PLANNER` imports.
#[cfg(feature = "weather")]
pub const WEATHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weather.wasm"));

/// Advice for the day: imports `acme:weather/forecast@1.0.0`.
#[cfg(feature = "planner")]
pub const PLANNER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/planner.wasm"));

/// The guest that asks models, in every way there is.
#[cfg(feature = "talker")]
pub const TALKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/talker.wasm"));

/// The guest that knows only HTTP and its environment.
#[cfg(feature = "fetcher")]
pub const FETCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fetcher.wasm"));

/// An agent that does what its message says, line by line.
#[cfg(feature = "puppet")]
pub const PUPPET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/puppet.wasm"));

/// A command, `wasi:cli/run`, that fetches the URL in its variable `URL` with the HTTP client of another project.
#[cfg(feature = "postman")]
pub const POSTMAN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/postman.wasm"));

#[cfg(all(test, feature = "toolbox"))]
mod tests {
    #[test]
    fn the_toolbox_describes_itself() {
        let component = super::TOOLBOX;
        assert!(component.starts_with(b"\0asm\x0d\0\x01\0"));
        let section = b"package-docs";
        assert!(component.windows(section.len()).any(|bytes| bytes == section));
    }
}
