//! Reading docs, of components that anyone may have written.

use crate::section::sections;
use crate::{MAX_SECTION_SIZE, SECTION_NAME};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The doc comments of one WIT package.
///
/// What the format knows beyond docs of packages, interfaces and functions is
/// ignored, so that a newer toolchain's section reads as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PackageDocs {
    docs: Option<String>,
    #[serde(default)]
    worlds: BTreeMap<String, WorldDocs>,
    #[serde(default)]
    interfaces: BTreeMap<String, InterfaceDocs>,
}

/// Why docs could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are something else: a core module, text, nothing.
    #[error("the bytes are not a component")]
    NotAComponent,
    /// The component breaks off or contradicts itself.
    #[error("the component is malformed")]
    Malformed(#[source] wasmparser::BinaryReaderError),
    /// There are two sections, and no way to tell which one counts.
    #[error("the component has more than one section `{SECTION_NAME}`")]
    Repeated,
    /// The section is larger than docs are.
    #[error("the section `{SECTION_NAME}` has {size} bytes, at most {max} are read")]
    TooLarge {
        /// The size of the section in bytes.
        size: usize,
        /// The largest size that is read.
        max: usize,
    },
    /// The section is of a version that is not known here, or empty.
    #[error("the section `{SECTION_NAME}` has none of the known versions 0 and 1")]
    UnknownVersion {
        /// The version it gives, if it gives one.
        found: Option<u8>,
    },
    /// The section has the right version and is not in the format of it.
    #[error("the section `{SECTION_NAME}` does not hold docs")]
    Format(#[source] serde_json::Error),
}

impl PackageDocs {
    /// Reads the docs of a component; `None` when it carries none.
    pub fn read(component: &[u8]) -> Result<Option<Self>, ReadError> {
        let mut found = None;
        for section in sections(component).ok_or(ReadError::NotAComponent)? {
            let section = section.map_err(ReadError::Malformed)?;
            let Some(docs) = section.docs().map_err(ReadError::Malformed)? else {
                continue;
            };
            if found.replace(docs).is_some() {
                return Err(ReadError::Repeated);
            }
        }
        found.map(Self::from_section).transpose()
    }

    /// Reads the content of a section `package-docs`, its name not included.
    pub fn from_section(content: &[u8]) -> Result<Self, ReadError> {
        if content.len() > MAX_SECTION_SIZE {
            return Err(ReadError::TooLarge { size: content.len(), max: MAX_SECTION_SIZE });
        }
        match content.split_first() {
            Some((0 | 1, json)) => serde_json::from_slice(json).map_err(ReadError::Format),
            other => Err(ReadError::UnknownVersion { found: other.map(|(version, _)| *version) }),
        }
    }

    /// What the package as a whole says.
    pub fn package(&self) -> Option<&str> {
        self.docs.as_deref()
    }

    /// What an interface says, given its bare name: `files` for `casemate:toolbox/files@0.1.0`.
    pub fn interface(&self, name: &str) -> Option<&str> {
        self.interfaces_named(name).find_map(|interface| interface.docs.as_deref())
    }

    /// What a function says.
    ///
    /// `interface` is the bare name of the interface that has the function, or
    /// `None` for a function of a world itself. The package may have several
    /// worlds, and a component does not say which one it was built for; the
    /// first one by name that documents the function is taken.
    pub fn function(&self, interface: Option<&str>, function: &str) -> Option<&str> {
        match interface {
            Some(interface) => {
                self.interfaces_named(interface).find_map(|interface| interface.funcs.get(function)?.text())
            }
            None => self.worlds.values().find_map(|world| {
                [&world.func_exports, &world.funcs].into_iter().find_map(|functions| functions.get(function)?.text())
            }),
        }
    }

    /// The interface of that name in the package, then those written inside a world.
    fn interfaces_named(&self, name: &str) -> impl Iterator<Item = &InterfaceDocs> {
        let of_worlds = self.worlds.values().flat_map(|world| [&world.interface_exports, &world.interfaces]);
        [&self.interfaces].into_iter().chain(of_worlds).filter_map(move |interfaces| interfaces.get(name))
    }
}

/// A world; until it is certain that readers know version 1, exports may stand among the imports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WorldDocs {
    interfaces: BTreeMap<String, InterfaceDocs>,
    interface_exports: BTreeMap<String, InterfaceDocs>,
    funcs: BTreeMap<String, FunctionDocs>,
    func_exports: BTreeMap<String, FunctionDocs>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct InterfaceDocs {
    docs: Option<String>,
    funcs: BTreeMap<String, FunctionDocs>,
}

/// A function, as version 0 and version 1 write it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum FunctionDocs {
    Text(Option<String>),
    Record { docs: Option<String> },
}

impl FunctionDocs {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(docs) | Self::Record { docs } => docs.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::encode;

    fn docs(version: u8, json: &str) -> PackageDocs {
        PackageDocs::from_section(&[&[version], json.as_bytes()].concat()).unwrap()
    }

    #[test]
    fn both_versions_of_function_docs_are_read() {
        let old = docs(0, r#"{"interfaces":{"i":{"funcs":{"f":"text"}}}}"#);
        assert_eq!(old.function(Some("i"), "f"), Some("text"));
        let new = docs(1, r#"{"interfaces":{"i":{"funcs":{"f":{"docs":"text"}}}}}"#);
        assert_eq!(new.function(Some("i"), "f"), Some("text"));
    }

    #[test]
    fn a_world_has_functions_and_interfaces_of_its_own() {
        let docs = docs(
            1,
            r#"{"worlds":{
                "a":{"funcs":{"f":{"docs":"import"}}},
                "b":{"func_exports":{"g":{"docs":"export"}},
                     "interface_exports":{"inline":{"docs":"inside","funcs":{"h":{"docs":"deep"}}}}}}}"#,
        );
        assert_eq!(docs.function(None, "f"), Some("import"));
        assert_eq!(docs.function(None, "g"), Some("export"));
        assert_eq!(docs.function(Some("inline"), "h"), Some("deep"));
        assert_eq!(docs.interface("inline"), Some("inside"));
        assert_eq!(docs.function(None, "h"), None);
        assert_eq!(docs.function(Some("f"), "f"), None);
    }

    #[test]
    fn fields_of_later_toolchains_are_ignored() {
        let docs = docs(
            1,
            r#"{"docs":"all","later":[{}],"interfaces":{"i":{"stability":{"stable":{"since":"1.0.0"}},
                "funcs":{"f":{"docs":"text","stability":"unknown","later":1}}}}}"#,
        );
        assert_eq!(docs.package(), Some("all"));
        assert_eq!(docs.function(Some("i"), "f"), Some("text"));
    }

    #[test]
    fn a_component_without_docs_has_none() {
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(PackageDocs::read(&component).unwrap(), None);
    }

    #[test]
    fn docs_of_a_nested_component_are_not_those_of_the_outer_one() {
        let nested =
            wat::parse_str(r#"(component (component (@custom "package-docs" "\01{\"docs\":\"inner\"}")))"#).unwrap();
        assert_eq!(PackageDocs::read(&nested).unwrap(), None);
    }

    #[test]
    fn other_bytes_are_not_components() {
        let module = wat::parse_str("(module)").unwrap();
        for bytes in [module.as_slice(), b"", b"\0asm", b"(component)"] {
            let error = PackageDocs::read(bytes).unwrap_err();
            assert!(matches!(error, ReadError::NotAComponent), "{error:?}");
        }
    }

    #[test]
    fn a_component_cut_off_anywhere_is_an_error_or_has_no_docs() {
        let mut component = wat::parse_str("(component (core module (func)))").unwrap();
        let without = component.len();
        component.extend(encode(b"\x01{\"docs\":\"all\"}"));
        for end in 0..component.len() {
            match PackageDocs::read(&component[..end]) {
                Ok(docs) => assert!(docs.is_none() && (end == 8 || end == without), "{end}"),
                Err(ReadError::NotAComponent) => assert!(end < 8, "{end}"),
                Err(error) => assert!(matches!(error, ReadError::Malformed(_)), "{error:?}"),
            }
        }
        assert!(PackageDocs::read(&component).unwrap().is_some());
    }

    #[test]
    fn a_hostile_section_is_an_error() {
        type Expected = fn(&ReadError) -> bool;
        let large = vec![1; MAX_SECTION_SIZE + 1];
        let deep = [b"\x01".as_slice(), &b"[".repeat(100_000)].concat();
        let rows: [(&[u8], Expected); 6] = [
            (b"", |e| matches!(e, ReadError::UnknownVersion { found: None })),
            (b"\x02{}", |e| matches!(e, ReadError::UnknownVersion { found: Some(2) })),
            (b"\x01", |e| matches!(e, ReadError::Format(_))),
            (b"\x01{\"docs\":\"\xff\"}", |e| matches!(e, ReadError::Format(_))),
            (&deep, |e| matches!(e, ReadError::Format(_))),
            (&large, |e| matches!(e, ReadError::TooLarge { .. })),
        ];
        for (content, expected) in rows {
            let error = PackageDocs::from_section(content).unwrap_err();
            assert!(expected(&error), "{error:?}");
        }
    }

    #[test]
    fn two_sections_are_an_error() {
        let section = encode(b"\x01{}");
        let component = [wat::parse_str("(component)").unwrap(), section.clone(), section].concat();
        let error = PackageDocs::read(&component).unwrap_err();
        assert!(matches!(error, ReadError::Repeated), "{error:?}");
    }
}
