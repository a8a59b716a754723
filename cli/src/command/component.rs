use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use casemate::Engine;
use clap::Subcommand;

use crate::options::Meter;
use crate::source;

/// Work on component files
#[derive(Subcommand)]
pub(crate) enum Component {
    /// Compile a component ahead, for `Engine::load_compiled`
    ///
    /// The output is native code for this kind of machine, this version, and this metering. Whoever loads it trusts
    /// it like a program.
    Compile {
        /// The component
        file: PathBuf,
        /// Where to write the compiled component
        #[arg(short, long, value_name = "FILE.cwasm")]
        output: PathBuf,
        /// How the engine that will load it meters
        #[arg(long, value_enum, default_value_t = Meter::Fuel)]
        meter: Meter,
    },
    /// Put the doc comments of WIT into a component, so that its tools have descriptions
    ///
    /// Today's toolchains drop them. The file is replaced unless another output is named.
    AddDocs {
        /// The component
        file: PathBuf,
        /// The WIT that it was built from: a file, or a folder with its dependencies
        #[arg(long, value_name = "DIR")]
        wit: PathBuf,
        /// Where to write the documented component [default: replace FILE]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Component {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Compile { file, output, meter } => {
                let bytes = source::read(&file)?;
                let engine = Engine::builder().metering(meter.into()).max_sandboxes(1).build()?;
                let compiled =
                    engine.compile(bytes).await.with_context(|| format!("cannot compile `{}`", file.display()))?;
                write(&output, &compiled)?;
            }
            Self::AddDocs { file, wit, output } => {
                let documented = casemate::add_docs(&source::read(&file)?, &wit)
                    .with_context(|| format!("cannot add docs to `{}`", file.display()))?;
                write(output.as_deref().unwrap_or(&file), &documented)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes beside and renames, so that a failure leaves what was there.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    });
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
