//! Backup and restore of a PostgreSQL database by its own client programs.
//!
//! `psql`, `pg_dump` and `pg_restore` connect as libpq does, so that `~/.pgpass` and `PGPASSWORD` work. They get the address as an
//! argument, which every user of the machine can read, and the password in their environment.
//!
//! Only the schema of the connection is backed up: a restore may have put an older one aside in another schema.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use percent_encoding::percent_decode_str;

use super::StoreError;
use super::open::newest_version;
use crate::domain::time::Timestamp;
use crate::store::backup::{Counts, stamp};

type Result<T> = std::result::Result<T, StoreError>;

/// Tables of an archive whose names are kept; Ringback has fewer.
const MANY_NAMES: usize = 1000;

/// Where a backup goes, and how.
pub struct Target<'a> {
    /// The database's address.
    pub url: &'a str,
    /// Whether tables that are there may be put aside.
    pub replace: bool,
    /// Event numbers and transaction ids to skip.
    pub skip: i64,
    /// When this is.
    pub now: Timestamp,
}

/// What a restore did.
pub struct Restored {
    /// What the database contains.
    pub counts: Counts,
    /// The schema that has the tables that were there before.
    pub aside: Option<String>,
}

/// Writes a backup of the database at `url` into `to`, and verifies it by reading it back. It is not synced.
///
/// # Errors
/// A client program is missing, too old or failed.
pub fn back_up(url: &str, to: &Path) -> Result<Counts> {
    let client = Client::of(url);
    client.check_versions(&["pg_dump", "pg_restore"])?;
    let schema = client.schema()?;
    if client.tables(&schema)?.is_empty() {
        return Err(unusable("the database has no tables; start the server once, or name another database with --database"));
    }
    let pattern = identifier(&schema);
    let mut dump = client.program("pg_dump");
    dump.args(["--format=custom", "--no-owner", "--no-privileges", "--no-password", "--schema", &pattern]);
    dump.arg("--file").arg(to).arg(&client.address);
    run(dump)?;
    Ok(read_archive(to)?.counts)
}

/// Restores `backup`.
///
/// # Errors
/// The backup is not usable, tables are there and must not be replaced, or a server runs on them. They have not changed.
pub fn restore(backup: &Path, target: &Target) -> Result<Restored> {
    let client = Client::of(target.url);
    client.check_versions(&["pg_restore"])?;
    let archive = read_archive(backup)?;
    let schema = client.schema()?;
    if archive.schema != schema {
        return Err(unusable(format!(
            "{} is of the schema {}, and tables of this connection are made in {schema}; set search_path so that they are the same",
            backup.display(),
            archive.schema
        )));
    }
    let there = client.tables(&schema)?;
    let aside = match there.is_empty() {
        true => None,
        false if !target.replace => {
            return Err(unusable(
                "the database is not empty; make a new one for the backup (createdb), or put its tables aside in another schema with --force",
            ));
        }
        false => Some(client.put_aside(&schema, &there, target.now)?),
    };
    let mut restore = client.program("pg_restore");
    restore.args(["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"]);
    restore.arg("--schema").arg(&schema).arg("--dbname").arg(&client.address).arg(backup);
    if let Err(error) = run(restore) {
        // It is one transaction, which left nothing.
        if let Some(aside) = &aside {
            client.move_tables(aside, &schema, &there).map_err(|second| {
                unusable(format!("{error}. The tables that were there are in the schema {aside}, and cannot be moved back: {second}"))
            })?;
        }
        return Err(unusable(format!("{error}. Nothing was changed")));
    }
    client.skip(target.skip).map_err(|error| {
        unusable(format!(
            "the backup is restored, but its event numbers are not skipped; do not start a server, and restore again ({error})"
        ))
    })?;
    Ok(Restored { counts: archive.counts, aside })
}

fn unusable(problem: impl Into<String>) -> StoreError {
    StoreError::Unusable(problem.into())
}

// --- Archives ----------------------------------------------------------------------------------------------------------

/// What an archive of `pg_dump` contains.
#[derive(Debug, PartialEq, Eq)]
struct Archive {
    schema: String,
    counts: Counts,
}

/// Reads all data of an archive, which `pg_restore` decompresses and thereby verifies, and counts rows.
fn read_archive(path: &Path) -> Result<Archive> {
    let mut command = Command::new("pg_restore");
    command.args(["--data-only", "--no-owner", "--file=-"]).arg(path);
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), "pg_restore", None)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // It blocks if nobody reads what it reports.
    let reports = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.map(|mut stderr| stderr.read_to_string(&mut text)).transpose().map(|_| text)
    });
    let read = stdout.map_or(Ok(Tables::default()), |stdout| Tables::read(BufReader::with_capacity(1 << 16, stdout)));
    let ended = child.wait();
    let said = reports.join().ok().and_then(std::io::Result::ok).unwrap_or_default();
    let damaged = |problem: &str| unusable(format!("{} is damaged or not a backup of PostgreSQL ({problem})", path.display()));
    match (read, ended) {
        (Ok(tables), Ok(status)) if status.success() => tables.archive(path),
        (Err(error), _) | (_, Err(error)) => Err(damaged(&error.to_string())),
        _ if said.contains("unsupported version") => Err(unusable(format!(
            "{} was made by a newer pg_dump than this pg_restore; install the Debian package postgresql-client of that version",
            path.display()
        ))),
        _ => Err(damaged(&in_one_line(&said))),
    }
}

/// Rows of the tables in an archive, as their `COPY` commands have them.
#[derive(Default)]
struct Tables {
    schema: Option<String>,
    rows: HashMap<String, u64>,
    /// Version of the newest migration.
    version: i64,
}

impl Tables {
    fn read(mut text: impl BufRead) -> std::io::Result<Self> {
        let (mut tables, mut line, mut copied) = (Self::default(), Vec::new(), None);
        while {
            line.clear();
            text.read_until(b'\n', &mut line)?
        } > 0
        {
            match &copied {
                None => copied = tables.begin(&line),
                Some(_) if line == b"\\.\n" => copied = None,
                Some(name) => tables.row(name, &line),
            }
        }
        Ok(tables)
    }

    /// Reads `COPY schema.table (columns) FROM stdin;`; answers the table.
    fn begin(&mut self, line: &[u8]) -> Option<String> {
        let line = std::str::from_utf8(line).ok()?.strip_prefix("COPY ")?;
        let (name, _) = line.split_once(" (")?;
        let (schema, table) = name.rsplit_once('.')?;
        let plain = |name: &str| name.trim_matches('"').replace("\"\"", "\"");
        if self.rows.len() < MANY_NAMES {
            self.schema.get_or_insert_with(|| plain(schema));
            self.rows.insert(plain(table), 0);
        }
        Some(plain(table))
    }

    fn row(&mut self, table: &str, line: &[u8]) {
        if let Some(rows) = self.rows.get_mut(table) {
            *rows += 1;
        }
        if table == "refinery_schema_history" {
            let first = line.split(|byte| *byte == b'\t').next().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            self.version = self.version.max(first.unwrap_or_default());
        }
    }

    fn archive(self, path: &Path) -> Result<Archive> {
        let rows = |table: &str| self.rows.get(table).copied();
        let (Some(schema), Some(recharges), Some(events)) = (self.schema, rows("recharge"), rows("event")) else {
            return Err(unusable(format!("{} is not a backup of Ringback: its tables are missing", path.display())));
        };
        if self.version > newest_version() {
            return Err(unusable(format!(
                "{} was made by a newer Ringback, and this version cannot read it; install that version first",
                path.display()
            )));
        }
        Ok(Archive { schema, counts: Counts { recharges, events } })
    }
}

// --- Client programs ---------------------------------------------------------------------------------------------------

/// How the client programs reach a database.
struct Client {
    /// Without the password.
    address: String,
    password: Option<String>,
    /// Where authorities' certificates are, if the address leaves that to the system.
    authorities: Option<PathBuf>,
}

impl Client {
    fn of(url: &str) -> Self {
        let (address, password) = without_password(url);
        let (address, authorities) = with_authorities(&address);
        Self { address, password, authorities }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.stdin(Stdio::null()).envs(self.password.iter().map(|password| ("PGPASSWORD", password)));
        command.envs(self.authorities.iter().map(|file| ("PGSSLROOTCERT", file)));
        command
    }

    /// Runs SQL in one transaction; answers the rows as text, with tabs between columns.
    fn ask(&self, sql: &str) -> Result<String> {
        let mut psql = self.program("psql");
        psql.args(["-X", "-A", "-t", "-q", "--no-password", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d", &self.address]);
        answer(psql)
    }

    /// Refuses client programs that are older than the server, which cannot read all of its catalogue.
    fn check_versions(&self, programs: &[&str]) -> Result<()> {
        let server = self.ask("SHOW server_version_num")?.trim().parse().unwrap_or(0) / 10_000;
        for name in programs {
            let mut command = Command::new(name);
            let said = start(command.arg("--version").stdout(Stdio::piped()), name, Some(server))?.wait_with_output();
            let said = said.map_err(|error| unusable(format!("{name} cannot be run: {error}")))?;
            let version = major(&String::from_utf8_lossy(&said.stdout));
            if version < server {
                return Err(unusable(format!(
                    "{name} is of PostgreSQL {version}, and the server is {server}; install the Debian package postgresql-client-{server} \
                     (from apt.postgresql.org, if Debian does not have it)"
                )));
            }
        }
        Ok(())
    }

    fn schema(&self) -> Result<String> {
        let schema = self.ask("SELECT current_schema()")?.trim_end_matches('\n').to_owned();
        if schema.is_empty() { Err(unusable("the connection has no schema; set search_path for its user")) } else { Ok(schema) }
    }

    /// Tables of a schema, and sequences that no table owns, as `TABLE name`.
    fn tables(&self, schema: &str) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || quote_ident(c.relname) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relkind IN ('r', 'p', 'S') \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i')) \
             ORDER BY c.relname",
            literal(schema)
        );
        Ok(self.ask(&sql)?.lines().map(str::to_owned).collect())
    }

    /// Moves tables into a schema of their own, unless a server runs on them; answers its name.
    fn put_aside(&self, schema: &str, tables: &[String], now: Timestamp) -> Result<String> {
        if tables.iter().any(|table| table == "TABLE node") {
            const NODES: &str = "SELECT address FROM node WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000 LIMIT 1";
            let running = self.ask(NODES)?;
            if !running.trim().is_empty() {
                return Err(unusable(format!("a server runs on the database ({}); stop all of its servers first", running.trim())));
            }
        }
        let aside = format!("before_{}", stamp(now).to_lowercase());
        self.move_tables(schema, &aside, tables)?;
        Ok(aside)
    }

    /// Moves tables between schemas, in one transaction. The one that they go to is made if it is not there.
    fn move_tables(&self, from: &str, to: &str, tables: &[String]) -> Result<()> {
        let (from, to) = (identifier(from), identifier(to));
        let moves = tables.iter().map(|table| {
            let (kind, name) = table.split_once(' ').unwrap_or(("TABLE", table));
            format!("ALTER {kind} {from}.{name} SET SCHEMA {to};")
        });
        let make = format!("SET lock_timeout = '5s'; SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS {to};");
        self.ask(&format!("{make} {}", moves.collect::<String>())).map(drop)
    }

    /// Skips numbers that may have been used after the backup.
    fn skip(&self, count: i64) -> Result<()> {
        let sql = format!(
            "UPDATE stream SET next_sequence = next_sequence + {count}; SELECT setval('transaction_id', nextval('transaction_id') + {count})"
        );
        self.ask(&sql).map(drop)
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Starts a client program; says how to install it where it is missing.
fn start(command: &mut Command, name: &str, server: Option<i64>) -> Result<std::process::Child> {
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let version = server.map(|version| format!("-{version}")).unwrap_or_default();
            unusable(format!(
                "{name} is not installed; install the Debian package postgresql-client{version}, in the server's version or newer"
            ))
        }
        _ => unusable(format!("{name} cannot be run: {error}")),
    })
}

fn run(command: Command) -> Result<()> {
    answer(command).map(drop)
}

fn answer(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), &name, None)?;
    let output = child.wait_with_output().map_err(|error| unusable(format!("{name} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(unusable(format!("{name} failed: {}", in_one_line(&String::from_utf8_lossy(&output.stderr)))))
}

fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(4).collect::<Vec<_>>().join("; ")
}

/// The major version in `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn major(text: &str) -> i64 {
    let number = text.split_once(") ").map_or("", |(_, rest)| rest);
    number.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

// --- Addresses ---------------------------------------------------------------------------------------------------------

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Takes the password out of an address: of its user, or of its parameters.
fn without_password(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    // A password may have a question mark, and a parameter any sign.
    let credentials = rest.find('@').filter(|at| !rest[..*at].contains('/')).unwrap_or(0);
    let end = rest[credentials..].find(['/', '?']).map_or(rest.len(), |at| credentials + at);
    let (mut authority, mut tail) = (rest[..end].to_owned(), rest[end..].to_owned());
    let mut password = None;
    if let Some((user, hosts)) = rest[..end].split_once('@')
        && let Some((name, secret)) = user.split_once(':')
    {
        password = Some(decoded(secret));
        authority = format!("{name}@{hosts}");
    }
    if let Some((path, parameters)) = rest[end..].split_once('?') {
        let (secret, others): (Vec<_>, Vec<_>) = parameters.split('&').partition(|parameter| parameter.starts_with("password="));
        password = secret.last().map(|parameter| decoded(&parameter["password=".len()..])).or(password);
        tail = if others.is_empty() { path.to_owned() } else { format!("{path}?{}", others.join("&")) };
    }
    (format!("{scheme}://{authority}{tail}"), password)
}

/// libpq trusts no authorities unless it is given a file; Ringback trusts the system's. Answers the address without
/// `sslrootcert=system`, which older versions of libpq do not know, and the system's file if the address asks for a check.
fn with_authorities(address: &str) -> (String, Option<PathBuf>) {
    let Some((path, parameters)) = address.split_once('?') else { return (address.to_owned(), None) };
    let parameters: Vec<&str> = parameters.split('&').collect();
    let checks = parameters.iter().any(|parameter| parameter.starts_with("sslmode=verify-"));
    let names_file = parameters.iter().any(|parameter| parameter.starts_with("sslrootcert=") && *parameter != "sslrootcert=system");
    if !checks || names_file || std::env::var_os("PGSSLROOTCERT").is_some() {
        return (address.to_owned(), None);
    }
    let of_system = std::env::var_os("SSL_CERT_FILE");
    let file = of_system.as_deref().unwrap_or(OsStr::new("/etc/ssl/certs/ca-certificates.crt"));
    let others: Vec<&str> = parameters.into_iter().filter(|parameter| *parameter != "sslrootcert=system").collect();
    (format!("{path}?{}", others.join("&")), Some(PathBuf::from(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_no_password() {
        for (url, address, password) in [
            ("postgres://u:p%40s%2Fs:x%25@db:5432/r?sslmode=require", "postgres://u@db:5432/r?sslmode=require", Some("p@s/s:x%")),
            ("postgresql://u@db/r?password=a%26b&sslmode=require", "postgresql://u@db/r?sslmode=require", Some("a&b")),
            ("postgres://u@db/r?sslmode=require&password=secret", "postgres://u@db/r?sslmode=require", Some("secret")),
            ("postgres://u:s@a:1,b:2/r", "postgres://u@a:1,b:2/r", Some("s")),
            ("postgres://u@db?password=x/y@z", "postgres://u@db", Some("x/y@z")),
            ("postgres:///r?password=secret", "postgres:///r", Some("secret")),
            ("postgres://u:p?w@db/r", "postgres://u@db/r", Some("p?w")),
            ("postgres://u@%2Ftmp%2Fx/r", "postgres://u@%2Ftmp%2Fx/r", None),
        ] {
            assert_eq!(without_password(url), (address.to_owned(), password.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn a_checked_certificate_is_checked_against_the_systems_authorities() {
        let (address, file) = with_authorities("postgres://db/r?sslmode=verify-full&sslrootcert=system");
        assert!(address == "postgres://db/r?sslmode=verify-full" && file.is_some(), "{address}");
        for address in ["postgres://db/r", "postgres://db/r?sslmode=require", "postgres://db/r?sslmode=verify-ca&sslrootcert=/a.pem"] {
            assert_eq!(with_authorities(address), (address.to_owned(), None));
        }
    }

    #[test]
    fn rows_of_an_archive_are_counted() {
        let text = "SET x = 1;\nCOPY \"My\"\"s\".recharge (id, b) FROM stdin;\n1\tx\n2\tCOPY a.b (c)\n\\.\n\n\
                    COPY \"My\"\"s\".event (id) FROM stdin;\n\\.\nCOPY \"My\"\"s\".refinery_schema_history (version) FROM stdin;\n1\ta\n2\tb\n\\.\n";
        let archive = Tables::read(text.as_bytes()).unwrap().archive(Path::new("x")).unwrap();
        assert_eq!(archive, Archive { schema: "My\"s".to_owned(), counts: Counts { recharges: 2, events: 0 } });
        assert!(Tables::read(&b"COPY public.other (id) FROM stdin;\n\\.\n"[..]).unwrap().archive(Path::new("x")).is_err());
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), 15);
        assert_eq!((major("pg_dump (PostgreSQL) 17beta1\n"), major("what")), (17, 0));
    }
}
