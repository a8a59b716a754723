//! Where the table was made.

/// One line: processors, system and versions.
pub(crate) fn facts() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let processor =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |c| c.1);
    format!(
        "machine: {} cores of {processor}; {} {}; load {}; wasmtime {}",
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        std::env::consts::OS,
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or("?"),
        locked_version("wasmtime").unwrap_or("?"),
    )
}

/// The version of a package that this was built with.
fn locked_version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}
