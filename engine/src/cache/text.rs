//! Text that is kept beside compiled components: a line with its format and the checksum of all that follows.

use std::io::Read;

use crate::artifact::ArtifactError;

const FORMAT: &[u8] = b"casemate-tools-1 ";
/// What components say of their tools is bounded where they are asked; this is more than that takes.
const MOST_BYTES: u64 = 64 << 20;

/// The bytes of the file.
pub(super) fn seal(text: &[u8]) -> Vec<u8> {
    let checksum = blake3::hash(text).to_hex();
    [FORMAT, checksum.as_bytes(), b"\n", text].concat()
}

/// The text in a file of that length.
pub(super) fn open(file: impl Read, len: u64) -> Result<Vec<u8>, ArtifactError> {
    if len > MOST_BYTES {
        return Err(ArtifactError::Malformed);
    }
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    let sealed = bytes.strip_prefix(FORMAT).ok_or(ArtifactError::Malformed)?;
    let (checksum, rest) = sealed.split_at_checked(2 * blake3::OUT_LEN).ok_or(ArtifactError::Malformed)?;
    let text = rest.strip_prefix(b"\n").ok_or(ArtifactError::Malformed)?;
    let checksum = blake3::Hash::from_hex(checksum).map_err(|_| ArtifactError::Malformed)?;
    if blake3::hash(text) == checksum { Ok(text.to_vec()) } else { Err(ArtifactError::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let sound = seal(b"some text");
        let check = |bytes: &[u8]| open(bytes, bytes.len() as u64);
        assert_eq!(check(&sound).expect("sound"), b"some text");
        for index in 0..sound.len() {
            let mut changed = sound.clone();
            changed[index] ^= 1;
            assert!(check(&changed).is_err(), "byte {index}");
            assert!(check(&sound[..index]).is_err(), "cut at {index}");
        }
    }
}
