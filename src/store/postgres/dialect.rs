//! The few words that PostgreSQL has otherwise than SQLite, in whose words the statements are written.

use tokio_postgres::types::Type;

/// A statement in PostgreSQL's words:
/// - numbered parameters are `$1` and not `?1`;
/// - there are no index hints;
/// - a join that is to be walked in the order in which it is written (`CROSS JOIN … ON …`) is a lateral one, which the planner
///   does not turn round;
/// - what may be null is compared by `IS NOT DISTINCT FROM`;
/// - where a text begins in another one is `strpos`;
/// - a row to be written after it was read is locked: `/*FOR UPDATE*/` stands where.
pub(super) fn translate(sql: &str) -> String {
    in_written_order(&without_hints(sql))
        .replace(" IS ?", " IS NOT DISTINCT FROM ?")
        .replace('?', "$")
        .replace("instr(", "strpos(")
        .replace("/*FOR UPDATE*/", "FOR UPDATE")
}

/// A statement about one row as one about very many: each parameter is a column. Of an `INSERT` the values are its parameters
/// in order; any other is about the row of a key, which is found by its place: left to join, the planner walks all of a table
/// for each row, once it has been told that the table is empty.
pub(super) fn of_many(sql: &str, types: &[Type]) -> String {
    let columns: Vec<String> = types.iter().enumerate().map(|(at, of)| format!("${}::{}[]", at + 1, of.name())).collect();
    let columns = columns.join(", ");
    if let Some((head, rest)) = sql.split_once(" VALUES (") {
        let tail = rest.split_once(')').map_or("", |(_, tail)| tail);
        return format!("{head} SELECT * FROM unnest({columns}){tail}");
    }
    let (head, condition) = sql.split_once(" WHERE ").expect("what is no INSERT has a condition");
    let table = head.strip_prefix("DELETE FROM ").expect("what is about many rows inserts or deletes them");
    let names: Vec<String> = (1..=types.len()).map(|at| format!("p{at}")).collect();
    format!(
        "{head} WHERE ctid = ANY (ARRAY (SELECT o.place FROM unnest({columns}) AS k ({}), \
         LATERAL (SELECT ctid AS place FROM {table} WHERE {} FOR UPDATE) o))",
        names.join(", "),
        condition.replace('$', "k.p")
    )
}

/// An `UPDATE` of the row of a key as one of the row of that key at a place, which is this parameter. It is by a range of places,
/// as PostgreSQL clears a page that it goes through, but not one from which it fetches a row; and no index serves `IS`. A row
/// that another transaction is moving is written where that leaves it, if all else holds there, or not found: versions differ.
pub(super) fn there(sql: &str, place: usize) -> String {
    let (head, condition) = sql.split_once(" WHERE ").expect("it is about the row of a key");
    format!("{head} WHERE {} AND ctid BETWEEN ?{place} AND ?{place}", condition.replace(" = ?", " IS ?"))
}

/// A statement whose parameters come behind so many others.
pub(super) fn numbered_from(sql: &str, others: usize) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        let number: usize = part[..end].parse().expect("a parameter has a number");
        text.push_str(&format!("${}{}", number + others, &part[end..]));
    }
    text
}

/// What is asked of a statement that is a claim: one that has to change as many rows as it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// That it does.
    Holds,
    /// That, and where its one row is then.
    Tells,
}

/// Statements that look at nothing that the others write, as one. How many rows a claim has to change is said by a parameter
/// behind the others', of which there are so many. What a claim comes to is looked at by the whole, so that claims run before
/// the others do, in their order, and if one comes to nothing the whole divides by it. It answers where rows are behind that.
pub(super) fn joined(statements: Vec<(String, Option<Claim>)>, parameters: usize) -> String {
    let (mut parts, mut holds, mut places) = (Vec::with_capacity(statements.len()), Vec::new(), String::new());
    for (at, (sql, claim)) in statements.into_iter().enumerate() {
        if claim.is_some() {
            holds.push(format!("(SELECT count(*) FROM part{at}) = ${}", parameters + holds.len() + 1));
        }
        parts.push(match claim {
            None => sql,
            Some(Claim::Holds) => format!("{sql} RETURNING 1"),
            Some(Claim::Tells) => {
                places.push_str(&format!(", (SELECT ctid FROM part{at})"));
                format!("{sql} RETURNING ctid")
            }
        });
    }
    let last = if holds.is_empty() {
        parts.pop().unwrap_or_default()
    } else {
        format!("SELECT 1 / CASE WHEN {} THEN 1 ELSE 0 END{places}", holds.join(" AND "))
    };
    let parts: Vec<String> = parts.iter().enumerate().map(|(at, sql)| format!("part{at} AS ({sql})")).collect();
    if parts.is_empty() { last } else { format!("WITH {} {last}", parts.join(", ")) }
}

fn without_hints(sql: &str) -> String {
    let mut parts = sql.split(" INDEXED BY ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_'));
    }
    plain
}

fn in_written_order(sql: &str) -> String {
    let Some((before, joined)) = sql.split_once(" CROSS JOIN ") else { return sql.to_owned() };
    let end = [" WHERE ", " ORDER BY "].iter().filter_map(|word| joined.find(word)).min().unwrap_or(joined.len());
    let (joined, rest) = joined.split_at(end);
    let (table, condition) = joined.split_once(" ON ").expect("such a join has a condition");
    let name = table.split(' ').next_back().unwrap_or(table);
    format!("{before} CROSS JOIN LATERAL (SELECT * FROM {table} WHERE {condition} OFFSET 0) {name}{}", in_written_order(rest))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::{Claim, joined, numbered_from, of_many, there, translate};

    #[test]
    fn statements_for_different_tables_become_one() {
        let (one, two) = ("INSERT INTO t (a, b) VALUES ($1, $2)".to_owned(), "UPDATE u SET a = $2 WHERE b = $1");
        assert_eq!(joined(vec![(one.clone(), None)], 2), one);
        let two = numbered_from(two, 2);
        assert_eq!(
            joined(vec![(one.clone(), None), (two.clone(), None)], 4),
            "WITH part0 AS (INSERT INTO t (a, b) VALUES ($1, $2)) UPDATE u SET a = $4 WHERE b = $3"
        );
        assert_eq!(
            joined(vec![(one.clone(), None), (two.clone(), Some(Claim::Holds))], 4),
            "WITH part0 AS (INSERT INTO t (a, b) VALUES ($1, $2)), part1 AS (UPDATE u SET a = $4 WHERE b = $3 RETURNING 1) \
             SELECT 1 / CASE WHEN (SELECT count(*) FROM part1) = $5 THEN 1 ELSE 0 END"
        );
        assert_eq!(
            joined(vec![(two, Some(Claim::Tells)), (one, None)], 4),
            "WITH part0 AS (UPDATE u SET a = $4 WHERE b = $3 RETURNING ctid), part1 AS (INSERT INTO t (a, b) VALUES ($1, $2)) \
             SELECT 1 / CASE WHEN (SELECT count(*) FROM part0) = $5 THEN 1 ELSE 0 END, (SELECT ctid FROM part0)"
        );
    }

    #[test]
    fn a_row_at_its_place() {
        assert_eq!(
            there("UPDATE t SET a = ?1 WHERE b = ?2 AND c = ?3", 4),
            "UPDATE t SET a = ?1 WHERE b IS ?2 AND c IS ?3 AND ctid BETWEEN ?4 AND ?4"
        );
    }

    #[test]
    fn one_row_becomes_many() {
        assert_eq!(
            of_many("INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[Type::INT8, Type::TEXT]),
            "INSERT INTO t (a, b) SELECT * FROM unnest($1::int8[], $2::text[]) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            of_many("DELETE FROM t WHERE a = $1 AND b = $2 AND c IS NULL", &[Type::INT8, Type::TEXT]),
            "DELETE FROM t WHERE ctid = ANY (ARRAY (SELECT o.place FROM unnest($1::int8[], $2::text[]) AS k (p1, p2), \
             LATERAL (SELECT ctid AS place FROM t WHERE a = k.p1 AND b = k.p2 AND c IS NULL FOR UPDATE) o))"
        );
    }

    #[test]
    fn what_postgresql_has_otherwise_is_put_right() {
        for (sqlite, postgres) in [
            ("SELECT a FROM t WHERE b = ?1 AND c = ?12", "SELECT a FROM t WHERE b = $1 AND c = $12"),
            ("SELECT a FROM t INDEXED BY t_by_a WHERE a = ?1", "SELECT a FROM t WHERE a = $1"),
            (
                "SELECT a FROM (SELECT a FROM t INDEXED BY t_by_a) u CROSS JOIN v w ON w.a = u.a WHERE b = ?1",
                "SELECT a FROM (SELECT a FROM t) u CROSS JOIN LATERAL (SELECT * FROM v w WHERE w.a = u.a OFFSET 0) w WHERE b = $1",
            ),
            ("SELECT a FROM t WHERE a IS ?1 AND b IS NULL", "SELECT a FROM t WHERE a IS NOT DISTINCT FROM $1 AND b IS NULL"),
            ("SELECT a FROM t WHERE instr(a, ?1) > 0 /*FOR UPDATE*/", "SELECT a FROM t WHERE strpos(a, $1) > 0 FOR UPDATE"),
        ] {
            assert_eq!(translate(sqlite), postgres);
        }
    }
}
