//! `ringback backup` and `ringback restore` on a SQLite file. `tests/crash/backup.rs` has them next to a server under load.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::process_errors::{KEY, OTHER_KEY, Place, one_line, run};

/// A database with its key in a file, as `ringback serve` makes it.
struct Installed {
    folder: TempDir,
}

impl Installed {
    fn new() -> Self {
        let installed = Self { folder: TempDir::new().expect("a folder") };
        done(&run(&[("database", &installed.database())], &["token", "create", "--operator"]));
        installed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.path("ringback.db").display())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&[("database", &self.database())], arguments)
    }

    fn backup(&self, name: &str, flags: &[&str]) -> String {
        done(&self.run(&[&["backup", &shown(&self.path(name))], flags].concat()))
    }

    fn restore(&self, name: &str, flags: &[&str]) -> Output {
        self.run(&[&["restore", &shown(&self.path(name))], flags].concat())
    }

    fn tokens(&self) -> usize {
        done(&self.run(&["token", "list"])).lines().count()
    }

    /// Names that begin with these words.
    fn named(&self, start: &str) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).expect("the folder").map(|file| file.expect("a file").file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(start)).collect()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_backup_says_what_it_has_and_where_the_key_is() {
    let installed = Installed::new();
    let said = installed.backup("first.backup", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("first.backup: ") && lines[0].contains("ringback.db, 0 recharges, 0 events, 20"), "{said}");
    assert!(lines[1].contains("ringback.key") && lines[1].contains("not in it"), "{said}");
    let file = fs::metadata(installed.path("first.backup")).expect("it is there");
    assert_eq!(file.mode() & 0o777, 0o600);
    let key = fs::read(installed.path("ringback.key")).expect("a key");
    let has_key = |name: &str| fs::read(installed.path(name)).expect("it is there").windows(44).any(|part| part == &key[..44]);
    assert!(!has_key("first.backup"));
    let again = one_line(&installed.run(&["backup", &shown(&installed.path("first.backup"))]), 1);
    assert!(again.contains("is there already") && again.contains("--force"), "{again}");
    assert!(installed.backup("first.backup", &["--force", "--with-key"]).contains("the master key is in it"));
    assert!(has_key("first.backup"));
    assert!(installed.named(".backup-").is_empty(), "no temporary file is left");
}

#[test]
fn a_restore_puts_aside_what_is_there() {
    let installed = Installed::new();
    installed.backup("one", &[]);
    done(&installed.run(&["token", "create", "--operator"]));
    fs::set_permissions(installed.path("ringback.db"), fs::Permissions::from_mode(0o640)).expect("it is changed");
    let refused = one_line(&installed.restore("one", &[]), 1);
    assert!(refused.contains("--force") && installed.tokens() == 2, "{refused}");
    let said = done(&installed.restore("one", &["--force", "--skip", "5"]));
    assert!(said.contains("restored 0 recharges, 0 events, as of 20") && said.contains("next: start the server"), "{said}");
    assert!(said.contains("skipped 5 event numbers"), "{said}");
    assert_eq!(installed.tokens(), 1);
    assert_eq!(fs::metadata(installed.path("ringback.db")).expect("it is there").mode() & 0o777, 0o640, "the mode is kept");
    let aside = installed.named("ringback.db.before-").into_iter().find(|name| name.ends_with('Z')).expect("the other database");
    let other = run(&[("database", &format!("sqlite:{}", shown(&installed.path(&aside))))], &["token", "list"]);
    assert_eq!(done(&other).lines().count(), 2, "it is complete");
    // Another one in the same second does not overwrite it.
    fs::write(installed.path("ringback.db.lock"), "stopped transactions=100001 events=2000000 audit=1").expect("it is written");
    let said = done(&installed.restore("one", &["--force"]));
    assert!(said.contains("skipped 2000000 event numbers"), "as many as the record shows: {said}");
    assert!(!installed.path("ringback.db.lock").exists(), "it was the replaced database's");
    let databases = installed.named("ringback.db.before-").into_iter().filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    assert_eq!(databases.count(), 2);
    assert!(installed.named(".restoring-").is_empty(), "no temporary file is left");
}

#[test]
fn a_restore_on_a_new_machine_needs_the_key() {
    let (from, to) = (Installed::new(), TempDir::new().expect("a folder"));
    from.backup("plain", &[]);
    from.backup("keyed", &["--with-key"]);
    let database = format!("sqlite:{}", to.path().join("ringback.db").display());
    let restore = |name: &str, flags: &[&str]| run(&[("database", &database)], &[&["restore", &shown(&from.path(name))], flags].concat());
    let said = done(&restore("plain", &[]));
    assert!(said.contains("put the master key of that time into") && said.contains("ringback.key"), "{said}");
    assert_eq!(fs::metadata(to.path().join("ringback.db")).expect("it is there").mode() & 0o777, 0o600);
    // With another key in the folder: said, and replaced only by a backup that has its own.
    fs::write(to.path().join("ringback.key"), OTHER_KEY).expect("it is written");
    fs::set_permissions(to.path().join("ringback.key"), fs::Permissions::from_mode(0o600)).expect("it is changed");
    assert!(done(&restore("plain", &["--force"])).contains("is not the master key of this backup"));
    fs::remove_file(to.path().join("ringback.db")).expect("it is removed");
    assert!(one_line(&restore("keyed", &[]), 1).contains("has another master key"));
    assert!(done(&restore("keyed", &["--force"])).contains("put the master key of the backup into"));
    let read = |path: PathBuf| fs::read_to_string(path).expect("a key");
    assert_eq!(read(to.path().join("ringback.key")), read(from.path("ringback.key")));
    done(&run(&[("database", &database)], &["token", "list"]));
    let restored = fs::read(to.path().join("ringback.db")).expect("it is there");
    let key = read(from.path("ringback.key"));
    assert!(!restored.windows(44).any(|part| part == key.trim().as_bytes()), "the database does not contain its own key");
}

#[test]
fn what_is_no_good_backup_changes_nothing() {
    let installed = Installed::new();
    installed.backup("good", &[]);
    let before = fs::read(installed.path("ringback.db")).expect("it is there");
    let good = fs::read(installed.path("good")).expect("it is there");
    let mut torn = good.clone();
    torn[8192..40_960].fill(7);
    let newer = installed.path("newer");
    fs::write(&newer, &good).expect("it is written");
    let conn = rusqlite::Connection::open(&newer).expect("it opens");
    conn.execute("UPDATE backup SET value = '2' WHERE name = 'format'", []).expect("it is changed");
    drop(conn);
    for (content, part) in [
        (Some(&b"what is this"[..]), "is not a backup"),
        (Some(&good[..good.len() / 2]), "is damaged"),
        (Some(&torn), "is damaged"),
        (Some(b"PGDMP-------------"), "is a backup of a PostgreSQL database"),
        (None, "was made by Ringback"),
    ] {
        if let Some(content) = content {
            fs::write(installed.path("bad"), content).expect("it is written");
        }
        let said = one_line(&installed.restore(if content.is_some() { "bad" } else { "newer" }, &["--force"]), 1);
        assert!(said.contains(part), "{said}");
        assert_eq!(fs::read(installed.path("ringback.db")).expect("it is there"), before);
    }
    assert!(installed.named("ringback.db.before-").is_empty() && installed.named(".restoring-").is_empty());
    let other = installed.path("other.db");
    rusqlite::Connection::open(&other).expect("it opens").execute_batch("CREATE TABLE a (b)").expect("a table");
    assert!(one_line(&installed.restore("other.db", &["--force"]), 1).contains("is not a backup of Ringback"));
    let said = one_line(&run(&[("database", &format!("sqlite:{}", shown(&other)))], &["backup", &shown(&installed.path("x"))]), 1);
    assert!(said.contains("is not a database of Ringback"), "{said}");
}

#[test]
fn a_damaged_database_can_be_restored_over_and_not_backed_up() {
    let installed = Installed::new();
    installed.backup("good", &[]);
    fs::write(installed.path("ringback.db"), b"SQLite format 3\0 and nothing else").expect("it is written");
    let said = one_line(&installed.run(&["backup", &shown(&installed.path("bad"))]), 1);
    assert!(said.contains("no backup was made") && !installed.path("bad").exists(), "{said}");
    done(&installed.restore("good", &["--force"]));
    assert_eq!(installed.tokens(), 1);
}

/// SQLite replays a write-ahead log into whatever file has the database's name.
#[test]
fn a_log_that_a_deleted_database_left_is_not_replayed() {
    let installed = Installed::new();
    installed.backup("good", &[]);
    let (database, log) = (installed.path("ringback.db"), installed.path("ringback.db-wal"));
    let conn = rusqlite::Connection::open(&database).expect("it opens");
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE later (a)").expect("a table");
    fs::copy(&log, installed.path("log")).expect("a log");
    drop(conn);
    fs::remove_file(&database).expect("it is removed");
    fs::rename(installed.path("log"), &log).expect("it is put back");
    done(&installed.restore("good", &[]));
    assert_eq!(installed.tokens(), 1);
    let conn = rusqlite::Connection::open(&database).expect("it opens");
    assert!(!conn.table_exists(None, "later").expect("an answer"));
}

#[test]
fn the_database_is_found_as_the_server_finds_it() {
    let place = Place::with_database();
    let config = place.folder.path().join("ringback.toml");
    fs::write(&config, format!("database = \"{}\"\nmaster_key = \"{KEY}\"\n", place.database())).expect("it is written");
    let (config, backup) = (shown(&config), shown(&place.folder.path().join("one")));
    let said = done(&run(&[], &["backup", &backup, "--config", &config]));
    assert!(said.contains("it.db") && said.contains("the setting master_key"), "{said}");
    let said = done(&run(&[], &["restore", &backup, "--config", &config, "--force"]));
    assert!(said.contains("next: start the server"), "{said}");
    assert!(one_line(&run(&[], &["backup", "x", "--with-key", "--config", &config]), 64).contains("setting master_key"));
    let said = one_line(&run(&[], &["backup", "/nowhere/x", "--config", &config]), 1);
    assert!(said.contains("no file can be made in /nowhere"), "{said}");
    let said = one_line(&run(&[("database", "sqlite:/nowhere/x.db")], &["backup", "x"]), 1);
    assert!(said.contains("there is no database at /nowhere/x.db"), "{said}");
}

/// People copy backups with `cp`; a server that runs on one has to be backed up like any other.
#[test]
fn a_backup_in_place_of_the_database_can_be_backed_up() {
    let installed = Installed::new();
    installed.backup("first.backup", &[]);
    fs::copy(installed.path("first.backup"), installed.path("ringback.db")).expect("it is copied");
    let said = installed.backup("second.backup", &[]);
    assert!(said.contains("second.backup: "), "{said}");
    done(&installed.restore("second.backup", &["--force"]));
}
