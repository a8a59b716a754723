//! Casemate's own components, as the bytes that the build script made.
//!
//! Each feature builds one guest for `wasm32-wasip2` from the sources beside
//! this crate; without a feature nothing is built and nothing is here. The
//! crate knows nothing of how a component is run.

/// The toolbox: tools for reading, searching and changing files.
///
/// It carries the doc comments of its WIT, so its functions describe themselves.
#[cfg(feature = "toolbox")]
pub const TOOLBOX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolbox.wasm"));

/// The guest that misbehaves on purpose, one exported function for each attack.
#[cfg(feature = "adversarial")]
pub const ADVERSARIAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adversarial.wasm"));

/// The guest that gives back what it gets, with a function for each type of WIT.
#[cfg(feature = "echo")]
pub const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.wasm"));

#[cfg(all(test, feature = "toolbox"))]
mod tests {
    #[test]
    fn the_toolbox_describes_itself() {
        let component = super::TOOLBOX;
        assert!(component.starts_with(b"\0asm\x0d\0\x01\0"));
        let section = b"package-docs";
        assert!(component.windows(section.len()).any(|bytes| bytes == section));
    }
}
