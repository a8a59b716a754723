//! Writing docs, for the authors of components and for our own guests.

use crate::section::{Section, encode, sections};
use crate::{MAX_SECTION_SIZE, ReadError};
use std::collections::BTreeSet;
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use wit_parser::{PackageId, PackageMetadata, Resolve, WorldKey};

/// What the docs of a package without doc comments are encoded as.
const NO_DOCS: &[u8] = b"\x01{}";

/// Why docs could not be put into a component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The bytes are not a component, or not a whole one.
    #[error(transparent)]
    Component(#[from] ReadError),
    /// The WIT cannot be read or has a mistake.
    #[error("could not read the WIT in `{}`: {message}", path.display())]
    Wit {
        /// The file or folder that was to be read.
        path: PathBuf,
        /// What is wrong, with the file, line and column where there is one.
        message: String,
    },
    /// The WIT has no doc comment at all.
    #[error("the WIT package `{package}` has no doc comments; write `///` above its functions")]
    Undocumented {
        /// The package that was read.
        package: String,
    },
    /// The WIT is that of another component.
    #[error(
        "the WIT package `{package}` describes nothing in this component: \
         the component has {}, the package has {}",
        list(component),
        list(described)
    )]
    Unrelated {
        /// The package that was read.
        package: String,
        /// What the component exports, and imports if it exports nothing.
        component: Vec<String>,
        /// What the package has.
        described: Vec<String>,
    },
    /// There is more text than readers accept.
    #[error("the docs of the WIT have {size} bytes, at most {max} are read")]
    TooLarge {
        /// The size of the docs in bytes.
        size: usize,
        /// The largest size that is read.
        max: usize,
    },
    /// The docs could not be written down; a fault of this crate or of `wit-parser`.
    #[error("could not encode the docs")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
}

/// Puts the doc comments of a WIT package into a component that was built from it.
///
/// `wit` is a WIT file, or a folder as toolchains take it, with the packages
/// that it needs in `deps`. Docs that the component carried before are
/// replaced; every other byte stays as it is, nested components included.
///
/// Runtimes pass over the section, but tools that turn a component back into
/// WIT do not: `wit-parser` 0.254 looks for the worlds and interfaces of the
/// docs in a package `root:component` and refuses the component when they are
/// not there. [`strip`] gives such a tool what it can read.
pub fn embed(component: &[u8], wit: &Path) -> Result<Vec<u8>, EmbedError> {
    let outline = Outline::read(component)?;
    let (resolve, package) = parse(wit)?;
    require_relation(&outline, &resolve, package)?;
    let docs = extract(&resolve, package)?;

    let mut bytes = outline.without_docs(component);
    bytes.extend(encode(&docs));
    Ok(bytes)
}

/// Takes the docs out of a component, every other byte staying as it is.
pub fn strip(component: &[u8]) -> Result<Vec<u8>, ReadError> {
    Ok(Outline::read(component)?.without_docs(component))
}

/// What has to be known of a component to give it docs.
#[derive(Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    /// Where the docs are that it carries now.
    docs: Vec<Range<usize>>,
}

impl Outline {
    fn read(component: &[u8]) -> Result<Self, ReadError> {
        let mut outline = Self::default();
        for section in sections(component).ok_or(ReadError::NotAComponent)? {
            section.and_then(|section| outline.add(section)).map_err(ReadError::Malformed)?;
        }
        Ok(outline)
    }

    fn add(&mut self, section: Section<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
        self.imports.extend(owned(section.imports()?));
        self.exports.extend(owned(section.exports()?));
        if section.docs()?.is_some() {
            self.docs.push(section.range);
        }
        Ok(())
    }

    fn without_docs(&self, component: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(component.len());
        let mut kept = 0;
        for docs in &self.docs {
            bytes.extend_from_slice(component.get(kept..docs.start).unwrap_or_default());
            kept = docs.end;
        }
        bytes.extend_from_slice(component.get(kept..).unwrap_or_default());
        bytes
    }
}

fn parse(wit: &Path) -> Result<(Resolve, PackageId), EmbedError> {
    let mut resolve = Resolve::default();
    match resolve.push_path(wit) {
        Ok((package, _)) => Ok((resolve, package)),
        Err(error) => Err(EmbedError::Wit { path: wit.to_owned(), message: resolve.render_error(&error) }),
    }
}

/// Docs of the wrong package would be found by nobody, or describe the wrong functions.
fn require_relation(outline: &Outline, resolve: &Resolve, package: PackageId) -> Result<(), EmbedError> {
    let described = described_names(resolve, package);
    let mut names = outline.exports.iter().chain(&outline.imports);
    if names.any(|name| described.contains(name)) {
        return Ok(());
    }
    let component = match outline.exports.as_slice() {
        [] => &outline.imports,
        _ => &outline.exports,
    };
    Err(EmbedError::Unrelated {
        package: package_name(resolve, package),
        component: component.clone(),
        described: described.into_iter().collect(),
    })
}

/// The names that a component has for what this package declares.
fn described_names(resolve: &Resolve, package: PackageId) -> BTreeSet<String> {
    let Some(package) = resolve.packages.get(package) else {
        return BTreeSet::new();
    };
    let interfaces = package.interfaces.values().filter_map(|id| resolve.id_of(*id));
    let items = package
        .worlds
        .values()
        .filter_map(|id| resolve.worlds.get(*id))
        .flat_map(|world| world.imports.keys().chain(world.exports.keys()))
        .filter_map(|key| match key {
            WorldKey::Name(name) => Some(name.clone()),
            WorldKey::Interface(_) => None,
        });
    interfaces.chain(items).collect()
}

fn extract(resolve: &Resolve, package: PackageId) -> Result<Vec<u8>, EmbedError> {
    let docs = PackageMetadata::extract(resolve, package).encode().map_err(|error| EmbedError::Encode(error.into()))?;
    if docs == NO_DOCS {
        return Err(EmbedError::Undocumented { package: package_name(resolve, package) });
    }
    if docs.len() > MAX_SECTION_SIZE {
        return Err(EmbedError::TooLarge { size: docs.len(), max: MAX_SECTION_SIZE });
    }
    Ok(docs)
}

fn package_name(resolve: &Resolve, package: PackageId) -> String {
    resolve.packages.get(package).map_or_else(String::new, |package| package.name.to_string())
}

/// Names for a message, which stays readable when there are hundreds.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        text.push_str("nothing");
    }
    if names.len() > SHOWN {
        text.push_str(" and more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackageDocs;

    const WIT: &str = "
        /// Weather, for those who stay inside.
        package acme:weather@1.2.0;

        /// What is and what was.
        interface history {
            /// Says how warm it was.
            lookup: func(day: string) -> s32;
        }

        world station {
            export history;
            /// Says how warm it will be.
            export get-forecast: func(city: string) -> s32;
        }
    ";

    fn wit(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("world.wit"), text).unwrap();
        folder
    }

    /// A component that exports an empty instance under each name.
    fn component(exports: &[&str]) -> Vec<u8> {
        let exports: Vec<_> = exports.iter().map(|name| format!("(export \"{name}\" (instance $i))")).collect();
        wat::parse_str(format!("(component (instance $i) {})", exports.concat())).unwrap()
    }

    #[test]
    fn what_is_embedded_is_read_back() {
        let wit = wit(WIT);
        for source in [wit.path().to_owned(), wit.path().join("world.wit")] {
            let plain = component(&["acme:weather/history@1.2.0"]);
            let documented = embed(&plain, &source).unwrap();
            assert!(documented.starts_with(&plain));

            let docs = PackageDocs::read(&documented).unwrap().unwrap();
            assert_eq!(docs.package(), Some("Weather, for those who stay inside."));
            assert_eq!(docs.interface("history"), Some("What is and what was."));
            assert_eq!(docs.function(Some("history"), "lookup"), Some("Says how warm it was."));
            assert_eq!(docs.function(None, "get-forecast"), Some("Says how warm it will be."));
        }
    }

    #[test]
    fn wit_parser_reads_a_component_only_without_docs() {
        let wit = wit(WIT);
        let plain = component(&["acme:weather/history@1.2.0"]);
        let documented = embed(&plain, wit.path()).unwrap();
        assert!(wit_parser::decoding::decode(&documented).is_err());

        let stripped = strip(&documented).unwrap();
        assert_eq!(stripped, plain);
        assert!(wit_parser::decoding::decode(&stripped).is_ok());
    }

    #[test]
    fn docs_are_replaced_wherever_they_stand() {
        let wit = wit(WIT);
        let plain = component(&["get-forecast"]);
        let stale = encode(b"\x00{\"docs\":\"stale\"}");
        let other =
            encode(b"\x00{}").into_iter().map(|byte| if byte == b'-' { b'_' } else { byte }).collect::<Vec<_>>();
        let (header, rest) = plain.split_at(8);
        let before = [header, &stale, &other, rest, &stale].concat();

        let after = embed(&before, wit.path()).unwrap();
        let expected = embed(&[header, &other, rest].concat(), wit.path()).unwrap();
        assert_eq!(after, expected);
        assert_eq!(embed(&after, wit.path()).unwrap(), after);
    }

    #[test]
    fn the_wit_of_another_component_is_refused() {
        let wit = wit(WIT);
        let error = embed(&component(&["acme:weather/history@9.0.0"]), wit.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the WIT package `acme:weather@1.2.0` describes nothing in this component: \
             the component has `acme:weather/history@9.0.0`, \
             the package has `acme:weather/history@1.2.0`, `get-forecast`"
        );
    }

    #[test]
    fn a_mistake_in_the_wit_names_its_place() {
        let wit = wit("package acme:weather;\n\ninterface history {\n  lookup: func(\n}\n");
        let error = embed(&component(&["x"]), wit.path()).unwrap_err();
        let EmbedError::Wit { message, .. } = error else { panic!("{error:?}") };
        assert!(message.contains("world.wit:5:1"), "{message}");
    }

    #[test]
    fn a_wit_that_is_not_there_is_an_error() {
        let error = embed(&component(&["x"]), Path::new("no/such/folder")).unwrap_err();
        assert!(matches!(error, EmbedError::Wit { .. }), "{error:?}");
    }

    #[test]
    fn a_wit_without_docs_is_an_error() {
        let wit = wit("package acme:weather;\nworld station { export x: func(); }");
        let error = embed(&component(&["x"]), wit.path()).unwrap_err();
        assert!(matches!(error, EmbedError::Undocumented { .. }), "{error:?}");
    }

    #[test]
    fn only_components_get_docs() {
        let wit = wit(WIT);
        let module = wat::parse_str("(module)").unwrap();
        let error = embed(&module, wit.path()).unwrap_err();
        assert!(matches!(error, EmbedError::Component(ReadError::NotAComponent)), "{error:?}");
        let whole = component(&["get-forecast"]);
        let error = embed(&whole[..whole.len() - 1], wit.path()).unwrap_err();
        assert!(matches!(error, EmbedError::Component(ReadError::Malformed(_))), "{error:?}");
    }
}
