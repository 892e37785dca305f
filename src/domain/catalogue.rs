//! What can be recharged: networks, their services, amounts, packages, and how connection numbers look.

use super::money::Currency;

/// All that the platform sells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The networks, each with an id of its own.
    pub networks: Vec<Network>,
    /// The circles (in India: the states) that some services ask for.
    pub circles: Vec<Circle>,
}

/// A country whose vendors have paths of their own in the platform's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Country {
    /// Nepal.
    Nepal,
    /// India.
    India,
}

impl Country {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Nepal, Self::India];

    /// The word in the catalogue, and in paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nepal => "np",
            Self::India => "in",
        }
    }
}

impl std::str::FromStr for Country {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|country| country.as_str() == text).ok_or("must be np or in")
    }
}

/// A network (`operator` on the wire).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// `operator_id`.
    pub id: i64,
    /// Its name, as events tell it.
    pub name: String,
    /// Where it is.
    pub country: Country,
    /// What it is paid in.
    pub currency: Currency,
    /// What it sells; the first one where nothing else is said. Never empty.
    pub services: Vec<Product>,
}

/// Something that a network sells, such as mobile top-ups or data packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// `operator_type_id`.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// How many digits a connection number has.
    pub digits: std::ops::RangeInclusive<usize>,
    /// What a connection number begins with; anything if empty.
    pub prefixes: Vec<String>,
    /// What can be paid.
    pub amounts: Amounts,
    /// What can be bought for it.
    pub packages: Packages,
    /// Whether a circle has to be named.
    pub circle: bool,
}

/// Amounts, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amounts {
    /// From one to another, both included.
    Range(i64, i64),
    /// One of these.
    OneOf(Vec<i64>),
}

/// Packages of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// There are none.
    None,
    /// The provider knows them: whatever id is named is passed on.
    Any,
    /// One of these has to be named.
    OneOf(Vec<Package>),
}

/// A package, such as a gigabyte for a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `package_id`.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its price, in minor units.
    pub amount: i64,
}

/// A circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// `circle_id`.
    pub id: i64,
    /// Its name.
    pub name: String,
}

impl Catalogue {
    /// The network with this id.
    pub fn network(&self, id: i64) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }
}

impl Network {
    /// The service with this id; the first one where none is named.
    pub fn service(&self, id: Option<i64>) -> Option<&Product> {
        match id {
            Some(id) => self.services.iter().find(|service| service.id == id),
            None => self.services.first(),
        }
    }
}

impl Product {
    /// Judges a connection number.
    ///
    /// # Errors
    /// What it has to look like.
    pub fn takes_number(&self, number: &str) -> Result<(), String> {
        let (least, most) = (self.digits.start(), self.digits.end());
        if !number.bytes().all(|byte| byte.is_ascii_digit()) || !self.digits.contains(&number.len()) {
            let length = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return Err(format!("must have {length} digits"));
        }
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(|prefix| number.starts_with(prefix)) {
            return Err(format!("must begin with {}", self.prefixes.join(", ")));
        }
        Ok(())
    }

    /// Judges an amount of this currency, in minor units.
    ///
    /// # Errors
    /// What it may be.
    pub fn takes_amount(&self, amount: i64, currency: Currency) -> Result<(), String> {
        let text = |amount: i64| currency.format(amount);
        match &self.amounts {
            Amounts::Range(from, to) if !(from..=to).contains(&&amount) => {
                Err(format!("must be from {} to {} {}", text(*from), text(*to), currency.code()))
            }
            Amounts::OneOf(amounts) if !amounts.contains(&amount) => {
                let listed: Vec<String> = amounts.iter().map(|amount| text(*amount)).collect();
                Err(format!("must be one of {} {}", listed.join(", "), currency.code()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(amounts: Amounts) -> Product {
        let prefixes = vec!["980".to_owned(), "981".to_owned()];
        Product { id: 1, name: "Top-up".to_owned(), digits: 10..=10, prefixes, amounts, packages: Packages::None, circle: false }
    }

    #[test]
    fn numbers_are_judged_by_length_and_beginning() {
        let service = service(Amounts::Range(5000, 500_000));
        assert_eq!(service.takes_number("9801234567"), Ok(()));
        for number in ["980123456", "98012345678", "980123456x", "٩٨٠١٢٣٤٥٦٧", ""] {
            assert_eq!(service.takes_number(number), Err("must have 10 digits".to_owned()), "{number}");
        }
        assert_eq!(service.takes_number("9841234567"), Err("must begin with 980, 981".to_owned()));
    }

    #[test]
    fn amounts_are_a_range_or_a_list() {
        let npr: Currency = "NPR".parse().unwrap();
        let range = service(Amounts::Range(5000, 500_000));
        assert_eq!((range.takes_amount(5000, npr), range.takes_amount(500_000, npr)), (Ok(()), Ok(())));
        assert_eq!(range.takes_amount(4999, npr), Err("must be from 50.00 to 5000.00 NPR".to_owned()));
        assert!(range.takes_amount(500_001, npr).is_err());
        let list = service(Amounts::OneOf(vec![35_000, 105_000]));
        assert_eq!(list.takes_amount(105_000, npr), Ok(()));
        assert_eq!(list.takes_amount(40_000, npr), Err("must be one of 350.00, 1050.00 NPR".to_owned()));
    }
}
