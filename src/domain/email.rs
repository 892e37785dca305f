//! E-mail addresses, as far as their form tells whether mail can ever reach them.

/// Longest address that mail servers have to take (RFC 5321 section 4.5.3.1, with the erratum).
const ADDRESS_MAX: usize = 254;
const LOCAL_MAX: usize = 64;
/// Domains that never resolve, or to the machine that asks (RFC 6761).
const NOWHERE: [&str; 2] = ["invalid", "localhost"];

/// What is wrong with an address; none if mail may reach it.
pub fn problem(address: &str) -> Option<&'static str> {
    let Some((local, domain)) = address.rsplit_once('@') else { return Some("must be an e-mail address") };
    if !is_local(local) {
        return Some("must be an e-mail address; what stands before the @ is not right");
    }
    // As mail servers look it up: lower case, other alphabets in their ASCII form.
    let Ok(url::Host::Domain(domain)) = url::Host::parse(domain) else { return Some("must have a domain name behind the @") };
    let labels: Vec<&str> = domain.split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    if labels.len() < 2 || !labels.iter().all(|label| is_label(label)) || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("must have a domain name behind the @, such as example.com");
    }
    if NOWHERE.contains(&last) {
        return Some("is in a domain that never receives mail");
    }
    (local.len() + 1 + domain.len() > ADDRESS_MAX).then_some("is longer than an e-mail address can be")
}

fn is_local(local: &str) -> bool {
    let is_atom = |letter: char| letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter);
    local.len() <= LOCAL_MAX && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
}

fn is_label(label: &str) -> bool {
    let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (1..=63).contains(&label.len()) && is_plain && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_receive_mail_is_told_from_what_never_will() {
        for address in
            ["a@b.example", "first.last+tag@mail.example.co.uk", "o'neil@example.com", "a@bücher.example", "राम@example.com", "1@2.example"]
        {
            assert_eq!(problem(address), None, "{address}");
        }
        let long = format!("{}@example.com", "x".repeat(65));
        let longer = format!("{}@{}com", "x".repeat(64), "label.".repeat(40));
        for address in [
            "",
            "@",
            "a",
            "a@",
            "@example.com",
            "a@b",
            "a@localhost",
            "a@x.localhost",
            "a@nowhere.invalid",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a b@example.com",
            "a@b c.example",
            "a@b@example.com",
            "a@.example.com",
            "a@example..com",
            "a@example.com.",
            "a@-example.com",
            "a@example-.com",
            "a@exam_ple.com",
            "a@192.0.2.1",
            "a@[192.0.2.1]",
            "a@[::1]",
            "a@example.123",
            "<a@example.com>",
            "a@example.com,b@example.com",
            "a@example.com\nBcc: b@example.com",
            "\"a\"@example.com",
            &long,
            &longer,
        ] {
            assert!(problem(address).is_some(), "{address:?}");
        }
    }
}
