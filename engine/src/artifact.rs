//! A compiled component as a file: wasmtime's code, then what Casemate knew of the component, then a seal.
//!
//! The code comes first, so that it can be mapped where it lies. The trailer is read from the end:
//!
//! | bytes | what |
//! | --- | --- |
//! | n | code, as wasmtime serialises it |
//! | m | facts, as JSON |
//! | 32 | blake3 of code and facts |
//! | 8 | n, little-endian |
//! | 8 | m, little-endian |
//! | 16 | the magic |

use serde::{Deserialize, Serialize};

use crate::component::ContentHash;

const MAGIC: &[u8; 16] = b"casemate-cwasm-1";
const SEAL_LEN: usize = 32 + 8 + 8 + 16;
/// Facts hold the doc comments of a component, at most 1 MiB, of which JSON makes up to six times as much.
const MAX_FACTS: u64 = 8 << 20;

/// What is known from a component's binary and cannot be read from its code.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Facts {
    /// The blake3 of the component.
    pub(crate) hash: ContentHash,
    /// How many core instances it consists of.
    pub(crate) core_instances: u64,
    /// The custom section with the doc comments of its WIT.
    pub(crate) docs: Option<String>,
}

/// The trailer of an artifact.
pub(crate) struct Seal {
    pub(crate) facts: Facts,
    checksum: [u8; 32],
}

/// Why a file is no artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It ends too early, or was not made by `casemate component compile` of this version.
    #[error("was not written by this version of Casemate, or is cut short")]
    Malformed,
    /// It was changed after it was written.
    #[error("does not have the checksum that was written with it")]
    Checksum,
}

/// Puts code and facts together.
#[cfg(feature = "compiler")]
pub(crate) fn seal(mut code: Vec<u8>, facts: &Facts) -> Vec<u8> {
    let code_len = code.len() as u64;
    let facts = serde_json::to_vec(facts).unwrap_or_default();
    code.extend_from_slice(&facts);
    let checksum = blake3::hash(&code);
    code.extend_from_slice(checksum.as_bytes());
    code.extend_from_slice(&code_len.to_le_bytes());
    code.extend_from_slice(&(facts.len() as u64).to_le_bytes());
    code.extend_from_slice(MAGIC);
    code
}

/// Reads the trailer of a file, given its length and a way to read from it; the code is not looked at.
pub(crate) fn read_seal(file: &mut (impl std::io::Read + std::io::Seek), len: u64) -> Result<Seal, ArtifactError> {
    let seal_start = len.checked_sub(SEAL_LEN as u64).ok_or(ArtifactError::Malformed)?;
    let mut trailer = [0; SEAL_LEN];
    read_at(file, seal_start, &mut trailer)?;
    let (checksum, rest) = trailer.split_first_chunk::<32>().ok_or(ArtifactError::Malformed)?;
    let (code_len, rest) = rest.split_first_chunk::<8>().ok_or(ArtifactError::Malformed)?;
    let (facts_len, magic) = rest.split_first_chunk::<8>().ok_or(ArtifactError::Malformed)?;
    let [code_len, facts_len] = [u64::from_le_bytes(*code_len), u64::from_le_bytes(*facts_len)];
    let whole = code_len.checked_add(facts_len) == Some(seal_start);
    if magic != MAGIC || !whole || facts_len > MAX_FACTS {
        return Err(ArtifactError::Malformed);
    }
    let mut facts = vec![0; usize::try_from(facts_len).map_err(|_| ArtifactError::Malformed)?];
    read_at(file, code_len, &mut facts)?;
    let facts = serde_json::from_slice(&facts).map_err(|_| ArtifactError::Malformed)?;
    Ok(Seal { facts, checksum: *checksum })
}

/// Reads the whole file and compares the checksum.
pub(crate) fn verify(
    file: &mut (impl std::io::Read + std::io::Seek),
    seal: &Seal,
    len: u64,
) -> Result<(), ArtifactError> {
    file.seek(std::io::SeekFrom::Start(0))?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::io::Read::take(file, len - SEAL_LEN as u64), &mut hasher)?;
    if hasher.finalize().as_bytes() == &seal.checksum { Ok(()) } else { Err(ArtifactError::Checksum) }
}

fn read_at(file: &mut (impl std::io::Read + std::io::Seek), start: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    file.seek(std::io::SeekFrom::Start(start))?;
    file.read_exact(buffer)
}

#[cfg(test)]
#[cfg(feature = "compiler")]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn artifact() -> Vec<u8> {
        let facts = Facts { hash: ContentHash::of(b"x"), core_instances: 3, docs: Some("docs".into()) };
        seal(b"code".to_vec(), &facts)
    }

    fn check(bytes: &[u8]) -> Result<Facts, ArtifactError> {
        let mut file = Cursor::new(bytes);
        let len = bytes.len() as u64;
        let seal = read_seal(&mut file, len)?;
        verify(&mut file, &seal, len)?;
        Ok(seal.facts)
    }

    #[test]
    fn what_was_sealed_is_read_back() {
        let facts = check(&artifact()).expect("sound");
        assert_eq!((facts.core_instances, facts.docs.as_deref()), (3, Some("docs")));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let sound = artifact();
        for index in 0..sound.len() {
            let mut changed = sound.clone();
            changed[index] ^= 1;
            assert!(check(&changed).is_err(), "byte {index}");
            assert!(check(&sound[..index]).is_err(), "cut at {index}");
        }
    }
}
