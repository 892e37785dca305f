//! Event types and the patterns by which an endpoint chooses among them.

use super::endpoint::Profile;
use crate::limits;

/// Types that only Ringback itself emits.
pub const RESERVED: [&str; 3] = ["recharge.", "endpoint.", "webhook."];
/// What connects and tests an endpoint.
pub const TEST_TYPE: &str = "webhook.test";
const REVERSED: &str = "recharge.reversed";

/// Whether text is the name of an event type: words of `a-z 0-9 _ -` joined by full stops, at least two of them.
pub fn is_event_type(text: &str) -> bool {
    text.len() <= limits::EVENT_TYPE_MAX && text.contains('.') && text.split('.').all(is_word)
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Which event types an endpoint gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl Filter {
    /// What an endpoint gets that does not say.
    pub fn recharges() -> Self {
        Self(vec!["recharge.*".to_owned()])
    }

    /// From patterns: a type, a prefix with `.*`, or `*`.
    ///
    /// # Errors
    /// The place and text of each pattern that is none of these.
    pub fn new(patterns: Vec<String>) -> Result<Self, Vec<(usize, String)>> {
        let wrong: Vec<_> =
            patterns.iter().enumerate().filter(|(_, pattern)| !is_pattern(pattern)).map(|(at, text)| (at, text.clone())).collect();
        if wrong.is_empty() { Ok(Self(patterns)) } else { Err(wrong) }
    }

    /// The patterns as they were given.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether an event of this type passes.
    pub fn matches(&self, event_type: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => pattern == event_type,
        })
    }

    /// Whether an event of this type makes a delivery for an endpoint of this profile. Receivers of the older profile
    /// do not know reversals, so one must name `recharge.reversed` itself to get them.
    pub fn wants(&self, profile: Profile, event_type: &str) -> bool {
        if profile == Profile::GlobalTopup && event_type == REVERSED {
            self.0.iter().any(|pattern| pattern == REVERSED)
        } else {
            self.matches(event_type)
        }
    }
}

fn is_pattern(text: &str) -> bool {
    let prefix = text.strip_suffix(".*").is_some_and(|prefix| !prefix.is_empty() && prefix.split('.').all(is_word));
    text.len() <= limits::EVENT_TYPE_MAX && (text == "*" || prefix || is_event_type(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_types() {
        let filter = Filter::new(vec!["recharge.*".into(), "invoice.paid".into()]).unwrap();
        for (event_type, passes) in
            [("recharge.success", true), ("recharges.x", false), ("invoice.paid", true), ("invoice.paid.late", false)]
        {
            assert_eq!(filter.matches(event_type), passes, "{event_type}");
        }
        assert!(Filter::new(vec!["*".into()]).unwrap().matches("anything.else"));
    }

    #[test]
    fn old_receivers_get_reversals_only_if_they_name_them() {
        let (all, named) = (Filter::recharges(), Filter::new(vec![REVERSED.into()]).unwrap());
        for (filter, profile, wanted) in
            [(&all, Profile::Standard, true), (&all, Profile::GlobalTopup, false), (&named, Profile::GlobalTopup, true)]
        {
            assert_eq!(filter.wants(profile, REVERSED), wanted, "{profile:?}");
        }
        assert!(all.wants(Profile::GlobalTopup, "recharge.failed"));
    }

    #[test]
    fn other_texts_are_named_with_their_place() {
        let given = ["recharge.*", "", "*.x", "Recharge.success", "a..b", "recharge", "a.*b"].map(String::from).to_vec();
        let wrong = Filter::new(given).unwrap_err();
        assert_eq!(wrong.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    }
}
