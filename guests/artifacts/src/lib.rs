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

/// The built-in agent: a model, the tools that were granted, and the loop between them.
#[cfg(feature = "chat")]
pub const CHAT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chat.wasm"));

/// An agent that reads a support message. It needs a model and the tool `lookup`, which `LEDGER` has, and asks for the
/// number of an order where the message names none, as `#A-1042`.
#[cfg(feature = "triage")]
pub const TRIAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/triage.wasm"));

/// Tools for text that describe themselves, through `casemate:agent/provider@0.1.0`: `word-count`, `slugify` and
/// `diff-lines`.
#[cfg(feature = "textkit")]
pub const TEXTKIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/textkit.wasm"));

#[cfg(test)]
mod tests {
    #[cfg(feature = "toolbox")]
    #[test]
    fn the_toolbox_describes_itself() {
        let component = super::TOOLBOX;
        assert!(component.starts_with(b"\0asm\x0d\0\x01\0"));
        let section = b"package-docs";
        assert!(component.windows(section.len()).any(|bytes| bytes == section));
    }

    /// What a component imports and exports, but for imports of `wasi:cli` and `wasi:io`: Rust's standard library
    /// brings these, and they tell nothing that is different each time.
    #[cfg(any(feature = "chat", feature = "triage", feature = "textkit"))]
    #[track_caller]
    fn check_interfaces(component: &[u8], imports: &[&str], export: &str) {
        let (mut imported, mut exported) = (Vec::new(), Vec::new());
        let mut depth = 0;
        for payload in wasmparser::Parser::new(0).parse_all(component) {
            use wasmparser::Payload;
            match payload.unwrap() {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    imported.extend(section.into_iter().map(|import| unversioned(import.unwrap().name.name)));
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    exported.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
                }
                _ => {}
            }
        }
        imported.retain(|name| !["wasi:cli/", "wasi:io/"].iter().any(|prefix| name.starts_with(prefix)));
        imported.sort();
        assert_eq!(imported, imports);
        assert_eq!(exported, [export]);
    }

    #[cfg(any(feature = "chat", feature = "triage", feature = "textkit"))]
    fn unversioned(interface: &str) -> String {
        interface.split_once('@').map_or(interface, |(name, _)| name).to_owned()
    }

    #[cfg(any(feature = "chat", feature = "triage"))]
    const OF_AGENTS: [&str; 4] =
        ["casemate:agent/model", "casemate:agent/run", "casemate:agent/tools", "casemate:agent/types"];

    #[cfg(feature = "chat")]
    #[test]
    fn the_built_in_agent_imports_what_agents_may() {
        check_interfaces(super::CHAT, &OF_AGENTS, "casemate:agent/handler@0.1.0");
    }

    #[cfg(feature = "triage")]
    #[test]
    fn an_agent_of_the_sdk_imports_what_agents_may() {
        check_interfaces(super::TRIAGE, &OF_AGENTS, "casemate:agent/handler@0.1.0");
    }

    #[cfg(feature = "textkit")]
    #[test]
    fn tools_of_the_sdk_import_nothing_that_they_do_not_use() {
        // What looks for differences has a deadline, and a map.
        let imports = [
            "casemate:agent/types",
            "wasi:clocks/monotonic-clock",
            "wasi:clocks/wall-clock",
            "wasi:random/insecure-seed",
        ];
        check_interfaces(super::TEXTKIT, &imports, "casemate:agent/provider@0.1.0");
    }
}
