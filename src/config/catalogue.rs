//! Reading a catalogue from TOML, with all its problems at once.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::ConfigError;
use super::file::File;
use crate::domain::catalogue::{Amounts, Catalogue, Circle, Country, Network, Package, Packages, Product};
use crate::domain::money::Currency;
use crate::fields::{Fields, Problem};
use crate::limits;

/// The catalogue where none is set.
pub const DEFAULT: &str = include_str!("catalogue.toml");

/// Reads a catalogue: the file's, or the one that is built in.
///
/// # Errors
/// Every problem of the file.
pub fn read_catalogue(path: Option<&Path>) -> Result<Catalogue, ConfigError> {
    from_file(path.map_or_else(|| File::from_text(DEFAULT, "the catalogue that is built in"), File::read))
}

/// Reads a catalogue's text.
///
/// # Errors
/// Every problem of it.
pub fn catalogue_from_text(text: &str) -> Result<Catalogue, ConfigError> {
    from_file(File::from_text(text, "the catalogue"))
}

fn from_file(file: Result<File, Vec<String>>) -> Result<Catalogue, ConfigError> {
    let file = file.map_err(ConfigError)?;
    let mut fields = Fields::new(file.object.clone());
    let mut problems = Vec::new();
    let catalogue = Catalogue {
        networks: each(&mut fields, "network", &mut problems, network),
        circles: each(&mut fields, "circle", &mut problems, |fields, _| Circle { id: id(fields), name: name(fields) }),
    };
    check_ids(&catalogue, &mut fields);
    if catalogue.networks.is_empty() && problems.is_empty() {
        fields.invalid("network", "must be there at least once");
    }
    problems.extend(fields.finish());
    if problems.is_empty() {
        Ok(catalogue)
    } else {
        let told = |Problem { field, code, message }: Problem| {
            let message = if code == "unknown_field" { "is not known here; see docs/recharges.md" } else { &message };
            let place = file.place(&field).map(|place| format!("{place}: ")).unwrap_or_default();
            format!("{place}{field} {message}")
        };
        Err(ConfigError(problems.into_iter().map(told).collect()))
    }
}

/// Reads a list of tables; problems get their place in front.
fn each<T>(
    fields: &mut Fields,
    list: &str,
    problems: &mut Vec<Problem>,
    mut read: impl FnMut(&mut Fields, &mut Vec<Problem>) -> T,
) -> Vec<T> {
    let items = match fields.value(list) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            fields.invalid(list, format!("must be a list of tables, each under [[{list}]]"));
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let object = if let Value::Object(object) = item { object } else { Map::new() };
        let (mut item, mut inner) = (Fields::new(object), Vec::new());
        all.push(read(&mut item, &mut inner));
        inner.extend(item.finish());
        problems.extend(inner.into_iter().map(|problem| Problem { field: format!("{list}[{at}].{}", problem.field), ..problem }));
    }
    all
}

fn id(fields: &mut Fields) -> i64 {
    if !fields.has("id") {
        fields.invalid("id", "is required");
    }
    fields.integer("id", 1..=1_000_000_000).unwrap_or_default()
}

fn name(fields: &mut Fields) -> String {
    fields.required_text("name", limits::NAME_MAX)
}

fn network(fields: &mut Fields, problems: &mut Vec<Problem>) -> Network {
    let country = required::<Country>(fields, "country");
    let currency = required::<Currency>(fields, "currency");
    let known = currency.unwrap_or_else(|| "NPR".parse().expect("it is a currency"));
    let network = Network {
        id: id(fields),
        name: name(fields),
        country: country.unwrap_or(Country::Nepal),
        currency: known,
        services: each(fields, "service", problems, |fields, problems| service(fields, problems, known)),
    };
    if network.services.is_empty() {
        fields.invalid("service", "must be there at least once");
    }
    network
}

fn required<T: FromStr<Err: std::fmt::Display>>(fields: &mut Fields, name: &str) -> Option<T> {
    if !fields.gives(name) {
        fields.invalid(name, "is required");
    }
    fields.parse(name)
}

fn service(fields: &mut Fields, problems: &mut Vec<Problem>, currency: Currency) -> Product {
    let packages = each(fields, "package", problems, |fields, _| Package {
        id: id(fields),
        name: name(fields),
        amount: required_amount(fields, "amount", currency).unwrap_or_default(),
    });
    let any = fields.boolean("any_package").unwrap_or(false);
    if any && !packages.is_empty() {
        fields.invalid("any_package", "cannot be true where packages are listed");
    }
    let amounts = amounts(fields, currency, &packages);
    Product {
        id: id(fields),
        name: name(fields),
        digits: required::<Digits>(fields, "digits").map_or(1..=1, |digits| digits.0),
        prefixes: fields.list::<Prefix>("prefixes", 1000).unwrap_or_default().into_iter().map(|prefix| prefix.0).collect(),
        amounts,
        packages: match (any, packages.is_empty()) {
            (true, _) => Packages::Any,
            (false, true) => Packages::None,
            (false, false) => Packages::OneOf(packages),
        },
        circle: fields.boolean("circle").unwrap_or(false),
    }
}

/// `from` and `to`, or `amounts`, or those of the packages.
fn amounts(fields: &mut Fields, currency: Currency, packages: &[Package]) -> Amounts {
    let listed = fields.list::<Decimal>("amounts", 10_000);
    let (from, to) = (amount(fields, "from", currency), amount(fields, "to", currency));
    match (listed, from, to) {
        (Some(listed), None, None) if !listed.is_empty() => {
            let mut amounts = Vec::new();
            for (at, Decimal(text)) in listed.into_iter().enumerate() {
                match currency.minor(&text) {
                    Ok(minor) => amounts.push(minor),
                    Err(error) => fields.invalid(&format!("amounts[{at}]"), error),
                }
            }
            Amounts::OneOf(amounts)
        }
        (None, Some(from), Some(to)) => {
            if from > to {
                fields.invalid("from", "must not be greater than to");
            }
            Amounts::Range(from, to)
        }
        (None, None, None) if !packages.is_empty() => Amounts::OneOf(packages.iter().map(|package| package.amount).collect()),
        _ => {
            fields.invalid("amounts", "is required: a list, or else both from and to");
            Amounts::Range(0, 0)
        }
    }
}

fn amount(fields: &mut Fields, name: &str, currency: Currency) -> Option<i64> {
    let text = fields.parse::<Decimal>(name)?.0;
    match currency.minor(&text) {
        Ok(minor) => Some(minor),
        Err(error) => {
            fields.invalid(name, error);
            None
        }
    }
}

fn required_amount(fields: &mut Fields, name: &str, currency: Currency) -> Option<i64> {
    if !fields.gives(name) {
        fields.invalid(name, "is required");
    }
    amount(fields, name, currency)
}

/// Ids stand for one thing only.
fn check_ids(catalogue: &Catalogue, fields: &mut Fields) {
    let mut seen = HashSet::new();
    for (at, network) in catalogue.networks.iter().enumerate().filter(|(_, network)| network.id != 0) {
        if !seen.insert(network.id) {
            fields.invalid(&format!("network[{at}].id"), format!("{} is another network's already", network.id));
        }
        let mut services = HashSet::new();
        for (place, service) in network.services.iter().enumerate().filter(|(_, service)| service.id != 0) {
            if !services.insert(service.id) {
                fields.invalid(&format!("network[{at}].service[{place}].id"), format!("{} is another service's already", service.id));
            }
        }
    }
    let mut circles = HashSet::new();
    for (at, circle) in catalogue.circles.iter().enumerate().filter(|(_, circle)| circle.id != 0) {
        if !circles.insert(circle.id) {
            fields.invalid(&format!("circle[{at}].id"), format!("{} is another circle's already", circle.id));
        }
    }
}

/// A decimal text; which one is judged with its currency.
struct Decimal(String);

impl FromStr for Decimal {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// `10`, or `5-16`.
struct Digits(std::ops::RangeInclusive<usize>);

impl FromStr for Digits {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let read = |text: &str| text.parse().ok().filter(|digits| (1..=limits::CONNECTION_NO_MAX).contains(digits));
        match (read(least), read(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Self(least..=most)),
            _ => Err("must be a number of digits such as \"10\", or a range such as \"5-16\""),
        }
    }
}

struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { Ok(Self(text.to_owned())) } else { Err("must be digits such as \"980\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.toml");
        std::fs::write(&path, text).unwrap();
        let problems = read_catalogue(Some(&path)).err().map(|error| error.0).unwrap_or_default();
        let place = format!("{}:", path.display());
        problems.iter().map(|problem| problem.strip_prefix(&place).unwrap_or(problem).to_owned()).collect()
    }

    #[test]
    fn the_default_one_is_good() {
        let catalogue = read_catalogue(None).unwrap();
        assert!(catalogue_from_text(&format!("\u{feff}{DEFAULT}")).is_ok(), "a byte order mark is skipped");
        let ncell = catalogue.network(1).unwrap();
        assert_eq!((ncell.name.as_str(), ncell.service(None).unwrap().id, ncell.services.len()), ("Ncell", 1, 6));
        let prabhu = catalogue.network(41).unwrap();
        assert!(matches!(&prabhu.services[0].amounts, Amounts::OneOf(amounts) if amounts.len() == 9 && amounts[8] == 2_400_000));
        assert!(catalogue.network(201).unwrap().services[0].circle);
    }

    #[test]
    fn all_problems_come_at_once() {
        let text = "[[network]]\nid = 1\nname = \"A\"\ncountry = \"fr\"\ncurrency = \"NPR\"\nservice = [{ id = 1, digits = \"x\", from = \"5\" }]\n\
            [[network]]\nid = 1\nname = \"B\"\ncountry = \"np\"\ncurrency = \"NPR\"\ncolour = 1\n[[circle]]\nname = \"C\"\n";
        let found = problems(text);
        for expected in [
            "4: network[0].country must be np or in",
            "6: network[0].service[0].name is required",
            "6: network[0].service[0].digits must be a number of digits",
            "6: network[0].service[0].amounts is required",
            "7: network[1].service must be there at least once",
            "12: network[1].colour is not known here; see docs/recharges.md",
            "8: network[1].id 1 is another network's already",
            "13: circle[0].id is required",
        ] {
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected}: {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
        assert_eq!(problems("x = ").len(), 1);
    }
}
