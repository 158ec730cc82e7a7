//! The log's key: by a check sum that only its holder can make, each line of ours is told from lines that other programs
//! wrote, also after a restart and in a copy. It must not be printed, and no line may be written before it is on the disk.

use super::disk::{Disk, DiskFile, ReadAt};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::io;

/// The file that holds the key, as 32 hexadecimal digits.
pub const KEY_NAME: &str = "log.key";
/// A file on its way to become that; left over by a crash it means nothing.
const NEW_NAME: &str = "log.key.new";

const KEY_BYTES: usize = 16;
/// Bytes that are read of such a file: more than it has.
const READ_BYTES_MAX: usize = 64;

/// A key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogKey([u8; KEY_BYTES]);

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey")
    }
}

/// Keeps apart what is hashed with one key.
#[derive(Clone, Copy)]
enum Use {
    Line = 1,
    Name = 2,
}

impl LogKey {
    /// A key of these bytes.
    pub const fn of(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A key that nobody else has.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The check sum of a line, up to where that stands in it.
    pub fn sum(&self, line: &[u8]) -> u64 {
        self.hash(Use::Line, line)
    }

    /// A short stand-in for a row's type and id, of which no two are found by chance or by trying.
    pub fn short(&self, item_type: u8, id: &str) -> u64 {
        let mut hasher = self.hasher(Use::Name);
        hasher.write_u8(item_type);
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    fn hash(&self, kind: Use, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher(kind);
        hasher.write(bytes);
        hasher.finish()
    }

    fn hasher(&self, kind: Use) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(kind as u8);
        hasher
    }

    /// The key of a state directory, if it has one that can be read.
    ///
    /// # Errors
    /// The disk's.
    pub fn load(disk: &impl Disk) -> io::Result<Option<Self>> {
        if disk.facts(KEY_NAME)?.is_none() {
            return Ok(None);
        }
        let file = disk.open(KEY_NAME)?;
        let mut bytes = [0; READ_BYTES_MAX];
        let read = file.read_at(&mut bytes, 0)?;
        Ok(Self::parse(bytes[..read].trim_ascii_end()))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut key = [0; KEY_BYTES];
        if text.len() != 2 * KEY_BYTES {
            return None;
        }
        for (byte, digits) in key.iter_mut().zip(text.chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
        }
        Some(Self(key))
    }

    /// Puts the key into its file, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, disk: &impl Disk) -> io::Result<()> {
        disk.remove(NEW_NAME)?;
        let file = disk.open(NEW_NAME)?;
        let mut text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        file.append_all(text.as_bytes()).and_then(|()| file.sync())?;
        disk.rename(NEW_NAME, KEY_NAME)?;
        disk.sync_names()
    }
}

#[cfg(test)]
mod tests {
    use super::super::real_disk::RealDisk;
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_one_that_is_damaged_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(directory.path());
        assert_eq!(LogKey::load(&disk).unwrap(), None);
        let key = LogKey::random().unwrap();
        key.save(&disk).unwrap();
        assert_eq!(LogKey::load(&disk).unwrap(), Some(key));
        let path = directory.path().join(KEY_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for text in ["", "00", "zz112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff00"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(LogKey::load(&disk).unwrap(), None, "{text}");
        }
        assert_eq!(format!("{key:?}"), "LogKey");
    }

    #[test]
    fn the_sum_is_that_of_the_published_algorithm_and_each_use_has_its_own() {
        // The reference vector of SipHash-2-4 for the bytes 00 01 ... 0e under the key 00 01 ... 0f.
        let mut hasher = SipHasher24::new_with_key(&std::array::from_fn(|at| u8::try_from(at).unwrap()));
        hasher.write(&(0..15).collect::<Vec<u8>>());
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
        let key = LogKey::of([7; KEY_BYTES]);
        assert_ne!(key.sum(b"\x00a"), key.short(0, "a"));
        assert_ne!(key.sum(b"a"), LogKey::of([8; KEY_BYTES]).sum(b"a"));
    }
}
