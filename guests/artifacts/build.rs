//! Builds the guests whose features are on.
//!
//! A second cargo builds them, in their own workspace, for their own target;
//! what the outer cargo tells its compilers through the environment is not for
//! it. With no feature on, nothing is started and nothing is looked at, so that
//! a build from a registry, for documentation or without a network is as quick
//! as that of any other crate.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TARGET: &str = "wasm32-wasip2";

/// A component of ours.
struct Guest {
    /// The feature that asks for it, and its folder.
    name: &'static str,
    /// The file that cargo makes of it.
    file: &'static str,
    /// The folders of its contracts: its own, and those that it needs. A command of WASI has none.
    contracts: &'static [&'static str],
}

const GUESTS: [Guest; 14] = [
    Guest { name: "toolbox", file: "casemate_toolbox.wasm", contracts: &["toolbox"] },
    Guest { name: "adversarial", file: "casemate_adversarial.wasm", contracts: &["adversarial"] },
    Guest { name: "echo", file: "casemate_echo.wasm", contracts: &["echo"] },
    Guest { name: "caller", file: "casemate_caller.wasm", contracts: &["caller", "agent"] },
    Guest { name: "ledger", file: "casemate_ledger.wasm", contracts: &["ledger"] },
    Guest { name: "weather", file: "casemate_weather.wasm", contracts: &["weather"] },
    Guest { name: "planner", file: "casemate_planner.wasm", contracts: &["planner", "weather"] },
    Guest { name: "fetcher", file: "casemate_fetcher.wasm", contracts: &["fetcher"] },
    Guest { name: "talker", file: "casemate_talker.wasm", contracts: &["talker", "agent"] },
    Guest { name: "puppet", file: "casemate_puppet.wasm", contracts: &["agent"] },
    Guest { name: "postman", file: "casemate-postman.wasm", contracts: &[] },
    Guest { name: "chat", file: "casemate_chat.wasm", contracts: &["agent"] },
    Guest { name: "triage", file: "casemate_triage.wasm", contracts: &["agent"] },
    Guest { name: "textkit", file: "casemate_textkit.wasm", contracts: &["agent"] },
];

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let wanted: Vec<&Guest> = GUESTS.iter().filter(|guest| guest.is_wanted()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let folders = Folders::find()?;
    folders.watch(&wanted);
    require_target()?;
    for guest in wanted {
        guest.build(&folders).with_context(|| format!("could not build the guest `{}`", guest.name))?;
    }
    Ok(())
}

/// Where things are.
struct Folders {
    guests: PathBuf,
    wit: PathBuf,
    target: PathBuf,
    out: PathBuf,
}

impl Folders {
    fn find() -> Result<Self> {
        let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let out = PathBuf::from(variable("OUT_DIR")?);
        let guests = manifest.parent().unwrap_or(&manifest).to_owned();
        ensure!(
            guests.join("toolbox/Cargo.toml").is_file(),
            "Casemate's guests are built only in its own repository, where their sources are; \
             leave the guest features of `casemate-guests` off, or take Casemate from there"
        );
        Ok(Self { wit: guests.join("../wit"), target: target_folder(&out)?.join("guests"), guests, out })
    }

    /// Says what the guests are made of, so that cargo knows when to build them again.
    fn watch(&self, guests: &[&Guest]) {
        let shared =
            ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "sdk", "wording"].map(|name| self.guests.join(name));
        let own = guests.iter().map(|guest| self.guests.join(guest.name));
        let contracts = guests.iter().flat_map(|guest| guest.contracts).map(|name| self.wit.join(name));
        for path in shared.into_iter().chain(own).chain(contracts) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

impl Guest {
    fn is_wanted(&self) -> bool {
        env::var_os(format!("CARGO_FEATURE_{}", self.name.to_uppercase())).is_some()
    }

    fn build(&self, folders: &Folders) -> Result<()> {
        run(cargo(folders)
            .args(["build", "--release", "--locked", "--target", TARGET])
            .args(["--package", &format!("casemate-{}", self.name)]))?;
        let built = folders.target.join(TARGET).join("release").join(self.file);
        let mut component = fs::read(&built).with_context(|| format!("could not read `{}`", built.display()))?;
        if let Some((own, needed)) = self.contracts.split_first() {
            component = casemate_wit_docs::embed(&component, &contract(own, needed, folders)?)?;
        }
        let result = folders.out.join(format!("{}.wasm", self.name));
        fs::write(&result, component).with_context(|| format!("could not write `{}`", result.display()))
    }
}

/// A copy of a guest's own contract, with those that it needs where they are looked for: in `deps`.
fn contract(own: &str, needed: &[&str], folders: &Folders) -> Result<PathBuf> {
    let copy = folders.out.join("wit").join(own);
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("could not remove `{}`", copy.display()))?;
    }
    copy_files(&folders.wit.join(own), &copy)?;
    for name in needed {
        copy_files(&folders.wit.join(name), &copy.join("deps").join(name))?;
    }
    Ok(copy)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    copy().with_context(|| format!("could not copy `{}` to `{}`", from.display(), to.display()))
}

/// A cargo for the guests, which hears nothing of the cargo that runs this script.
fn cargo(folders: &Folders) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&folders.guests).env("CARGO_TARGET_DIR", &folders.target);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_for_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether a variable steers the outer build: its flags, wrappers, target and profile.
fn is_for_outer_build(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    NAMES.contains(&name)
        || ["CARGO_PROFILE_", "CARGO_FEATURE_", "CARGO_CFG_", "DEP_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The target folder of the outer build, four above what cargo gives a build script.
///
/// That is `target/[TRIPLE/]PROFILE/build/casemate-guests-HASH/out`; with a
/// triple the guests of each triple are built apart, which is but slower.
fn target_folder(out: &Path) -> Result<&Path> {
    out.ancestors().nth(4).ok_or_else(|| anyhow!("`{}` is not below a target folder", out.display()))
}

/// Makes sure that the standard library of the target is there.
fn require_target() -> Result<()> {
    if has_target()? {
        return Ok(());
    }
    let added = run(Command::new("rustup").args(["target", "add", TARGET]));
    if let Err(error) = added {
        bail!(
            "the guests need the Rust target {TARGET}, which is not installed and could not be \
             added; run `rustup target add {TARGET}`, or install it as your Rust came ({error:#})"
        );
    }
    ensure!(
        has_target()?,
        "rustup added {TARGET}, but not to the Rust that builds this; install the target for `{}`",
        rustc().display()
    );
    Ok(())
}

fn has_target() -> Result<bool> {
    let output = run(Command::new(rustc()).args(["--print", "target-libdir", "--target", TARGET]))?;
    let folder = String::from_utf8(output.stdout)?;
    let Ok(entries) = fs::read_dir(folder.trim()) else {
        return Ok(false);
    };
    Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

fn rustc() -> PathBuf {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into()
}

/// Runs a command; what it printed is shown only when it fails.
fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("could not run `{}`", name.display()))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({})\n{}",
        name.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).ok_or_else(|| anyhow!("cargo did not set `{name}`"))
}
