use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::domain::money::Currency;

type Row = (String, String, Option<i64>);

fn columns() -> Columns {
    Columns { reference: "reference".to_owned(), state: "state".to_owned(), amount: Some("amount".to_owned()), decimal: None }
}

fn open(bytes: impl Into<Vec<u8>>) -> Result<Statement<Cursor<Vec<u8>>>, NoStatement> {
    Statement::open(Cursor::new(bytes.into()), &columns(), None)
}

/// References, states and amounts of the rows that can be read, and what is said about the others.
fn read(bytes: impl Into<Vec<u8>>) -> (Vec<Row>, Vec<String>) {
    let statement = open(bytes).unwrap();
    let decimal = statement.decimal();
    let npr: Currency = "NPR".parse().unwrap();
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for row in statement {
        match row {
            Ok(Line { reference, state, amount, .. }) => {
                rows.push((reference, state, amount.and_then(|amount| amount.figure.ok()?.minor(npr, decimal).ok()?)));
            }
            Err(error) => bad.push(error.to_string()),
        }
    }
    (rows, bad)
}

fn expected() -> Vec<Row> {
    [("rch_1", "Success", 100_000), ("rch_2", "Failed", 5000)]
        .map(|(id, state, amount)| (id.to_owned(), state.to_owned(), Some(amount)))
        .to_vec()
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn the_same_rows_are_read_however_they_are_written() {
    for text in [
        "reference,state,amount\nrch_1,Success,1000.00\nrch_2,Failed,50\n",
        "reference,state,amount\nrch_1,Success,\"1,000.00\"\nrch_2,Failed,50.00",
        "reference;state;amount\r\nrch_1;Success;1.000,00\r\nrch_2;Failed;50,00\r\n",
        "reference\tstate\tamount\rrch_1\tSuccess\t1 000,00\rrch_2\tFailed\t50,00\r",
        "reference|state|amount\nrch_1|Success|1,000.00\nrch_2|Failed|50.00\n",
        "\u{feff}reference;state;amount\nrch_1;Success;1000,00\nrch_2;Failed;50,00\n",
        "sep=;\nreference;state;amount\nrch_1;Success;1000,00\nrch_2;Failed;50,00\n",
        "sep=^\nreference^state^amount\nrch_1^Success^1000\nrch_2^Failed^50\n",
        " STATE ,Amount,\"Reference \",Name\nSuccess,1000,rch_1,x\nFailed,50,rch_2,\"a \"\"b\"\", c\nd\"\n",
        "Statement of 1, 2 and 3 May\n\nTopUp Ltd;;\n\nreference;state;amount\nrch_1;Success;1000\n\nrch_2;Failed;50\n;;\nTotal;;1050\n",
        "reference,state,amount\nrch_1,Success,1000\nreference,state,amount\nrch_2,Failed,50\n# a comment\n",
        "reference,state,amount,\n=\"rch_1\",Success,1000,\n'rch_2,Failed,50,\n",
        "reference,state,amount\nrch_1,Success,\"Rs. 1,000.00\"\nrch_2,Failed,NPR 50\n",
        "reference;state;amount\nrch_1;Success;1.000\nrch_2;Failed;50,00\n",
    ] {
        let name = |kind: &str| format!("{kind}: {text:?}");
        assert_eq!(read(text), (expected(), vec![]), "{}", name("UTF-8"));
        assert_eq!(read(utf16(text, u16::to_le_bytes)), (expected(), vec![]), "{}", name("UTF-16LE"));
        assert_eq!(read(utf16(text, u16::to_be_bytes)), (expected(), vec![]), "{}", name("UTF-16BE"));
        let marked = format!("\u{feff}{}", text.trim_start_matches('\u{feff}'));
        assert_eq!(read(utf16(&marked, u16::to_le_bytes)), (expected(), vec![]), "{}", name("UTF-16LE with a mark"));
    }
}

#[test]
fn single_bytes_refuse_nothing() {
    let bytes = b"reference;state;amount;name\nrch_1;Success;1\xa0000,00;Jos\xe9\nrch_2;Failed;50,00;\x81\x00\n";
    assert_eq!(read(&bytes[..]), (expected(), vec![]));
    let named = b"Name d\xe9j\xe0;reference;state;amount\nx;rch_1;Success;1000\nx;rch_2;Failed;50\n";
    assert_eq!(read(&named[..]), (expected(), vec![]));
}

#[test]
fn the_rule_and_the_flag_decide_where_the_column_does_not() {
    let text = "reference;state;amount\na;b;1,000\nc;d;500\n";
    assert_eq!(open(text).unwrap().decimal(), Some(Decimal::Point));
    let flag = Statement::open(Cursor::new(text), &columns(), Some(Decimal::Comma)).unwrap();
    assert_eq!(flag.decimal(), Some(Decimal::Comma));
    let setting = Statement::open(Cursor::new(text), &Columns { decimal: Some(Decimal::Comma), ..columns() }, None).unwrap();
    assert_eq!(setting.decimal(), Some(Decimal::Comma));
    let mixed = open("reference;state;amount\na;b;1,000\nc;d;50.00\ne;f;50,00\n").unwrap();
    assert_eq!(mixed.decimal(), None);
}

#[test]
fn bad_rows_name_their_line_and_column() {
    let (rows, bad) = read("Title\n\nreference,state,amount\nrch_1,Success,1,000.00\n\n\"rch\n_2\",Failed,5\n,Failed,5\nrch_4\n");
    assert_eq!(rows.len(), 1);
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(bad[0].starts_with("line 4, column amount: the line has 4 cells instead of 3; put quotes"), "{bad:?}");
    assert!(bad[1].starts_with("line 8, column reference: the reference is missing"), "{bad:?}");
    assert!(bad[2].starts_with("line 9, column state: the line has 1 of 3 cells"), "{bad:?}");
    let lines: Vec<u64> =
        open("reference,state,amount\r\n\r\na,b,1\r\n\"a\r\nb\",c,2\r\nd,e,3").unwrap().map(|row| row.unwrap().line).collect();
    assert_eq!(lines, [3, 4, 6]);
}

#[test]
fn what_is_no_statement_says_what_to_do() {
    let says = |bytes: &[u8]| open(bytes).err().unwrap().to_string();
    assert!(says(b"").contains("is empty"));
    assert!(says(b"\n\n").contains("is empty"));
    assert!(says(b"PK\x03\x04xxxx").contains("Excel workbook"));
    let missing = says(b"May\nReference;Status;Amount\na;b;1\n");
    assert!(missing.contains("no column state") && missing.contains("line 2: Reference, Status, Amount"), "{missing}");
}

#[test]
fn a_file_that_ends_within_a_row_is_cut() {
    let cut = |text: &str| open(text).unwrap().cut().map(str::to_owned);
    assert_eq!(cut("reference,state,amount,at\na,b,1,2\nc,d,2,3"), None);
    assert!(cut("reference,state,amount,at\na,b,1,2\nc,d").unwrap().contains("line 3, ends after 2 of 4 cells"));
    assert!(cut("reference,state,amount\na,b,1\nc,d,\"5").unwrap().contains("quotes"));
    assert_eq!(cut("reference,state,amount\na,b,1\nTotal: 1"), None);
    let own = format!("{}\n{}\n", COLUMNS.join(","), ["x"; 13].join(","));
    let columns = Columns { reference: "reference_no".to_owned(), state: "status".to_owned(), amount: None, decimal: None };
    let statement = Statement::open(Cursor::new(own), &columns, None).unwrap();
    assert!(statement.cut().unwrap().contains("# count"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-e,;\"\\n\\r|\\t0-9.#]{0,80}") {
        for body in [bytes, text.into_bytes()] {
            for bytes in [body.clone(), [&b"reference,state,amount\n"[..], &body].concat()] {
                if let Ok(statement) = open(bytes) {
                    statement.for_each(drop);
                }
            }
        }
    }
}
