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

/// An `INSERT` of one row, whose values are its parameters in order, as one of very many: each parameter is a column.
pub(super) fn of_many(insert: &str, types: &[Type]) -> String {
    let (head, rest) = insert.split_once(" VALUES (").expect("an INSERT has VALUES");
    let tail = rest.split_once(')').map_or("", |(_, tail)| tail);
    let columns: Vec<String> = types.iter().enumerate().map(|(at, of)| format!("${}::{}[]", at + 1, of.name())).collect();
    format!("{head} SELECT * FROM unnest({}){tail}", columns.join(", "))
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

/// Statements that write to different tables and look at no other ones, as one.
pub(super) fn joined(statements: &[String]) -> String {
    let Some((last, others)) = statements.split_last() else { return String::new() };
    let others: Vec<String> = others.iter().enumerate().map(|(at, sql)| format!("part{at} AS ({sql})")).collect();
    if others.is_empty() { last.clone() } else { format!("WITH {} {last}", others.join(", ")) }
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

    use super::{joined, numbered_from, of_many, translate};

    #[test]
    fn statements_for_different_tables_become_one() {
        let (one, two) = ("INSERT INTO t (a, b) VALUES ($1, $2)", "UPDATE u SET a = $2 WHERE b = $1");
        assert_eq!(joined(&[one.to_owned()]), one);
        assert_eq!(
            joined(&[one.to_owned(), numbered_from(two, 2)]),
            "WITH part0 AS (INSERT INTO t (a, b) VALUES ($1, $2)) UPDATE u SET a = $4 WHERE b = $3"
        );
    }

    #[test]
    fn one_row_becomes_many() {
        assert_eq!(
            of_many("INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[Type::INT8, Type::TEXT]),
            "INSERT INTO t (a, b) SELECT * FROM unnest($1::int8[], $2::text[]) ON CONFLICT DO NOTHING"
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
