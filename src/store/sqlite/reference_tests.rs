//! References in memory and in their table, whatever becomes of the transactions that bring them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::open::{connect, migrate};
use super::threads::{Session, snapshot};
use crate::domain::id::StreamId;
use crate::store::StoreError;
use crate::store::sql::conn::{Conn, params};
use crate::store::sql::references::{self, References, Sizes, hash};

const STREAM: StreamId = StreamId::new(7);
const SIZES: Sizes = Sizes { known: 20, written: 3 };

/// The database, the references that a program has of it, and what is there.
struct Subject {
    session: Session,
    references: Arc<References>,
    there: BTreeMap<i64, String>,
    next: i64,
}

#[derive(Debug, Clone)]
enum Step {
    /// So many new recharges, in one transaction that comes to pass or not.
    Report { count: usize, fails: bool },
    /// A transaction about something else.
    Other { fails: bool },
    /// The program is killed, and starts again.
    Kill,
    /// The oldest of the recharges are removed.
    Sweep { count: usize },
}

impl Subject {
    fn new(path: &Path) -> Self {
        let mut conn = connect(path).unwrap();
        migrate(&mut conn).unwrap();
        let references = Arc::new(References::load(&conn, SIZES).unwrap());
        Self { session: Session::new(conn, Arc::clone(&references), None).unwrap(), references, there: BTreeMap::new(), next: 1 }
    }

    fn transaction(&mut self, fails: bool, work: impl FnOnce(Conn)) {
        let done = self.session.transaction(|conn, _| {
            work(conn);
            let Conn::Sqlite(file, references) = conn else { panic!("not a file") };
            references.write_some(file)?;
            if fails { Err(StoreError::Full("as the test wants it".to_owned())) } else { Ok(()) }
        });
        assert_eq!(done.is_err(), fails);
    }

    fn take(&mut self, step: &Step, path: &Path) {
        match *step {
            Step::Report { count, fails } => {
                let new: Vec<_> = (self.next..).take(count).map(|id| (id, format!("R{}", id.wrapping_mul(7_919) % 100_003))).collect();
                // A number that was taken in vain is taken again.
                self.next += if fails { 0 } else { count as i64 };
                self.transaction(fails, |conn| new.iter().for_each(|(id, reference_no)| report(conn, *id, reference_no)));
                self.there.extend(new.into_iter().filter(|_| !fails));
            }
            Step::Other { fails } => self.transaction(fails, |_| ()),
            Step::Kill => {
                let conn = connect(path).unwrap();
                self.references = Arc::new(References::load(&conn, SIZES).unwrap());
                self.session = Session::new(conn, Arc::clone(&self.references), None).unwrap();
            }
            Step::Sweep { count } => {
                let gone: Vec<_> = self.there.keys().take(count).copied().collect();
                self.transaction(false, |conn| {
                    let Some(last) = gone.last() else { return };
                    let Conn::Sqlite(_, known) = conn else { panic!("not a file") };
                    conn.execute(&format!("DELETE FROM {} WHERE id <= ?1)", references::OF_RECHARGES), params![last]).unwrap();
                    known.swept(*last);
                    conn.execute("DELETE FROM recharge WHERE id <= ?1", params![last]).unwrap();
                });
                self.there.retain(|id, _| !gone.contains(id));
            }
        }
    }

    fn find(&mut self, reference_no: &str) -> Option<i64> {
        let found = snapshot(&mut self.session.conn, &self.references, |conn| references::recharge(conn, STREAM, reference_no)).unwrap();
        found.map(|(recharge, _)| recharge.id.get())
    }
}

fn report(conn: Conn, id: i64, reference_no: &str) {
    assert_eq!(references::recharge(conn, STREAM, reference_no).unwrap(), None);
    const INSERT: &str =
        "INSERT INTO recharge (id, stream, reference_no, transaction_id, status, reports, source) VALUES (?1, ?2, ?3, ?1, 0, 1, 'a test')";
    conn.execute(INSERT, params![id, STREAM.get(), reference_no]).unwrap();
    let Conn::Sqlite(_, references) = conn else { panic!("not a file") };
    references.add((hash(STREAM, reference_no), id));
    assert!(references::recharge(conn, STREAM, reference_no).unwrap().is_some(), "in its own transaction too");
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..15_usize, prop::bool::weighted(0.2)).prop_map(|(count, fails)| Step::Report { count, fails }),
        2 => any::<bool>().prop_map(|fails| Step::Other { fails }),
        1 => Just(Step::Kill),
        1 => (1..10_usize).prop_map(|count| Step::Sweep { count }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_there_is_found(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringback.db");
        let mut subject = Subject::new(&path);
        let mut ever = BTreeMap::new();
        for step in &steps {
            subject.take(step, &path);
            ever.extend(subject.there.clone());
            for (id, reference_no) in ever.clone() {
                prop_assert_eq!(subject.find(&reference_no), subject.there.contains_key(&id).then_some(id), "{}", reference_no);
            }
            const STALE: &str = "SELECT count(*) FROM reference WHERE recharge NOT IN (SELECT id FROM recharge)";
            prop_assert_eq!(subject.session.conn.query_row(STALE, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        }
    }
}

/// However many there are, those that are not in the table are few: a start has but these to look through. And no transaction
/// has many to write: it would hold up everything else.
#[test]
fn all_but_the_latest_come_into_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringback.db");
    let mut subject = Subject::new(&path);
    let count = |subject: &Subject, sql: &str| subject.session.conn.query_row(sql, [], |row| row.get::<_, usize>(0)).unwrap();
    let mut written = 0;
    for _ in 0..100 {
        subject.take(&Step::Report { count: 4, fails: false }, &path);
        let now = count(&subject, "SELECT count(*) FROM reference");
        assert!(now - written < SIZES.written + 2 * 4, "{} were written at once", now - written);
        written = now;
    }
    let behind = count(&subject, "SELECT count(*) FROM recharge WHERE id > (SELECT value FROM meta WHERE name = 'references until')");
    assert!(behind <= 2 * SIZES.known, "{behind} are behind the mark");
    assert_eq!(
        count(
            &subject,
            "SELECT count(*) FROM recharge r WHERE NOT EXISTS (SELECT 1 FROM reference WHERE recharge = r.id) AND id <= \
            (SELECT value FROM meta WHERE name = 'references until')"
        ),
        0
    );
}

#[test]
fn recharges_of_other_references_with_the_same_hash_are_passed_by() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = Subject::new(&folder.path().join("ringback.db"));
    let same = hash(STREAM, "mine");
    subject.transaction(false, |conn| {
        for (id, reference_no) in [(1_i64, "in the table"), (2, "mine"), (3, "in memory")] {
            const INSERT: &str = "INSERT INTO recharge (id, stream, reference_no, transaction_id, status, reports, source) \
                VALUES (?1, ?2, ?3, ?1, 0, 1, 'a test')";
            conn.execute(INSERT, params![id, STREAM.get(), reference_no]).unwrap();
        }
        for id in [1_i64, 2] {
            conn.execute("INSERT INTO reference (hash, recharge) VALUES (?1, ?2)", params![same, id]).unwrap();
        }
    });
    subject.references.add((same, 3));
    assert_eq!(subject.find("mine"), Some(2));
}
