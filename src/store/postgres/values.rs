//! Values on their way to PostgreSQL and back, and what its errors mean.

use std::borrow::Cow;
use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::address::with_cause;
use crate::store::StoreError;
use crate::store::sql::conn::{Bind, Keys, Owned, Value};

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) if *of == Type::BOOL => (number != 0).to_sql(of, out),
            Self::Integer(number) if *of == Type::INT4 => i32::try_from(number)?.to_sql(of, out),
            Self::Integer(place) if *of == Type::TID => {
                // The number of a page, and that of a line in it.
                out.put_slice(&place.to_be_bytes()[2..]);
                Ok(IsNull::No)
            }
            Self::Integer(number) => number.to_sql(of, out),
            Self::Text(text) => storable(text).to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Owned {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.value().to_sql(of, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of a statement, or one for each of its rows.
#[derive(Debug)]
pub(super) enum Argument {
    One(Owned),
    Column(Vec<Owned>),
}

impl ToSql for Argument {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::One(value) => value.to_sql(of, out),
            Self::Column(values) => values.as_slice().to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Keys<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Integers(numbers) => numbers.as_slice().to_sql(of, out),
            Self::Texts(texts) => texts.iter().map(|text| storable(text)).collect::<Vec<_>>().to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *of {
            Type::INT8 => Self::Integer(i64::from_sql(of, raw)?),
            Type::INT4 => Self::Integer(i32::from_sql(of, raw)?.into()),
            Type::BOOL => Self::Integer(bool::from_sql(of, raw)?.into()),
            Type::BYTEA => Self::Bytes(raw),
            Type::TID => Self::Integer(raw.iter().fold(0, |place, byte| place << u8::BITS | i64::from(*byte))),
            _ => Self::Text(<&str>::from_sql(of, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA | Type::TEXT | Type::TID)
    }
}

/// A text as PostgreSQL can keep it: its texts have every character but the first one of all.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// What a failing statement says about itself, sorted by what follows from it.
impl From<&tokio_postgres::Error> for StoreError {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let text = with_cause(error);
            // A value that cannot be sent is the write's own fault; everything else without a code is the connection's.
            return if error.source().is_some_and(|source| source.is::<std::num::TryFromIntError>()) {
                Self::Rejected(text)
            } else {
                Self::Unavailable(text)
            };
        };
        let text = database.message().to_owned();
        match database.code() {
            &SqlState::DISK_FULL => Self::Full(text),
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => Self::Damaged(text),
            &SqlState::READ_ONLY_SQL_TRANSACTION => Self::Unavailable(text),
            &SqlState::LOCK_NOT_AVAILABLE => Self::Busy(text),
            code => match code.code().get(..2) {
                // Connection, rolled back for another one's sake, resources, operator's doing, system.
                Some("08" | "25" | "40" | "53" | "57" | "58" | "28" | "3D") => Self::Unavailable(text),
                _ => Self::Rejected(text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::storable;

    #[test]
    fn a_text_with_any_character_can_be_kept() {
        assert_eq!(["", "a\u{20ac}\u{1}", "a\0b\0"].map(storable), ["", "a\u{20ac}\u{1}", "a\u{fffd}b\u{fffd}"]);
    }
}
