//! Amounts as spreadsheets and people write them.
//!
//! `1,000.00`, `1.000,00`, `1 000,00` and `1,00,000.00` each have one meaning. `1,000` has two: one thousand, or one with three
//! decimals. A [`Figure`] keeps both, and the [`Habit`] of its column decides: what other amounts of the column prove, or the
//! mark that the operator names.

use std::str::FromStr;

use super::money::Currency;

/// The character in front of an amount's decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// `1,000.50`
    Point,
    /// `1.000,50`
    Comma,
}

impl Decimal {
    fn of(mark: char) -> Self {
        if mark == ',' { Self::Comma } else { Self::Point }
    }

    fn other(self) -> Self {
        if self == Self::Comma { Self::Point } else { Self::Comma }
    }
}

impl FromStr for Decimal {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "point" => Ok(Self::Point),
            "comma" => Ok(Self::Comma),
            _ => Err("must be point or comma"),
        }
    }
}

/// Why a text is not read as an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAFigure {
    /// Not a number.
    #[error("is not an amount such as 1,000.00")]
    Form,
    /// Groups of digits are neither thousands nor lakhs.
    #[error("has separators that are neither between thousands nor between lakhs")]
    Groups,
    /// It has two meanings, and its column has amounts of both kinds.
    #[error(
        "could be a thousand times as much, and its column has decimal points and decimal commas; say --decimal point or --decimal comma"
    )]
    Ambiguous,
    /// What stands next to the number is no currency.
    #[error("names {0}, which is no known currency")]
    Currency(String),
}

/// How much of the meaning the text itself settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// No mark that matters.
    Nothing,
    /// Only this can be the decimal mark.
    Proves(Decimal),
    /// `fraction` is decimals if this is the decimal mark, or else three more digits of the whole number.
    Ambiguous(Decimal),
}

/// An amount as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// It has a minus, on either side, or stands in parentheses, or is a debit (`Dr`).
    pub is_negative: bool,
    /// Codes or signs of currencies next to the number.
    currencies: Vec<String>,
    whole: String,
    fraction: String,
    evidence: Evidence,
}

impl Figure {
    /// Value in minor units of this currency. None for an amount of another currency, with too many decimals, or out of range.
    ///
    /// # Errors
    /// [`NotAFigure`] if the text has two meanings and no decimal mark is given, or names what is no currency.
    pub fn minor(&self, currency: Currency, decimal: Option<Decimal>) -> Result<Option<i64>, NotAFigure> {
        let is_whole = match (self.evidence, decimal) {
            (Evidence::Ambiguous(_), None) => return Err(NotAFigure::Ambiguous),
            (Evidence::Ambiguous(mark), Some(decimal)) => mark != decimal,
            _ => false,
        };
        for named in &self.currencies {
            if !is_currency(named, currency).ok_or_else(|| NotAFigure::Currency(named.clone()))? {
                return Ok(None);
            }
        }
        let (whole, fraction) = (&self.whole, &self.fraction);
        let mark = if is_whole || fraction.is_empty() { "" } else { "." };
        let minor = currency.minor(&format!("{whole}{mark}{fraction}")).ok();
        Ok(minor.map(|minor| if self.is_negative { -minor } else { minor }))
    }
}

impl FromStr for Figure {
    type Err = NotAFigure;

    fn from_str(text: &str) -> Result<Self, NotAFigure> {
        let text: String = text.chars().filter_map(plain).collect();
        let is_digit = |letter: char| letter.is_ascii_digit();
        let (first, last) = text.find(is_digit).zip(text.rfind(is_digit)).ok_or(NotAFigure::Form)?;
        let (mut before, mut core, mut after) = (&text[..first], &text[first..=last], &text[last + 1..]);
        // A mark in front of all digits (`.50`), unless it belongs to a word (`Rs.50`).
        if before.ends_with(['.', ',']) && !before[..before.len() - 1].ends_with(char::is_alphabetic) {
            (before, core) = (&before[..before.len() - 1], &text[first - 1..=last]);
        }
        let mut closing = None;
        if let Some(rest) = after.strip_prefix(['.', ',']) {
            closing = after.chars().next();
            // `1000,-` and `1000.--`: no decimals.
            after = rest.trim_start_matches('-');
        }
        after = after.strip_prefix("/-").or_else(|| after.strip_prefix("/=")).unwrap_or(after);
        let (is_negative, currencies) = environment(before, after)?;
        let (whole, fraction, evidence) = digits(core, closing)?;
        Ok(Self { is_negative, currencies, whole, fraction, evidence })
    }
}

/// A character as it is read: digits of other scripts, spaces, minuses and apostrophes in one form each. None for what is invisible.
fn plain(letter: char) -> Option<char> {
    /// The zeros of Arabic, Persian, Devanagari, Bengali and full-width digits.
    const ZEROS: [u32; 5] = [0x0660, 0x06f0, 0x0966, 0x09e6, 0xff10];
    let code = u32::from(letter);
    if let Some(zero) = ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&code)) {
        return char::from_digit(code - zero, 10);
    }
    match letter {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => Some('-'),
        '\u{2018}' | '\u{2019}' | '`' | '´' => Some('\''),
        '\u{ff0c}' => Some(','),
        '\u{ff0e}' => Some('.'),
        _ if letter.is_whitespace() => Some(' '),
        _ => Some(letter),
    }
}

/// Reads what stands around the digits: whether the amount is negative, and the currencies that are named.
fn environment(before: &str, after: &str) -> Result<(bool, Vec<String>), NotAFigure> {
    let count = |letters: [char; 2]| before.chars().chain(after.chars()).filter(|letter| letters.contains(letter)).count();
    let (signs, parentheses) = (count(['-', '+']), count(['(', ')']));
    let are_closed = before.contains('(') && after.contains(')') && parentheses == 2;
    if signs + parentheses / 2 > 1 || (parentheses > 0 && !are_closed) {
        return Err(NotAFigure::Form);
    }
    let mut is_negative = are_closed || before.contains('-') || after.contains('-');
    let mut currencies = Vec::new();
    for word in [before, after].into_iter().flat_map(|text| text.split(['-', '+', '(', ')', ' '])) {
        match word.trim_end_matches(['.', ':']).to_lowercase().as_str() {
            "" if word.is_empty() => {}
            "cr" => {}
            "dr" => is_negative = true,
            name if !name.is_empty() && name.chars().count() <= 8 => currencies.push(name.to_owned()),
            _ => return Err(NotAFigure::Form),
        }
    }
    Ok((is_negative, currencies))
}

/// Reads digits with marks between them; `closing` is a mark behind them.
fn digits(core: &str, closing: Option<char>) -> Result<(String, String, Evidence), NotAFigure> {
    if !core.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, ',' | '.' | ' ' | '\'')) {
        return Err(NotAFigure::Form);
    }
    let only = |mark: char| core.matches(mark).count();
    let at = match (closing, core.rfind(','), core.rfind('.')) {
        (Some(mark), ..) if only(mark) > 0 => return Err(NotAFigure::Groups),
        (Some(mark), ..) => return Ok((whole(core)?, String::new(), Evidence::Proves(Decimal::of(mark)))),
        (None, Some(comma), Some(point)) => comma.max(point),
        (None, Some(at), None) | (None, None, Some(at)) => {
            let mark = Decimal::of(char::from(core.as_bytes()[at]));
            let (head, tail) = (&core[..at], &core[at + 1..]);
            if only(char::from(core.as_bytes()[at])) > 1 {
                return Ok((whole(core)?, String::new(), Evidence::Proves(mark.other())));
            }
            let is_group = (1..=3).contains(&head.len()) && !head.starts_with('0') && head.bytes().all(|byte| byte.is_ascii_digit());
            if tail.len() == 3 && is_group && tail.bytes().all(|byte| byte.is_ascii_digit()) {
                return Ok((head.to_owned(), tail.to_owned(), Evidence::Ambiguous(mark)));
            }
            at
        }
        (None, None, None) => return Ok((whole(core)?, String::new(), Evidence::Nothing)),
    };
    let (mark, fraction) = (char::from(core.as_bytes()[at]), &core[at + 1..]);
    if only(mark) > 1 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAFigure::Groups);
    }
    let whole = if at == 0 { "0".to_owned() } else { whole(&core[..at])? };
    Ok((whole, fraction.to_owned(), Evidence::Proves(Decimal::of(mark))))
}

/// The digits of a whole number, whose groups are thousands (`1,000,000`) or lakhs (`10,00,000`), all with the same separator.
fn whole(text: &str) -> Result<String, NotAFigure> {
    let separator = text.chars().find(|letter| !letter.is_ascii_digit());
    let Some(separator) = separator else { return Ok(text.to_owned()) };
    let groups: Vec<&str> = text.split(separator).collect();
    let [first, middle @ .., last] = groups.as_slice() else { return Err(NotAFigure::Groups) };
    let all = |length: usize| middle.iter().all(|group| group.len() == length);
    let are_sized = last.len() == 3 && ((all(3) && (1..=3).contains(&first.len())) || (all(2) && (1..=2).contains(&first.len())));
    let number = groups.concat();
    if are_sized && number.bytes().all(|byte| byte.is_ascii_digit()) { Ok(number) } else { Err(NotAFigure::Groups) }
}

/// Whether a code or sign, in small letters, means this currency. None if it means none at all.
fn is_currency(named: &str, currency: Currency) -> Option<bool> {
    /// Signs, with the currencies that have them.
    const SIGNS: [(&str, &[&str]); 17] = [
        ("₹", &["INR"]),
        ("₨", &["NPR", "INR", "PKR", "LKR", "MUR", "SCR"]),
        ("rs", &["NPR", "INR", "PKR", "LKR", "MUR", "SCR"]),
        ("re", &["NPR", "INR", "PKR", "LKR", "MUR", "SCR"]),
        ("रु", &["NPR", "INR"]),
        ("रू", &["NPR", "INR"]),
        ("nrs", &["NPR"]),
        ("nr", &["NPR"]),
        ("nrp", &["NPR"]),
        ("৳", &["BDT"]),
        ("tk", &["BDT"]),
        ("us$", &["USD"]),
        ("€", &["EUR"]),
        ("£", &["GBP", "EGP", "FKP", "GIP", "SHP", "SSP"]),
        ("¥", &["JPY", "CNY"]),
        ("₱", &["PHP"]),
        ("₦", &["NGN"]),
    ];
    /// Many currencies call themselves dollar or peso.
    const OF_MANY: [&str; 1] = ["$"];
    if let Some((_, codes)) = SIGNS.into_iter().find(|(sign, _)| *sign == named) {
        return Some(codes.contains(&currency.code()));
    }
    if OF_MANY.contains(&named) {
        return Some(!["NPR", "INR", "EUR", "GBP", "JPY", "BDT", "PKR", "LKR"].contains(&currency.code()));
    }
    named.to_uppercase().parse::<Currency>().ok().map(|other| other == currency)
}

/// What the amounts of a column have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Habit {
    points: bool,
    commas: bool,
    positives: bool,
    negatives: bool,
}

impl Habit {
    /// Notes an amount of the column.
    pub fn note(&mut self, figure: &Figure) {
        match figure.evidence {
            Evidence::Proves(Decimal::Point) => self.points = true,
            Evidence::Proves(Decimal::Comma) => self.commas = true,
            _ => {}
        }
        // Zero is what a failed recharge costs, and has no side.
        if figure.whole.bytes().chain(figure.fraction.bytes()).any(|byte| byte != b'0') {
            self.negatives |= figure.is_negative;
            self.positives |= !figure.is_negative;
        }
    }

    /// The mark that decides where an amount has two meanings: the one that the other amounts prove, or else the usual one, or else
    /// a point. None if the amounts prove both and no mark is usual.
    pub fn decimal(self, usual: Option<Decimal>) -> Option<Decimal> {
        match (self.points, self.commas) {
            (true, false) => Some(Decimal::Point),
            (false, true) => Some(Decimal::Comma),
            (true, true) => usual,
            (false, false) => usual.or(Some(Decimal::Point)),
        }
    }

    /// Whether all amounts are negative: a list of debits, whose sign says nothing.
    pub fn are_debits(self) -> bool {
        self.negatives && !self.positives
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn npr(text: &str, decimal: Option<Decimal>) -> Option<i64> {
        text.parse::<Figure>().ok()?.minor(currency("NPR"), decimal).ok().flatten()
    }

    #[test]
    fn amounts_with_one_meaning_are_read_without_help() {
        for text in [
            "1000",
            "1000.00",
            "1000,00",
            "1,000.00",
            "1.000,00",
            "1 000,00",
            "1 000.00",
            "1\u{a0}000,00",
            "1\u{202f}000,00",
            "1'000.00",
            "1’000,00",
            "1000.",
            "1000,",
            "1000,-",
            "1000.--",
            "1000/-",
            "1,000.00/-",
            "1000/=",
            "+1000.00",
            "1000+",
            "NPR 1000",
            "npr1,000.00",
            "1.000,00 NPR",
            "NPR: 1000.00",
            "Rs. 1,000.00",
            "Rs.1000",
            "₨1000.00",
            "रु 1,000.00",
            "रू. १,०००.००",
            "NRs. 1,000.00",
            "１０００．００",
            "1000.00 Cr",
            "\u{feff}1000.00\u{200b}",
            " 1000.00 ",
            "1000.000",
            "1000,0000",
            "0001000.0",
        ] {
            assert_eq!(npr(text, None), Some(100_000), "{text:?}");
        }
        for (text, minor) in [
            ("1,00,000.00", 10_000_000),
            ("1,00,000", 10_000_000),
            ("12,34,56,789.50", 12_345_678_950),
            ("1,000,000", 100_000_000),
            ("1.000.000", 100_000_000),
            ("1.000.000,5", 100_000_050),
            ("1 000 000", 100_000_000),
            ("0,500", 50),
            ("0.500", 50),
            (".50", 50),
            (",5", 50),
            ("Rs .50", 50),
            ("1 234,560", 123_456),
            ("-50", -5000),
            ("50-", -5000),
            ("50.00 -", -5000),
            ("−50,00", -5000),
            ("(50.00)", -5000),
            ("NPR (1,000.00)", -100_000),
            ("(NPR 50)", -5000),
            ("-Rs. 50", -5000),
            ("NPR 50.00-", -5000),
            ("50.00 Dr.", -5000),
            ("0", 0),
        ] {
            assert_eq!(npr(text, None), Some(minor), "{text:?}");
        }
    }

    #[test]
    fn a_thousand_or_one_is_decided_by_the_mark() {
        for (text, point, comma) in
            [("1,000", 100_000, 100), ("1.000", 100, 100_000), ("NPR 250.000", 25_000, 25_000_000), ("(1,500)", -150_000, -150)]
        {
            assert_eq!(npr(text, Some(Decimal::Point)), Some(point), "{text}");
            assert_eq!(npr(text, Some(Decimal::Comma)), Some(comma), "{text}");
            let figure = text.parse::<Figure>().unwrap();
            assert_eq!(figure.minor(currency("NPR"), None), Err(NotAFigure::Ambiguous), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "-",
            "NPR",
            "n/a",
            "1e3",
            "1E+05",
            "0x64",
            "12:30",
            "2026-11-23",
            "23.11.2026",
            "1.2.3",
            "1,,000",
            "1,0,0",
            "1,000,00",
            "1,000.000,00",
            "1.000,00.",
            "1 00",
            "10 000 00",
            "1'00,000",
            "--5",
            "-(5)",
            "-5-",
            "(5",
            "5)",
            "1000 . 00",
            "100.00.00",
            "50%x/y",
        ] {
            assert!(npr(text, Some(Decimal::Point)).is_none(), "{text:?}");
        }
        let of = |text: &str, code: &str| text.parse::<Figure>().unwrap().minor(currency(code), None);
        assert_eq!(of("INR 100.00", "NPR"), Ok(None), "another currency");
        assert_eq!(of("₹100.00", "NPR"), Ok(None));
        assert_eq!(of("₹1,00,000.00", "INR"), Ok(Some(10_000_000)));
        assert_eq!(of("$5.00", "USD"), Ok(Some(500)));
        assert_eq!(of("5,00 €", "EUR"), Ok(Some(500)));
        assert_eq!(of("5 apples", "NPR"), Err(NotAFigure::Currency("apples".to_owned())));
        assert_eq!(of("50.005", "NPR"), Err(NotAFigure::Ambiguous));
        assert_eq!(of("5000.005", "NPR"), Ok(None), "more decimals than the currency has");
        assert_eq!(of("99999999999999", "NPR"), Ok(None), "out of range");
    }

    #[test]
    fn a_column_decides_for_its_ambiguous_amounts() {
        let habit = |texts: &[&str]| {
            let mut habit = Habit::default();
            texts.iter().for_each(|text| habit.note(&text.parse().unwrap()));
            habit
        };
        assert_eq!(habit(&[]).decimal(None), Some(Decimal::Point), "the rule where nothing is known");
        assert_eq!(habit(&[]).decimal(Some(Decimal::Comma)), Some(Decimal::Comma));
        assert_eq!(habit(&["50.00"]).decimal(Some(Decimal::Comma)), Some(Decimal::Point), "the column knows better");
        assert_eq!(habit(&["1,000", "500"]).decimal(None), Some(Decimal::Point));
        assert_eq!(habit(&["1.000", "50,00"]).decimal(None), Some(Decimal::Comma));
        assert_eq!(habit(&["1.000.000"]).decimal(None), Some(Decimal::Comma), "points separate thousands");
        assert_eq!(habit(&["50.00", "50,00"]).decimal(None), None);
        assert!(habit(&["-5", "(6)", "0"]).are_debits() && !habit(&["-5", "6"]).are_debits() && !habit(&[]).are_debits());
    }

    /// Writes an amount as some spreadsheet does.
    fn written(minor: i64, decimals: usize, style: (usize, bool, usize, usize), decimal: Decimal) -> String {
        let (separator, by_lakhs, sign, label) = style;
        let (point, thousands) = if decimal == Decimal::Point { ('.', ",") } else { (',', ".") };
        let separator = ["", thousands, " ", "\u{a0}", "\u{202f}", "'", "’"][separator];
        let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let mut grouped = String::new();
        for (at, digit) in whole.chars().enumerate() {
            let left = whole.len() - at;
            let is_border = if by_lakhs { left == 3 || (left > 3 && left % 2 == 1) } else { left % 3 == 0 };
            if at > 0 && is_border {
                grouped.push_str(separator);
            }
            grouped.push(digit);
        }
        let number = if decimals == 0 { grouped } else { format!("{grouped}{point}{fraction}") };
        let number = ["{}", "NPR {}", "{} NPR", "Rs. {}", "npr{}", "रु{}"][label].replace("{}", &number);
        if minor < 0 { ["-{}", "{}-", "({})", "\u{2212}{}", "- {}"][sign].replace("{}", &number) } else { number }
    }

    proptest! {
        #[test]
        fn an_amount_in_any_spelling_reads_back(
            minor in -1_000_000_000_000_i64..1_000_000_000_000,
            style in (0..7_usize, any::<bool>(), 0..5_usize, 0..6_usize),
            has_comma in any::<bool>(),
            decimals in prop_oneof![Just(0_usize), Just(2)],
        ) {
            let decimal = if has_comma { Decimal::Comma } else { Decimal::Point };
            let minor = if decimals == 0 { minor / 100 } else { minor };
            let text = written(minor, decimals, style, decimal);
            let expected = if decimals == 0 { minor * 100 } else { minor };
            prop_assert_eq!(npr(&text, Some(decimal)), Some(expected), "{}", text);
            if decimals == 2 {
                prop_assert_eq!(npr(&text, None), Some(expected), "two decimals prove their mark: {}", text);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}", number in "[0-9,. '()+-]{0,16}") {
            for text in [text, number] {
                let _ = npr(&text, Some(Decimal::Point));
            }
        }
    }
}
