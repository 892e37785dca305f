//! Where the ledger is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// The database that `--database` names.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its address. That may hold a password, so that it is not shown.
    Postgres(String),
}

impl Database {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl Database {
    /// Which one it is, wherever it is read: the whole path of a file, or the address without what is secret.
    pub fn full_name(&self) -> String {
        match self {
            Self::Sqlite(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            Self::Postgres(_) => self.to_string(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::Sqlite(PathBuf::from("ringback.db"))
    }
}

impl FromStr for Database {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let at_signs = text.split('?').next().unwrap_or_default().matches('@').count();
            return if at_signs > 1 {
                Err("has an @ in its user or password; write %40 instead")
            } else {
                Ok(Self::Postgres(text.to_owned()))
            };
        }
        match text.strip_prefix("sqlite:").map(str::trim) {
            Some("") | None => Err("must be sqlite: and the path of a file, such as sqlite:ringback.db, or an address such as \
                                    postgres://user:password@host:5432/ringback"),
            Some(path) if path.starts_with(":memory:") || path.contains('?') => Err("must be the path of a file, without options"),
            Some(path) if path.starts_with("~") => Err("has a ~, which only a shell replaces; write the whole path"),
            // `//a.db` is a file in the root folder, where others read a relative path.
            Some(path) if path.starts_with("//") && !path.starts_with("///") => {
                Err("has two slashes; write sqlite: and the path alone, such as sqlite:ringback.db or sqlite:/var/lib/ringback/ringback.db")
            }
            Some(path) => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }
}

/// For people: without what is secret.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(address) => match Url::parse(address) {
                // A slash in a password would make the rest of it the path.
                Ok(url) if !url.path().contains('@') => write!(f, "postgres://{}{}", url.host_str().unwrap_or_default(), url.path()),
                _ => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_password() {
        let database: Database = "postgres://ringback:s3cret@db.example:5433/ledger?sslmode=require".parse().unwrap();
        assert_eq!(database.to_string(), "postgres://db.example/ledger");
        assert_eq!(format!("{database:?}"), "postgres://db.example/ledger");
        assert_eq!("postgres://u:12/s3cret@h/d".parse::<Database>().unwrap().to_string(), "postgres://…");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "ringback.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a.db?mode=ro",
            "mysql://localhost/a",
            "sqlite://a.db",
            "sqlite:~/a.db",
            "postgres://u:a@b@h/d",
        ] {
            assert!(text.parse::<Database>().is_err(), "{text}");
        }
        assert_eq!("sqlite:a.db".parse::<Database>().unwrap().file(), Some(Path::new("a.db")));
        assert_eq!("sqlite:///a.db".parse::<Database>().unwrap().file(), Some(Path::new("///a.db")));
        assert_eq!("postgresql:///ledger".parse::<Database>().unwrap().file(), None);
    }
}
