//! Prints a row for every figure that Casemate promises: ours, bare wasmtime's, and the ratio between the two.
//!
//! Each question has a file. All of them measure through [`table::Table::compare`], which takes turns between the two
//! sides, so that whatever else the machine does hits both. The bare side is [`bare`], which knows nothing of Casemate.

mod cache;
mod compute;
mod describe;
mod effect;
mod events;
mod fresh;
mod http;
mod memory;
mod metering;
mod nested;
mod policy;
mod pool;
mod process;
mod runs;
mod throughput;
mod timer;
mod warm;

mod bare;
mod gate;
mod guests;
mod loopback;
mod machine;
mod measure;
mod table;

use std::process::ExitCode;

use guests::Guests;
use table::{Options, Table};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [flag, side] if flag == memory::CHILD => memory::measure(side),
        [flag, storage] if flag == runs::CHILD => runs::measure_waiting(storage),
        arguments => Options::parse(arguments).and_then(|options| on_one_thread(print_table(options))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The order is that of `benches/README.md`.
async fn print_table(options: Options) -> Result<()> {
    let guests = Guests::new()?;
    println!("{}", machine::facts());
    println!("bare: {}", guests.bare_engine().settings());
    println!("casemate: {:?}, default limits\n", guests.engine());
    let mut table = Table::start(options);
    fresh::rows(&mut table, &guests).await?;
    compute::rows(&mut table, &guests).await?;
    warm::rows(&mut table, &guests).await?;
    describe::rows(&mut table, &guests).await?;
    effect::rows(&mut table, &guests).await?;
    policy::rows(&mut table, &guests).await?;
    nested::rows(&mut table, &guests).await?;
    events::rows(&mut table, &guests).await?;
    http::rows(&mut table, &guests).await?;
    cache::rows(&mut table, &guests).await?;
    timer::rows(&mut table, &guests).await?;
    throughput::rows(&mut table, &guests).await?;
    runs::rows(&mut table, &guests).await?;
    memory::rows(&mut table)?;
    metering::rows(&mut table, &guests).await?;
    process::rows(&mut table, &guests).await?;
    pool::rows(&mut table).await
}

/// Runs `work` on a runtime of one thread: what is measured alone is measured without a scheduler between threads.
pub(crate) fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
