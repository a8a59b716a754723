//! Makes a component of a core module for WASI preview 1 that follows the canonical ABI.
//!
//! `componentize MODULE.wasm WIT-DIR WORLD OUT.wasm`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, wit, world, out] = arguments.as_slice() else {
        bail!("usage: componentize MODULE.wasm WIT-DIR WORLD OUT.wasm");
    };
    let bytes = std::fs::read(module).with_context(|| format!("could not read module `{}`", module.display()))?;
    let component = componentize(bytes, wit, &world.to_string_lossy())
        .with_context(|| format!("could not make a component of `{}`", module.display()))?;
    std::fs::write(out, component).with_context(|| format!("could not write component `{}`", out.display()))
}

fn componentize(mut module: Vec<u8>, wit: &Path, world: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_path(wit).with_context(|| format!("could not read the WIT in `{}`", wit.display()))?;
    let world = resolve
        .select_world(&[package], Some(world))
        .with_context(|| format!("no world `{world}` in `{}`", wit.display()))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&module)?.adapter(ADAPTER_NAME, REACTOR_ADAPTER)?.validate(true).encode()
}
