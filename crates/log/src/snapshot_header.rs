//! The header of a snapshot file, which holds the file's own key, and its replacement.
//!
//! A rotation of the master key replaces headers, and nothing else of a file. The steps survive a crash of process or
//! machine, also one that tears the header:
//!
//! 1. The new header is written to a file of its own, `INDEX.header` (first under another name, synced, renamed, the
//!    folder synced). From now on readers use this file instead of the header.
//! 2. The header is overwritten in place, and the file synced.
//! 3. `INDEX.header` is removed, and the folder synced.
//!
//! Steps 2 and 3 are repeated after a crash ([`HeaderFile::complete`]). The lock of `cipher.rs` keeps readers of the
//! same process out meanwhile, and writers that give another file the same name.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fail::fail_point;

use crate::entry::array_at;
use crate::master_key::{Fingerprint, WRAPPED_KEY_BYTES, WrappingKey};

const MAGIC: &[u8; 8] = b"FASTSNAP";
const VERSION: u8 = 1;
const CLEAR_BYTES: usize = 12 + 8 + 12;
/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = CLEAR_BYTES + WRAPPED_KEY_BYTES;

/// A header. The layout stands in `snapshot.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header([u8; HEADER_BYTES]);

/// What is wrong with a header, and at which byte.
pub(crate) type Fault = (u64, String);

impl Header {
    /// Wraps the key of a file.
    pub(crate) fn new(wrapping: &WrappingKey, nonce: [u8; 12], data: &[u8], plain: [u8; 32]) -> Header {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8] = VERSION;
        header[12..20].copy_from_slice(&wrapping.fingerprint.0);
        header[20..CLEAR_BYTES].copy_from_slice(&nonce);
        header[CLEAR_BYTES..].copy_from_slice(&wrapping.wrap(nonce, data, plain));
        Header(header)
    }

    /// Checks a header of `from`, as far as that needs no key.
    fn decode(header: [u8; HEADER_BYTES]) -> Result<Header, Fault> {
        if &header[..8] != MAGIC {
            return Err((0, "it does not start with the mark of a snapshot file".into()));
        }
        if header[8] != VERSION {
            return Err((8, format!("it has format version {}, this version reads {VERSION}", header[8])));
        }
        if header[9..12] != [0; 3] {
            return Err((9, "reserved bytes are set".into()));
        }
        Ok(Header(header))
    }

    /// Reads the header at the start of a file.
    pub(crate) fn read(file: &mut File) -> io::Result<Result<Header, Fault>> {
        let length = file.metadata()?.len();
        if length < HEADER_BYTES as u64 {
            return Ok(Err((length, "it ends within its header".into())));
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)?;
        Ok(Header::decode(header))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of the master key that wraps the file's key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(array_at(&self.0, 12))
    }

    /// Unwraps the file's key.
    pub(crate) fn open(&self, wrapping: &WrappingKey, data: &[u8]) -> Result<[u8; 32], Fault> {
        wrapping.unwrap(array_at(&self.0, 20), data, &self.0[CLEAR_BYTES..]).map_err(|_| {
            (20, "its key does not open: the file belongs to another node or group, or was changed".to_owned())
        })
    }
}

/// A header that replaces the one of a snapshot file.
pub(crate) struct HeaderFile {
    /// The snapshot file.
    pub(crate) of: PathBuf,
    /// The header beside it.
    pub(crate) path: PathBuf,
    /// Its name while it is written.
    pub(crate) draft: PathBuf,
}

impl HeaderFile {
    /// Stores a header beside the file.
    pub(crate) fn store(&self, header: &Header) -> io::Result<()> {
        let file = File::create(&self.draft)?;
        file.write_all_at(header.bytes(), 0)?;
        file.sync_all()?;
        std::fs::rename(&self.draft, &self.path)?;
        sync_folder_of(&self.path)?;
        fail_point!("log::header_stored");
        Ok(())
    }

    /// The header beside the file, `None` if there is none.
    pub(crate) fn read(&self) -> io::Result<Option<Result<Header, Fault>>> {
        match File::open(&self.path) {
            Ok(mut file) => Header::read(&mut file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the header beside the file into the file, if there is one.
    pub(crate) fn complete(&self) -> io::Result<Result<(), Fault>> {
        let header = match self.read()? {
            None => return Ok(Ok(())),
            Some(Err(fault)) => return Ok(Err(fault)),
            Some(Ok(header)) => header,
        };
        match File::options().write(true).open(&self.of) {
            Ok(file) => {
                file.write_all_at(header.bytes(), 0)?;
                file.sync_data()?;
            }
            // The snapshot was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fail_point!("log::header_replaced");
        std::fs::remove_file(&self.path)?;
        sync_folder_of(&self.path)?;
        Ok(Ok(()))
    }

    /// Removes the header beside a file that no longer exists.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
