//! Recharges that vendors ask for: judged by the catalogue, written down, and handed to a provider.

use std::str::FromStr;

use serde_json::Value;

use super::input::{Paging, StreamScope, finish, new_reference, time_range};
use super::{Caller, IdempotentRequest, Ops, OpsError};
use crate::domain::catalogue::{Country, Network, Packages, Product};
use crate::domain::id::RechargeId;
use crate::domain::money::Currency;
use crate::domain::recharge::{Details, Recharge, Report, Status};
use crate::domain::submission::{Order, Submission};
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Command, Listed, Page, Place, Placed, RechargeKey, RechargeOwner, Reply, TimeRange};

/// A recharge that was asked for.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// Whose it is.
    pub mine: StreamScope,
    /// The recharge.
    pub recharge: Recharge,
    /// Whether it was made by this request.
    pub is_new: bool,
}

impl Ops {
    /// What can be recharged.
    pub fn catalogue(&self) -> &crate::domain::catalogue::Catalogue {
        &self.catalogue
    }

    /// Makes a recharge: `{reference_no, operator_id, operator_type_id?, connection_no, amount, currency?, circle_id?, package_id?}`.
    /// It is handed to its provider once it is durable. `country` is that of the call's path, where it has one.
    ///
    /// # Errors
    /// The input's problems, all that the catalogue has against it among them; the reference belongs to another recharge.
    pub async fn order(
        &self,
        caller: Caller,
        mut fields: Fields,
        country: Option<Country>,
        once: IdempotentRequest<Ordered>,
    ) -> Result<Ordered, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let reference_no = new_reference(&mut fields);
        let read = self.read_order(&mut fields, country);
        let provider = match (&read, mine) {
            (Some((network, _)), Some(mine)) => {
                let provider = self.providers.serving(mine.mode, &network.name);
                if provider.is_none() {
                    fields.invalid("operator_id", format!("{} cannot be recharged here: no provider serves it", network.name));
                }
                provider
            }
            _ => None,
        };
        let problems = fields.finish();
        let (Some(mine), Some((network, order)), Some(provider), true) = (mine, read, provider, problems.is_empty()) else {
            return Err(OpsError::Invalid(problems));
        };
        let details = Details {
            amount: Some(order.amount),
            currency: Some(network.currency),
            network: Some(network.name.clone()),
            connection_no: order.connection_no.clone(),
            provider: Some(provider.terms().name.clone()),
            ..Details::default()
        };
        let report = Report { reference_no, status: Status::Queued, details, occurred_at: None };
        let place = Place { stream: mine.stream, mode: mine.mode, report, order, provider: provider.terms().name.clone() };
        let keep = once.keep(move |done| match done {
            Reply::Placed(Placed::New(recharge)) => Some(Ordered { mine, recharge: (**recharge).clone(), is_new: true }),
            Reply::Placed(Placed::Before(recharge)) => Some(Ordered { mine, recharge: (**recharge).clone(), is_new: false }),
            _ => None,
        });
        match self.change(Command::Place(Box::new(place)), None, keep).await? {
            Reply::Placed(Placed::New(recharge)) => {
                self.handoff.placed();
                Ok(Ordered { mine, recharge: *recharge, is_new: true })
            }
            Reply::Placed(Placed::Before(recharge)) => Ok(Ordered { mine, recharge: *recharge, is_new: false }),
            _ => Err(OpsError::ReferenceConflict),
        }
    }

    fn read_order(&self, fields: &mut Fields, country: Option<Country>) -> Option<(&Network, Order)> {
        let network_id = number(fields, "operator_id", true);
        let service_id = number(fields, "operator_type_id", false);
        let connection_no = fields.required_text("connection_no", limits::CONNECTION_NO_MAX);
        let currency = fields.parse::<Currency>("currency");
        let amount = amount_text(fields);
        let (circle_id, package_id) = (number(fields, "circle_id", false), number(fields, "package_id", false));
        let package_name = fields.text("package_name", limits::REFERENCE_MAX);
        let known = |network: &&Network| country.is_none_or(|country| network.country == country);
        let network = self.catalogue.network(network_id?).filter(known);
        let Some(network) = network else {
            fields.invalid("operator_id", "is not in the catalogue");
            return None;
        };
        let Some(service) = network.service(service_id) else {
            let sold: Vec<String> = network.services.iter().map(|service| format!("{} ({})", service.id, service.name)).collect();
            fields.invalid("operator_type_id", format!("must be one of {}", sold.join(", ")));
            return None;
        };
        if let Err(problem) = service.takes_number(&connection_no)
            && !connection_no.is_empty()
        {
            fields.invalid("connection_no", problem);
        }
        if currency.is_some_and(|currency| currency != network.currency) {
            fields.invalid("currency", format!("must be {}, which {} is paid in", network.currency.code(), network.name));
        }
        let amount = self.amount(fields, (network, service), amount, package_id);
        self.check_circle(fields, service, circle_id);
        let order = Order {
            operator_id: network.id,
            operator_type_id: service.id,
            connection_no: Some(connection_no),
            amount: amount?,
            currency: network.currency.code().to_owned(),
            circle_id,
            package_id,
            package_name,
        };
        Some((network, order))
    }

    fn check_circle(&self, fields: &mut Fields, service: &Product, circle_id: Option<i64>) {
        match circle_id {
            None if service.circle => fields.invalid("circle_id", "is required for this operator"),
            Some(id) if !self.catalogue.circles.iter().any(|circle| circle.id == id) => {
                fields.invalid("circle_id", "is not in the catalogue");
            }
            _ => {}
        }
    }

    /// The amount in minor units, as service and package allow it.
    fn amount(
        &self,
        fields: &mut Fields,
        (network, service): (&Network, &Product),
        text: Option<String>,
        package: Option<i64>,
    ) -> Option<i64> {
        let read = network.currency.minor(&text?).map_err(|error| error.to_string());
        let judged = read.and_then(|minor| service.takes_amount(minor, network.currency).map(|()| minor));
        let amount = judged.inspect_err(|problem| fields.invalid("amount", problem)).ok();
        match (&service.packages, package) {
            (Packages::None, Some(_)) => fields.invalid("package_id", "is not for this service"),
            (Packages::OneOf(_), None) => fields.invalid("package_id", "is required for this service"),
            (Packages::OneOf(packages), Some(id)) => match packages.iter().find(|package| package.id == id) {
                None => fields.invalid("package_id", "is not in the catalogue"),
                Some(package) if amount.is_some_and(|amount| amount != package.amount) => {
                    let price = network.currency.format(package.amount);
                    fields.invalid("amount", format!("must be {price}, the price of this package"));
                }
                Some(_) => {}
            },
            _ => {}
        }
        amount
    }

    /// Recharges by ids and references: `{ids?: [...], reference_nos?: [...]}`, at most 500 in all. First those asked for by id.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn lookup(&self, caller: Caller, mut fields: Fields) -> Result<(StreamScope, Vec<(String, Option<Recharge>)>), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let ids = fields.list::<RechargeId>("ids", limits::LOOKUP_MAX).unwrap_or_default();
        let references = fields.list::<Reference>("reference_nos", limits::LOOKUP_MAX).unwrap_or_default();
        if !(1..=limits::LOOKUP_MAX).contains(&(ids.len() + references.len())) {
            fields.invalid("ids", format!("and reference_nos must be 1 to {} together", limits::LOOKUP_MAX));
        }
        let problems = fields.finish();
        let (Some(mine), true) = (mine, problems.is_empty()) else { return Err(OpsError::Invalid(problems)) };
        let names = ids.iter().map(ToString::to_string).chain(references.iter().map(|reference| reference.0.clone())).collect::<Vec<_>>();
        let sought =
            ids.into_iter().map(RechargeKey::Id).chain(references.into_iter().map(|reference| RechargeKey::Reference(reference.0)));
        let found = self.store.lookup(Some(mine.stream), sought.collect()).await?;
        Ok((mine, names.into_iter().zip(found).collect()))
    }

    /// A recharge by its number or reference: `{transaction_id?, reference_no?}`, as vendors of the platform's API ask.
    ///
    /// # Errors
    /// The input's problems; there is no such recharge.
    pub async fn status(&self, caller: Caller, mut fields: Fields) -> Result<Recharge, OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let number = number(&mut fields, "transaction_id", false);
        let reference = fields.text("reference_no", limits::REFERENCE_MAX);
        let sought = number.map(RechargeKey::Number).or(reference.map(RechargeKey::Reference));
        if sought.is_none() {
            fields.invalid("transaction_id", "or reference_no is required");
        }
        finish(fields)?;
        let (Some(mine), Some(sought)) = (mine, sought) else { return Err(OpsError::NotFound("recharge")) };
        let found = self.store.lookup(Some(mine.stream), vec![sought]).await?.into_iter().flatten().next();
        found.ok_or(OpsError::NotFound("recharge"))
    }

    /// A vendor's statement: `{since?, until?}`. What to read of the store, a page at a time, with [`Ops::statement_page`].
    ///
    /// # Errors
    /// The input's problems.
    pub async fn statement(&self, caller: Caller, mut fields: Fields) -> Result<(StreamScope, TimeRange), OpsError> {
        let mine = self.mine(caller, &mut fields).await?;
        let range = time_range(&mut fields);
        finish(fields)?;
        Ok((mine.ok_or(OpsError::NotFound("vendor"))?, range))
    }

    /// A page of a statement, in the order of the recharges' making; empty at the end.
    ///
    /// # Errors
    /// The store's.
    pub async fn statement_page(&self, mine: StreamScope, range: TimeRange, after: Option<RechargeId>) -> Result<Vec<Recharge>, OpsError> {
        Ok(self.store.walk(RechargeOwner::Stream(mine.stream), range, after, limits::STATEMENT_PAGE).await?)
    }

    /// The name of the package that was asked for, if one was.
    ///
    /// # Errors
    /// The store's.
    pub async fn package_name(&self, recharge: &Recharge) -> Result<Option<String>, OpsError> {
        Ok(self.store.submission(recharge.id).await?.and_then(|submission| submission.order.package_name))
    }

    /// Queued recharges whose providers did not say for three days what became of them.
    ///
    /// # Errors
    /// The input's problems.
    pub async fn stuck(&self, mut fields: Fields) -> Result<Listed<(StreamScope, Submission), RechargeId>, OpsError> {
        let Paging::<RechargeId>(page) = Paging::read(&mut fields);
        finish(fields)?;
        let page: Page<RechargeId> = page;
        let Listed { items, next } = self.store.stuck(page).await?;
        let mut shown = Vec::with_capacity(items.len());
        for submission in items {
            shown.push((self.owner(submission.recharge.stream).await?, submission));
        }
        Ok(Listed { items: shown, next })
    }
}

/// A number, as JSON or text.
fn number(fields: &mut Fields, name: &str, is_required: bool) -> Option<i64> {
    if is_required && !fields.gives(name) {
        fields.problem(Problem::invalid(name, "is required"));
        fields.value(name);
        return None;
    }
    fields.integer(name, 1..=i64::MAX >> 10)
}

/// An amount as it is written: a text, or a JSON number.
fn amount_text(fields: &mut Fields) -> Option<String> {
    match fields.value("amount") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => {
            fields.invalid("amount", "must be a decimal string such as \"50.00\"");
            None
        }
        None => {
            fields.invalid("amount", "is required");
            None
        }
    }
}

struct Reference(String);

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=limits::REFERENCE_MAX).contains(&text.chars().count());
        if fits { Ok(Self(text.to_owned())) } else { Err(format!("must have 1 to {} characters", limits::REFERENCE_MAX)) }
    }
}
