//! The master key's file beside the database, and its rotation.
//!
//! While the secrets are sealed again, the key before the present one stands in a file of its own beside it, so that a
//! crash at any moment leaves a database that opens: what has been sealed again opens with one, the rest with the other.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::clock::Entropy;
use crate::domain::time::Timestamp;
use crate::store::seal::MasterKey;

/// The file with the master key of a database.
pub fn present(database: &Path) -> PathBuf {
    database.with_file_name("ringback.key")
}

fn previous(database: &Path) -> PathBuf {
    database.with_file_name("ringback.key.previous")
}

/// The key of a database, made at the first start. A database that is there without its key is not given a new one:
/// what is sealed in it would be lost.
///
/// # Errors
/// It cannot be read or made; what to do is told.
pub fn read_or_make(database: &Path, entropy: &dyn Entropy) -> anyhow::Result<MasterKey> {
    let path = present(database);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    if std::fs::metadata(database).is_ok_and(|file| file.len() > 0) {
        bail!(
            "{} is missing, and {} needs it; put the master key back, or give it as RINGBACK_MASTER_KEY",
            path.display(),
            database.display()
        );
    }
    let key = MasterKey::generate(entropy);
    write(&path, &key)?;
    Ok(key)
}

/// The key of a database, if its file is there.
///
/// # Errors
/// It cannot be read.
pub fn read_present(database: &Path) -> anyhow::Result<Option<MasterKey>> {
    read(&present(database))
}

/// Puts the keys of a backup next to the restored database: the present one and, while a rotation is under way, the one before it.
/// A different key that is there is put aside under a name that ends with `stamp`; answers that name.
///
/// # Errors
/// A file cannot be read or written.
pub fn put_back(database: &Path, keys: &[MasterKey], stamp: &str) -> anyhow::Result<Option<PathBuf>> {
    let mut aside = None;
    for (path, key) in [present(database), previous(database)].into_iter().zip(keys) {
        match read(&path)? {
            Some(there) if there == *key => continue,
            Some(_) => {
                let name = path.with_file_name(format!("ringback.key.before-{stamp}"));
                if name.exists() {
                    bail!("{} is there already; restore again in a second", name.display());
                }
                std::fs::rename(&path, &name).with_context(|| format!("{} cannot be renamed", path.display()))?;
                aside = Some(name);
            }
            None => {}
        }
        replace(database, &path, key)?;
    }
    Ok(aside)
}

/// The key before the present one, while a rotation is under way.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_previous(database: &Path) -> anyhow::Result<Option<MasterKey>> {
    read(&previous(database))
}

/// Puts a new key in the place of the present one, which is kept beside it. One that was interrupted goes on.
///
/// # Errors
/// A file cannot be read or written.
pub fn begin_rotation(database: &Path, entropy: &dyn Entropy) -> anyhow::Result<()> {
    let old = read_or_make(database, entropy)?;
    if read_previous(database)?.is_some_and(|previous| previous != old) {
        return Ok(());
    }
    replace(database, &previous(database), &old)?;
    replace(database, &present(database), &MasterKey::generate(entropy))
}

/// Everything is sealed with the present key: the one before it is put aside, under a name of its own. Backups made
/// before need it, and so may another database in the same folder. Answers where it is.
///
/// # Errors
/// Its file cannot be renamed.
pub fn end_rotation(database: &Path, now: Timestamp) -> anyhow::Result<PathBuf> {
    let (path, aside) = (previous(database), database.with_file_name(format!("ringback.key.old-{}", now.as_millis())));
    std::fs::rename(&path, &aside).with_context(|| format!("{} cannot be renamed; move it away by hand", path.display()))?;
    Ok(aside)
}

fn read(path: &Path) -> anyhow::Result<Option<MasterKey>> {
    let shown = path.display();
    let mut text = String::new();
    match File::open(path) {
        Ok(mut file) => {
            if file.metadata().is_ok_and(|found| found.mode() & 0o007 != 0) {
                tracing::warn!(key_file = %shown, "every user of this machine can read the master key; run chmod 600 on its file");
            }
            file.read_to_string(&mut text).with_context(|| format!("{shown} cannot be read"))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    let key = MasterKey::parse(&text);
    key.map(Some).with_context(|| format!("{shown} is not base64 of 32 bytes; put the right master key there"))
}

fn write(path: &Path, key: &MasterKey) -> anyhow::Result<()> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{shown} cannot be made; check the folder and its permissions"))?;
    writeln!(file, "{}", key.to_base64()).and_then(|()| file.sync_all()).with_context(|| format!("{shown} cannot be written"))
}

/// Writes a key so that the file has either the old one or the new one, whatever happens. It belongs to the owner of the database,
/// also if root runs the command.
fn replace(database: &Path, path: &Path, key: &MasterKey) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    drop(std::fs::remove_file(&beside));
    write(&beside, key)?;
    let owner = std::fs::metadata(database).with_context(|| format!("{} cannot be read", database.display()))?;
    let file = File::open(&beside).with_context(|| format!("{} cannot be read", beside.display()))?;
    if file.metadata().is_ok_and(|made| made.uid() != owner.uid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("{} cannot be given to the owner of {}", beside.display(), database.display()))?;
    }
    std::fs::rename(&beside, path).with_context(|| format!("{} cannot be replaced", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("{} cannot be synced", folder.display()))
}
