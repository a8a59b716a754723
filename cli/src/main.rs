//! Casemate at the terminal: a thin layer of arguments and rendering over the library `casemate`.

mod approval;
mod binding;
mod command;
mod declared;
mod events;
mod input;
mod live;
mod options;
mod person;
mod recipe;
mod record;
mod render;
mod setup;
mod source;
mod store;
mod story;
mod typist;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    let arguments = command::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return render::failure(&error.into()),
    };
    let status = runtime.block_on(arguments.run()).unwrap_or_else(|error| render::failure(&error));
    // A guest's file operation may still hold a thread; nobody waits for it.
    runtime.shutdown_background();
    status
}
