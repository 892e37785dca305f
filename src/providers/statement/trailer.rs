//! The trailer of a statement that Ringback itself wrote: a provider may be another Ringback.

use std::io::{self, BufRead, BufReader, Read};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::domain::statement::{COUNT, DIGEST};

/// Compares a statement with its trailer. Answers with what is wrong.
pub(super) fn problem(input: impl Read, rows: u64) -> io::Result<Option<String>> {
    let (mut input, mut digest) = (BufReader::new(input), Sha256::new());
    let (mut line, mut count, mut sum, mut is_trailer) = (Vec::new(), None, None, false);
    while input.read_until(b'\n', &mut line)? > 0 {
        if is_trailer && line.trim_ascii().is_empty() {
            line.clear();
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let value =
            |name: &str| text.strip_prefix(name).map(|rest| rest.trim_matches([',', ';', '\t', '|', '\r', '\n', ' ', '"']).to_owned());
        is_trailer |= value(COUNT).is_some();
        (count, sum) = (count.or_else(|| value(COUNT)), value(DIGEST));
        if !is_trailer {
            digest.update(&line);
        }
        line.clear();
    }
    let (Some(count), Some(sum)) = (count, sum) else {
        return Ok(Some(format!("its last lines, {COUNT} and {DIGEST}, are missing")));
    };
    if count.parse() != Ok(rows) {
        return Ok(Some(format!("it has {rows} {}, and its {COUNT} says {count}", if rows == 1 { "row" } else { "rows" })));
    }
    let is_same = HEXLOWER.encode(&digest.finalize()) == sum;
    Ok((!is_same).then(|| format!("its {DIGEST} is not that of its lines; it was changed, or saved again by another program")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_statement_is_recognized() {
        let lines = "id,status\nrch_1,success\nrch_2,failed\n";
        let digest = HEXLOWER.encode(&Sha256::digest(lines));
        let whole = format!("{lines}# count,2\n# sum of success,NPR,50.00\n# sha256,{digest}\n");
        let says = |text: &str, rows: u64| problem(text.as_bytes(), rows).unwrap();
        assert_eq!(says(&whole, 2), None);
        assert!(says(lines, 2).unwrap().contains("missing"));
        assert!(says(&whole[..whole.len() - 80], 2).unwrap().contains("missing"));
        assert!(says(&whole[..whole.len() - 10], 2).unwrap().contains("sha256"));
        assert!(says(&whole.replace("rch_2,failed\n", ""), 1).unwrap().contains("1 row, and its # count says 2"));
        assert!(says(&whole.replace("failed", "success"), 2).unwrap().contains("changed"));
    }
}
