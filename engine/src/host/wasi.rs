//! Which interfaces are linked for every component. What a component imports beside these is linked by `imports.rs`.
//!
//! | interface | why it is harmless, or what guards it |
//! | --- | --- |
//! | `wasi:io/*` | streams and timers over what other interfaces give |
//! | `wasi:clocks/*` | tells the time; waiting counts on the wall clock of the call; within a run it is the journal's time |
//! | `wasi:random/*` | bounded by the limit `random`; within a run it is the journal's |
//! | `wasi:cli/*` | arguments, environment and input are grants; output is counted and bounded |
//! | `wasi:filesystem/*` | granted folders only; refusals are noted |
//! | `wasi:sockets/*`, `wasi:http/*` | closed; attempts are noted |
//! | `casemate:agent/tools`, `casemate:agent/model` | each call and chat goes through the Gate |
//! | `casemate:agent/run` | what is said is counted; what is asked is an effect, recorded like all others |

use casemate_host_bindings::agent;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_io::bindings::wasi::io;

use super::Host;
use super::clocks::Timing;
use super::files::WatchedFiles;
use super::network::ClosedSockets;
use super::random::BoundedRandom;

/// What is linked, by package; the version is that of WASI 0.2.
const OFFERED: &[(&str, &[&str])] = &[
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:random", &["random", "insecure", "insecure-seed"]),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:filesystem", &["types", "preopens"]),
    (
        "wasi:sockets",
        &["network", "instance-network", "ip-name-lookup", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
    ("wasi:http", &["types", "outgoing-handler"]),
];

/// What is linked of Casemate's own contract.
const AGENT: &str = "casemate:agent/";
const AGENT_INTERFACES: &[&str] = &["types", "tools", "model", "run"];
const AGENT_VERSION: &str = "0.1.";

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// A linker with everything that guests may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    io::error::add_to_linker::<Host, Table>(l, |host| host.ctx().table)?;
    io::poll::add_to_linker::<Host, Timing>(l, Timing::view)?;
    io::streams::add_to_linker::<Host, Table>(l, |host| host.ctx().table)?;
    clocks::monotonic_clock::add_to_linker::<Host, Timing>(l, Timing::view)?;
    clocks::wall_clock::add_to_linker::<Host, WasiClocks>(l, Host::clocks)?;
    random::random::add_to_linker::<Host, BoundedRandom>(l, BoundedRandom::view)?;
    random::insecure::add_to_linker::<Host, BoundedRandom>(l, BoundedRandom::view)?;
    random::insecure_seed::add_to_linker::<Host, WasiRandom>(l, Host::random)?;
    filesystem::types::add_to_linker::<Host, WatchedFiles>(l, WatchedFiles::view)?;
    filesystem::preopens::add_to_linker::<Host, WatchedFiles>(l, WatchedFiles::view)?;
    add_cli(l)?;
    add_sockets(l)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    #[cfg(feature = "http")]
    super::http::link(l)?;
    agent::types::add_to_linker::<Host, HasSelf<Host>>(l, |host| host)?;
    agent::tools::add_to_linker::<Host, HasSelf<Host>>(l, |host| host)?;
    agent::run::add_to_linker::<Host, HasSelf<Host>>(l, |host| host)?;
    agent::model::add_to_linker::<Host, HasSelf<Host>>(l, |host| host)?;
    Ok(linker)
}

fn add_cli(l: &mut Linker<Host>) -> wasmtime::Result<()> {
    cli::environment::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::exit::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_input::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_output::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<Host, WasiCli>(l, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<Host, WasiCli>(l, Host::cli)
}

fn add_sockets(l: &mut Linker<Host>) -> wasmtime::Result<()> {
    sockets::network::add_to_linker::<Host, WasiSockets>(l, &sockets::network::LinkOptions::default(), Host::sockets)?;
    sockets::instance_network::add_to_linker::<Host, WasiSockets>(l, Host::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<Host, ClosedSockets>(l, ClosedSockets::view)?;
    sockets::tcp::add_to_linker::<Host, WasiSockets>(l, Host::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Host, ClosedSockets>(l, ClosedSockets::view)?;
    sockets::udp::add_to_linker::<Host, WasiSockets>(l, Host::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Host, ClosedSockets>(l, ClosedSockets::view)
}

/// Whether the import `name` is one that every sandbox gets.
pub(crate) fn offers(name: &str) -> bool {
    let Some((interface, version)) = name.split_once('@') else { return false };
    if let Some(interface) = interface.strip_prefix(AGENT) {
        return version.starts_with(AGENT_VERSION) && AGENT_INTERFACES.contains(&interface);
    }
    let Some((package, interface)) = interface.split_once('/') else { return false };
    version.starts_with("0.2.")
        && OFFERED.iter().any(|(offered, interfaces)| *offered == package && interfaces.contains(&interface))
}

/// Whether `name` belongs to a later WASI than the one that is linked.
#[cfg(any(test, feature = "compiler"))]
pub(crate) fn is_later_wasi(name: &str) -> bool {
    name.starts_with("wasi:")
        && name.split_once('@').is_some_and(|(_, version)| !version.starts_with("0.1.") && !version.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_said_to_be_offered_is_linked() {
        let engine = wasmtime::Engine::default();
        let mut linker = linker(&engine).expect("it links");
        // Linking a name a second time is refused.
        for (package, interfaces) in OFFERED {
            for interface in *interfaces {
                let name = format!("{package}/{interface}@0.2.12");
                assert!(offers(&name));
                let added =
                    linker.root().resource(&name, wasmtime::component::ResourceType::host::<()>(), |_, _| Ok(()));
                assert!(added.is_err(), "{name} is not linked");
            }
        }
        for interface in AGENT_INTERFACES {
            let name = format!("{AGENT}{interface}@0.1.0");
            assert!(offers(&name));
            assert!(
                linker.root().resource(&name, wasmtime::component::ResourceType::host::<()>(), |_, _| Ok(())).is_err()
            );
        }
        assert!(!offers("casemate:agent/tools@0.2.0"));
        assert!(!offers("wasi:keyvalue/store@0.2.0"));
        assert!(!offers("wasi:io/streams@0.3.0"));
        assert!(is_later_wasi("wasi:cli/stdout@0.3.0"));
        assert!(!is_later_wasi("wasi:nn/tensor"));
    }
}
