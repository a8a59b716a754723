//! A look at a component's binary before it is compiled: is it one, does it import what is there, and what does its
//! code not tell. Nothing here trusts the bytes.

use wasmparser::{
    Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Parser, Payload,
};

use super::{ContentHash, LoadError, MissingImport};
use crate::artifact::Facts;
use crate::host::wasi;

const DOCS_SECTION: &str = "package-docs";
const MAX_DOCS: usize = 1 << 20;

/// What the binary says of itself.
pub(super) fn preflight(bytes: &[u8]) -> Result<Facts, LoadError> {
    check_magic(bytes)?;
    let survey = Survey::of(bytes).map_err(|error| malformed(&error, bytes))?;
    if let Some(name) = survey.names.iter().find(|name| wasi::is_later_wasi(name)) {
        return Err(LoadError::LaterWasi { interface: name.clone() });
    }
    let missing: Vec<_> = survey
        .imports
        .iter()
        .filter(|import| !import.can_be_had())
        .map(|import| MissingImport::new(&import.name))
        .collect();
    if !missing.is_empty() {
        return Err(LoadError::MissingImports { imports: missing });
    }
    Ok(Facts { hash: ContentHash::of(bytes), core_instances: survey.core_instances, docs: survey.docs })
}

pub(super) fn check_magic(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [] => Err(LoadError::Empty),
        [0x7f, b'E', b'L', b'F', ..] => Err(LoadError::AlreadyCompiled),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        _ if b"\0asm".starts_with(bytes) || bytes.starts_with(b"\0asm") && bytes.len() < 8 => {
            Err(LoadError::Truncated { size: bytes.len() })
        }
        _ => Err(LoadError::NotWebAssembly),
    }
}

fn malformed(error: &wasmparser::BinaryReaderError, bytes: &[u8]) -> LoadError {
    if is_cut_short(bytes) {
        LoadError::Truncated { size: bytes.len() }
    } else {
        LoadError::Malformed { offset: error.offset(), message: error.message().to_owned() }
    }
}

/// Whether a reader that cannot tell the end of the file would go on waiting for bytes.
fn is_cut_short(mut bytes: &[u8]) -> bool {
    let mut parser = Parser::new(0);
    let mut outer = Vec::new();
    loop {
        let payload = match parser.parse(bytes, false) {
            // Between two sections of the outermost component it may as well end.
            Ok(Chunk::NeedMoreData(_)) => return !(bytes.is_empty() && outer.is_empty()),
            Ok(Chunk::Parsed { consumed, payload }) => {
                bytes = bytes.get(consumed..).unwrap_or_default();
                payload
            }
            Err(_) => return false,
        };
        match payload {
            Payload::ModuleSection { parser: inner, .. } | Payload::ComponentSection { parser: inner, .. } => {
                outer.push(std::mem::replace(&mut parser, inner));
            }
            Payload::End(_) => match outer.pop() {
                Some(next) => parser = next,
                None => return false,
            },
            _ => {}
        }
    }
}

#[derive(Default)]
struct Survey {
    imports: Vec<Import>,
    /// Imports and exports.
    names: Vec<String>,
    docs: Option<String>,
    core_instances: u64,
}

struct Import {
    name: String,
    /// An interface or a function, which a tool could serve.
    is_callable: bool,
}

impl Import {
    fn can_be_had(&self) -> bool {
        let is_ours = self.name.starts_with("wasi:") || self.name.starts_with("casemate:agent/");
        wasi::offers(&self.name) || self.is_callable && !is_ours
    }
}

/// One component while it is read; modules inside it are levels too, and count nothing.
#[derive(Default)]
struct Level {
    core_instances: u64,
    /// For each component it knows, how many core instances one of them makes.
    components: Vec<u64>,
    is_module: bool,
}

impl Level {
    fn component(&self, index: u32) -> u64 {
        self.components.get(index as usize).copied().unwrap_or(0)
    }
}

impl Survey {
    fn of(bytes: &[u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut survey = Self::default();
        let mut stack: Vec<Level> = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    stack.push(Level { is_module: encoding == Encoding::Module, ..Level::default() });
                }
                Payload::End(_) => survey.leave(&mut stack),
                payload => {
                    if stack.len() == 1 {
                        survey.note_names(&payload)?;
                    }
                    count(&payload, &mut stack)?;
                }
            }
        }
        Ok(survey)
    }

    fn leave(&mut self, stack: &mut Vec<Level>) {
        let Some(level) = stack.pop() else { return };
        match stack.last_mut() {
            Some(parent) if !level.is_module => parent.components.push(level.core_instances),
            Some(_) => {}
            None => self.core_instances = level.core_instances,
        }
    }

    fn note_names(&mut self, payload: &Payload<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import?;
                    let name = import.name.name.to_owned();
                    let is_callable = matches!(import.ty, ComponentTypeRef::Instance(_) | ComponentTypeRef::Func(_));
                    self.names.push(name.clone());
                    self.imports.push(Import { name, is_callable });
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.names.push(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == DOCS_SECTION && section.data().len() <= MAX_DOCS => {
                self.docs = String::from_utf8(section.data().to_vec()).ok();
            }
            _ => {}
        }
        Ok(())
    }
}

fn count(payload: &Payload<'_>, stack: &mut [Level]) -> Result<(), wasmparser::BinaryReaderError> {
    let Some((level, outer)) = stack.split_last_mut() else { return Ok(()) };
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section.clone() {
                if let Instance::Instantiate { .. } = instance? {
                    level.core_instances = level.core_instances.saturating_add(1);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.clone() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    level.core_instances = level.core_instances.saturating_add(level.component(component_index));
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section.clone() {
                match alias? {
                    ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                        let depth = outer.len().checked_sub(count as usize);
                        let known = depth.and_then(|depth| outer.get(depth)).map_or(0, |level| level.component(index));
                        level.components.push(known);
                    }
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                        level.components.push(0);
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section.clone() {
                if let ComponentTypeRef::Component(_) = import?.ty {
                    level.components.push(0);
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section.clone() {
                let export = export?;
                if export.kind == ComponentExternalKind::Component {
                    level.components.push(level.component(export.index));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "wat")]
mod tests {
    use super::*;

    #[track_caller]
    fn instances(text: &str, expected: u64) {
        let bytes = wat::parse_str(text).expect("the text parses");
        assert_eq!(preflight(&bytes).expect("a component").core_instances, expected);
    }

    #[test]
    fn core_instances_are_counted_through_nested_components() {
        instances("(component)", 0);
        instances("(component (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))", 2);
        let doubling = "(component
            (component $a (core module $m) (core instance (instantiate $m)))
            (component $b (alias outer 1 $a (component $c)) (instance (instantiate $c)) (instance (instantiate $c)))
            (instance (instantiate $b)) (instance (instantiate $b)) (instance (instantiate $a)))";
        instances(doubling, 5);
    }

    #[track_caller]
    fn refused(bytes: &[u8], expected: &str) {
        let error = preflight(bytes).map(|_| ()).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        refused(b"", "the file is empty");
        refused(b"\0as", "the component is cut short after 3 bytes");
        refused(b"\0asm\x01\0\0\0", "this is a core module, not a component");
        refused(b"\x7fELF....", "this is a compiled component");
        refused(b"#!/bin/sh\n", "this is not WebAssembly");
        let whole = wat::parse_str("(component (core module))").expect("the text parses");
        refused(&whole[..whole.len() - 1], "the component is cut short after");
        refused(b"\0asm\x0d\0\x01\0\x0a\x02\x01\xff", "the component is malformed at byte");
    }
}
