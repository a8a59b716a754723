//! The sections at the top level of a component, without a look inside.
//!
//! Nested modules and components have docs of their own that do not describe
//! the component around them, so they are stepped over, which also keeps the
//! cost of reading docs at a few steps whatever the size of the component.

use crate::SECTION_NAME;
use std::ops::Range;
use wasmparser::{BinaryReader, BinaryReaderError, ComponentExportSectionReader, ComponentImportSectionReader, Parser};

const HEADER_SIZE: usize = 8;
const CUSTOM: u8 = 0;
const COMPONENT_IMPORTS: u8 = 10;
const COMPONENT_EXPORTS: u8 = 11;

/// One section as it stands in the file.
pub(crate) struct Section<'a> {
    /// Where it is, its own header included.
    pub(crate) range: Range<usize>,
    id: u8,
    body: BinaryReader<'a>,
}

/// Lists the top-level sections in the order of the file; none when `bytes` are no component.
pub(crate) fn sections(bytes: &[u8]) -> Option<Sections<'_>> {
    Parser::is_component(bytes)
        .then(|| Sections { reader: BinaryReader::new(bytes.get(HEADER_SIZE..).unwrap_or_default(), HEADER_SIZE) })
}

/// Encodes a docs section with its header.
pub(crate) fn encode(content: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(content.len() + SECTION_NAME.len() + 1);
    push_leb128(&mut body, SECTION_NAME.len());
    body.extend_from_slice(SECTION_NAME.as_bytes());
    body.extend_from_slice(content);

    let mut section = vec![CUSTOM];
    push_leb128(&mut section, body.len());
    section.append(&mut body);
    section
}

/// An iterator over [`Section`]s that ends at the first malformed one.
pub(crate) struct Sections<'a> {
    reader: BinaryReader<'a>,
}

impl<'a> Sections<'a> {
    fn read(&mut self) -> Result<Section<'a>, BinaryReaderError> {
        let start = self.reader.original_position();
        let id = self.reader.read_u8()?;
        let size = self.reader.read_var_u32()? as usize;
        let body_start = self.reader.original_position();
        let body = BinaryReader::new(self.reader.read_bytes(size)?, body_start);
        Ok(Section { range: start..self.reader.original_position(), id, body })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, BinaryReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.eof() {
            return None;
        }
        let section = self.read();
        if section.is_err() {
            self.reader = BinaryReader::new(&[], 0);
        }
        Some(section)
    }
}

impl<'a> Section<'a> {
    /// The docs in it, if this is a docs section.
    pub(crate) fn docs(&self) -> Result<Option<&'a [u8]>, BinaryReaderError> {
        if self.id != CUSTOM {
            return Ok(None);
        }
        let mut body = self.body.clone();
        let name = body.read_string()?;
        let content = body.read_bytes(body.bytes_remaining())?;
        Ok((name == SECTION_NAME).then_some(content))
    }

    /// The names that it imports.
    pub(crate) fn imports(&self) -> Result<Vec<&'a str>, BinaryReaderError> {
        if self.id != COMPONENT_IMPORTS {
            return Ok(Vec::new());
        }
        ComponentImportSectionReader::new(self.body.clone())?.into_iter().map(|import| Ok(import?.name.name)).collect()
    }

    /// The names that it exports.
    pub(crate) fn exports(&self) -> Result<Vec<&'a str>, BinaryReaderError> {
        if self.id != COMPONENT_EXPORTS {
            return Ok(Vec::new());
        }
        ComponentExportSectionReader::new(self.body.clone())?.into_iter().map(|export| Ok(export?.name.name)).collect()
    }
}

fn push_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = value.to_le_bytes().first().map_or(0, |byte| byte & 0x7f);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_encodes_sizes_of_more_than_one_byte() {
        let section = encode(&[7; 300]);
        // 300 bytes of content, 12 of name, 1 of the name's length: 313 = 0b10_0111001.
        assert_eq!(section[..4], [0, 0b1011_1001, 0b10, 12]);
        assert_eq!(section.len(), 3 + 313);
    }
}
