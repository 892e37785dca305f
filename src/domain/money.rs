//! Money: whole minor units with an ISO 4217 currency inside, a decimal string outside. Never a float.

use std::fmt;
use std::str::FromStr;

/// An ISO 4217 currency that has minor units (or none), such as NPR or JPY.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// Why text is not an amount or a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not the code of a currency.
    #[error("must be an ISO 4217 code in capitals such as NPR")]
    Currency,
    /// Not a decimal number.
    #[error("must be a decimal number such as \"50.00\"")]
    Amount,
    /// More decimals than the currency has.
    #[error("has more than the {decimals} decimals of {currency}")]
    Decimals {
        /// The currency's code.
        currency: &'static str,
        /// Its decimals.
        decimals: u32,
    },
    /// Below zero, or beyond what 63 bits of minor units hold.
    #[error("must be between 0 and 9999999999999")]
    Range,
}

impl Currency {
    /// The three capitals.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimals that an amount of it has.
    pub fn decimals(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }

    /// Reads a decimal text into minor units.
    ///
    /// # Errors
    /// [`MoneyError`] when it is no plain decimal, has more decimals than the currency, or is out of range.
    pub fn minor(self, text: &str) -> Result<i64, MoneyError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.starts_with('-') && digits(&whole[1..]) && digits(fraction) {
            return Err(MoneyError::Range);
        }
        if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
            return Err(MoneyError::Amount);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > self.decimals() as usize {
            return Err(MoneyError::Decimals { currency: self.code(), decimals: self.decimals() });
        }
        if whole.trim_start_matches('0').len() > 13 {
            return Err(MoneyError::Range);
        }
        let padded = format!("{whole}{fraction:0<width$}", width = self.decimals() as usize);
        padded.parse().map_err(|_| MoneyError::Range)
    }

    /// Reads an amount as people and other systems spell it: with commas between thousands, or between lakhs, and with the
    /// currency's code before or after it. None for everything that could mean another amount.
    pub fn spelled(self, text: &str) -> Option<i64> {
        let code = self.code();
        let is_code = |part: Option<&str>| part.is_some_and(|part| part.eq_ignore_ascii_case(code));
        let mut text = text.trim();
        if is_code(text.get(..code.len())) {
            text = text[code.len()..].trim_start();
        } else if is_code(text.len().checked_sub(code.len()).and_then(|at| text.get(at..))) {
            text = text[..text.len() - code.len()].trim_end();
        }
        let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
        if !is_grouped(whole) {
            return None;
        }
        let plain = whole.replace(',', "");
        self.minor(&fraction.map_or(plain.clone(), |fraction| format!("{plain}.{fraction}"))).ok()
    }

    /// Minor units as the decimal text that goes outside.
    pub fn format(self, minor: i64) -> String {
        self.format_sum(i128::from(minor))
    }

    /// The same for a sum of many amounts, which may exceed the largest amount.
    pub fn format_sum(self, minor: i128) -> String {
        let width = self.decimals() as usize;
        if width == 0 {
            return minor.to_string();
        }
        let text = format!("{minor:0>least$}", least = width + 1);
        let (whole, fraction) = text.split_at(text.len() - width);
        format!("{whole}.{fraction}")
    }
}

/// Whether commas stand where thousands (`1,000,000`) or lakhs (`10,00,000`) end, or nowhere.
fn is_grouped(whole: &str) -> bool {
    let groups: Vec<&str> = whole.split(',').collect();
    let [first, middle @ .., last] = groups.as_slice() else { return true };
    let all = |length: usize| middle.iter().all(|group| group.len() == length);
    last.len() == 3 && ((all(3) && (1..=3).contains(&first.len())) || (all(2) && (1..=2).contains(&first.len())))
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match iso_currency::Currency::from_code(text) {
            Some(currency) if currency.exponent().is_some() => Ok(Self(currency)),
            _ => Err(MoneyError::Currency),
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn amounts_have_exactly_the_decimals_of_their_currency() {
        for (code, text, minor, back) in [
            ("NPR", "50.00", 5000, "50.00"),
            ("NPR", "50", 5000, "50.00"),
            ("NPR", "0.5", 50, "0.50"),
            ("NPR", "50.1000", 5010, "50.10"),
            ("JPY", "50", 50, "50"),
            ("BHD", "1.234", 1234, "1.234"),
        ] {
            assert_eq!(currency(code).minor(text), Ok(minor), "{text} {code}");
            assert_eq!(currency(code).format(minor), back);
        }
    }

    #[test]
    fn a_sum_may_exceed_the_largest_amount() {
        let clf = currency("CLF");
        let largest = clf.minor("9999999999999.9999").unwrap();
        assert_eq!(clf.format_sum(i128::from(largest) * 1000), "9999999999999999.9000");
    }

    #[test]
    fn what_is_no_amount_is_named() {
        let npr = currency("NPR");
        for text in ["", ".", "5.", ".5", "1e3", "1,000", " 5", "+5", "0x5", "NaN", "--5", "-"] {
            assert!(matches!(npr.minor(text), Err(MoneyError::Amount | MoneyError::Range)), "{text}");
        }
        assert_eq!(npr.minor("-5"), Err(MoneyError::Range));
        assert_eq!(npr.minor("99999999999999"), Err(MoneyError::Range));
        assert_eq!(npr.minor("5.001"), Err(MoneyError::Decimals { currency: "NPR", decimals: 2 }));
        assert_eq!("npr".parse::<Currency>(), Err(MoneyError::Currency));
        assert_eq!("XXX".parse::<Currency>(), Err(MoneyError::Currency));
    }

    #[test]
    fn amounts_of_others_are_read_if_they_can_mean_only_one() {
        let npr = currency("NPR");
        for (text, minor) in [
            ("100", 10_000),
            (" 100.00 ", 10_000),
            ("5,000.00", 500_000),
            ("1,00,000", 10_000_000),
            ("1,000,000.50", 100_000_050),
            ("NPR 5000", 500_000),
            ("npr5,000", 500_000),
            ("100.00 NPR", 10_000),
            ("100.000", 10_000),
        ] {
            assert_eq!(npr.spelled(text), Some(minor), "{text}");
        }
        for text in [
            "",
            " ",
            "NPR",
            "-100",
            "+100",
            "1e2",
            "1e6",
            "5.000,00",
            "5,00",
            "5,0000",
            ",500",
            "1,,000",
            "1,000,00",
            "INR 100",
            "Rs. 100",
            "100.00.00",
            "100,000.",
            "100.001",
            "0x64",
            "१००",
            "１００",
            "100 00",
            "true",
            "{}",
            "NPR NPR 5",
            "99999999999999",
        ] {
            assert_eq!(npr.spelled(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_amount_comes_back(minor in 0_i64..1_000_000_000_000) {
            for code in ["NPR", "JPY", "KWD"] {
                proptest::prop_assert_eq!(currency(code).minor(&currency(code).format(minor)), Ok(minor));
            }
        }
    }
}
