//! The data folder: everything the program keeps.
//!
//! ```text
//! format          the version of this layout
//! meta.redb       the facts; whoever has it open owns the folder
//! meta.redb.N     the facts as they were in format N, before they were migrated
//! objects/        the bytes
//! keys/master     256 bits that seal other keys; not in any backup of the rest
//! control.sock    where a running server takes the command line's verbs
//! ```
//!
//! **Promises.** The folder is its owner's alone (mode 0700, the key 0600). A folder of a later
//! version is refused; one of an earlier version is migrated after its facts were copied; nothing is
//! made in a folder that has other things in it.
//!
//! A migration is three steps, each of which a kill may end and the next start does again: the copy,
//! which is never written over; what the engine does when it opens the facts; the new version in
//! `format`. The bytes are not copied: no migration changes or deletes an object.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_engine::seam::Entropy;
use strongroom_identity::seal::MasterKey;

use crate::failure::Failure;

/// The version of the layout, which is that of the facts in it, and what the file says.
const FORMAT: u32 = strongroom_engine::FORMAT_VERSION;
const FORMAT_BEGINS: &str = "strongroom data, format ";

/// The data folder, there and of a version that this program knows.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// What it said when it was opened.
    version: u32,
}

impl DataFolder {
    /// The folder that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut folder = Self { path: path.to_owned(), version: FORMAT };
        match fs::read_to_string(folder.format()) {
            Ok(text) => folder.version = folder.known_version(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!(
                    "there is no data at {}: name its folder with --data, or let `strongroom serve` \
                     make one",
                    path.display()
                )));
            }
            Err(error) => return Err(failed("read", &folder.format(), &error)),
        }
        Ok(folder)
    }

    /// The folder, made where it is not there.
    pub(crate) fn open_or_make(path: &Path) -> Result<Self, Failure> {
        let folder = Self { path: path.to_owned(), version: FORMAT };
        if folder.format().exists() {
            return Self::open(path);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("make", path, &error))?;
        let listed = fs::read_dir(path).map_err(|error| failed("read", path, &error))?;
        for entry in listed {
            let entry = entry.map_err(|error| failed("read", path, &error))?;
            // What file systems have at their roots, and what a first start leaves that was killed.
            let ours = ["lost+found", "format.new"].map(std::ffi::OsString::from);
            if !ours.contains(&entry.file_name()) {
                return Err(Failure::failed(format!(
                    "{} has other things in it ({}); name an empty folder with --data",
                    path.display(),
                    entry.file_name().to_string_lossy()
                )));
            }
        }
        // An existing folder may be a mount that is not ours to change; what counts is within.
        if let Err(error) = fs::set_permissions(path, Permissions::from_mode(0o700)) {
            tracing::warn!(%error, "the data folder can't be closed to others");
        }
        folder.write_format()?;
        Ok(folder)
    }

    /// Copies the facts of an earlier version aside. Only while nobody has them open, and before this
    /// program migrates them. Nothing to do where the version is this program's.
    pub(crate) fn keep_before_migration(&self) -> Result<(), Failure> {
        let kept = self.before_migration();
        if self.version == FORMAT || kept.exists() {
            // A copy that is there is whole, and older than whatever a kill left of a migration.
            return Ok(());
        }
        let new = self.path.join("meta.redb.new-copy");
        let copy = || {
            fs::copy(self.meta(), &new)?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &kept)?;
            sync(&self.path)
        };
        copy().map_err(|error| {
            failed("copy the metadata, before they are migrated, to", &kept, &error)
        })?;
        tracing::info!(
            copy = %kept.display(),
            "the data are of an older format and are migrated; keep the copy until all is well"
        );
        Ok(())
    }

    /// Says that the facts are of this program's version now.
    pub(crate) fn migrated(&self) -> Result<(), Failure> {
        if self.version == FORMAT { Ok(()) } else { self.write_format() }
    }

    /// Whether the facts have to be migrated.
    pub(crate) fn is_older(&self) -> bool {
        self.version < FORMAT
    }

    /// Where the facts of the version before are kept.
    fn before_migration(&self) -> PathBuf {
        self.path.join(format!("meta.redb.{}", self.version))
    }

    fn write_format(&self) -> Result<(), Failure> {
        let new = self.path.join("format.new");
        write_private(&new, format!("{FORMAT_BEGINS}{FORMAT}\n").as_bytes())
            .and_then(|()| fs::rename(&new, self.format()))
            .and_then(|()| sync(&self.path))
            .map_err(|error| failed("write", &self.format(), &error))
    }

    fn known_version(&self, text: &str) -> Result<u32, Failure> {
        let version =
            text.trim_end().strip_prefix(FORMAT_BEGINS).and_then(|v| v.parse::<u32>().ok());
        match version {
            Some(version) if (1..=FORMAT).contains(&version) => Ok(version),
            Some(version) => Err(Failure::failed(format!(
                "{} has format {version}, this program knows {FORMAT}: run the Strongroom that wrote \
                 it, or a newer one",
                self.path.display()
            ))),
            None => Err(Failure::failed(format!(
                "{} is no format file of Strongroom",
                self.format().display()
            ))),
        }
    }

    fn format(&self) -> PathBuf {
        self.path.join("format")
    }

    /// The file of the facts.
    pub(crate) fn meta(&self) -> PathBuf {
        self.path.join("meta.redb")
    }

    /// The folder of the bytes.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Where a running server listens for verbs.
    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The master key; made where there is none. To be called by who owns the folder.
    pub(crate) fn master_key(&self, entropy: &dyn Entropy) -> Result<MasterKey, Failure> {
        let (folder, path) = (self.path.join("keys"), self.path.join("keys/master"));
        match fs::read(&path) {
            Ok(bytes) => {
                let bytes: Result<[u8; 32], _> = bytes.try_into();
                return bytes.map(MasterKey::from_bytes).map_err(|_| {
                    Failure::failed(format!(
                        "{} is not a key of 32 bytes; bring back the one that was there",
                        path.display()
                    ))
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path, &error)),
        }
        let key = MasterKey::generate(entropy);
        let new = folder.join("master.new");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .and_then(|()| write_private(&new, key.expose()))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| sync(&folder))
            .and_then(|()| sync(&self.path))
            .map_err(|error| failed("write", &path, &error))?;
        Ok(key)
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("can't {what} {}: {error}", path.display()))
}

/// Writes a file that only its owner reads, durably.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use strongroom_engine::seam::SystemEntropy;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_and_its_key_are_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let folder = DataFolder::open_or_make(&path).unwrap();
        let key = folder.master_key(&SystemEntropy).unwrap();
        assert_eq!((mode(&path), mode(&path.join("keys"))), (0o700, 0o700));
        assert_eq!(mode(&path.join("keys/master")), 0o600);
        let again = DataFolder::open(&path).unwrap().master_key(&SystemEntropy).unwrap();
        assert_eq!(again.expose(), key.expose());
    }

    #[test]
    fn a_folder_of_a_later_version_or_of_something_else_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let absent = DataFolder::open(home.path()).unwrap_err().message;
        assert!(absent.contains("strongroom serve"), "{absent}");
        let text = format!("strongroom data, format {}\n", FORMAT + 1);
        fs::write(home.path().join("format"), text).unwrap();
        let later = DataFolder::open_or_make(home.path()).unwrap_err().message;
        let said = format!("format {}", FORMAT + 1);
        assert!(later.contains(&said) && later.contains("newer"), "{later}");
        fs::write(home.path().join("format"), "x").unwrap();
        assert!(DataFolder::open(home.path()).is_err());
        fs::rename(home.path().join("format"), home.path().join("letters.txt")).unwrap();
        let other = DataFolder::open_or_make(home.path()).unwrap_err().message;
        assert!(other.contains("letters.txt"), "{other}");
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_make(home.path()).unwrap();
        folder.master_key(&SystemEntropy).unwrap();
        fs::write(home.path().join("keys/master"), "short").unwrap();
        assert!(folder.master_key(&SystemEntropy).is_err());
        assert_eq!(fs::read(home.path().join("keys/master")).unwrap(), b"short");
    }

    #[test]
    fn the_facts_of_an_older_version_are_copied_once_and_the_format_is_written_last() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("format"), "strongroom data, format 1\n").unwrap();
        fs::write(at("meta.redb"), "as it was").unwrap();
        let folder = DataFolder::open(home.path()).unwrap();
        assert!(folder.is_older());
        folder.keep_before_migration().unwrap();
        // A kill in the middle of the migration: the next start finds half of it.
        fs::write(at("meta.redb"), "half of it").unwrap();
        let folder = DataFolder::open_or_make(home.path()).unwrap();
        assert!(folder.is_older());
        folder.keep_before_migration().unwrap();
        assert_eq!(fs::read(at("meta.redb.1")).unwrap(), b"as it was");
        folder.migrated().unwrap();
        assert!(!DataFolder::open(home.path()).unwrap().is_older());
        assert!(!at("meta.redb.new-copy").exists());
    }

    #[test]
    fn a_new_folder_has_nothing_to_migrate() {
        let home = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_make(home.path()).unwrap();
        folder.keep_before_migration().unwrap();
        folder.migrated().unwrap();
        assert!(!folder.is_older());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "only the format");
    }
}
