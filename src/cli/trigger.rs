//! `ringback trigger` and `ringback resend`: a real event in test mode, and a delivery once more.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::remote::Remote;
use crate::clock::{Environment, Stopwatch};
use crate::config::ConfigError;
use crate::domain::id::DeliveryId;

/// The simulated provider settles what this command asks for at once.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `trigger`.
#[derive(Debug, Args)]
pub(super) struct Trigger {
    /// The type of event
    #[arg(value_enum, value_name = "TYPE")]
    event_type: EventType,
    /// A field of the recharge, such as amount=250.00; may be given again
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// Print the event as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EventType {
    /// A recharge that succeeds
    #[value(name = "recharge.success")]
    Success,
    /// A recharge that fails
    #[value(name = "recharge.failed")]
    Failed,
}

impl EventType {
    /// The last digits of a number that the simulated provider answers so.
    const fn digits(self) -> &'static str {
        match self {
            Self::Success => "00",
            Self::Failed => "01",
        }
    }
}

fn field(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be a name, =, and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Trigger {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(self.trigger())
    }

    async fn trigger(self) -> anyhow::Result<()> {
        let caller = self.remote.caller()?;
        let now = Environment::system(0).clock.now().as_millis();
        let mut order = Map::from_iter([
            ("reference_no".to_owned(), json!(format!("TRIGGER-{now}"))),
            ("operator_id".to_owned(), json!(1)),
            ("amount".to_owned(), json!("50.00")),
            ("connection_no".to_owned(), json!(format!("98012345{}", self.event_type.digits()))),
        ]);
        for (name, value) in self.fields {
            // Ids are numbers; everything else is text, amounts too.
            let is_number = name.ends_with("_id") || name.ends_with("_type_id");
            let value = value.parse::<i64>().ok().filter(|_| is_number).map_or_else(|| json!(value), |number| json!(number));
            order.insert(name, value);
        }
        let number = order["connection_no"].as_str().unwrap_or_default();
        if self.event_type == EventType::Failed && !number.ends_with("01") {
            bail!(ConfigError(vec!["connection_no must end in 01 for a recharge that fails; leave it out, and one is chosen".to_owned()]));
        }
        if !caller.is_test {
            bail!(ConfigError(vec![
                "this makes recharges; give a token of test mode (rb_test_…), of live mode they would be real".to_owned()
            ]));
        }
        let made = caller.post("/v1/recharges", &Value::Object(order)).await?;
        let id = made["id"].as_str().context("the server told no id")?;
        let watch = Stopwatch::start();
        loop {
            let recharge = caller.get(&format!("/v1/recharges/{id}")).await?;
            if recharge["status"] != "queued" {
                return self.event_type.tell(&recharge, self.json);
            }
            if watch.elapsed() > SETTLED_WITHIN {
                bail!("the recharge {id} is still queued; its number says what the simulated provider does with it");
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }
}

impl EventType {
    fn tell(self, recharge: &Value, as_json: bool) -> anyhow::Result<()> {
        let text = |name: &str| recharge[name].as_str().unwrap_or_default();
        let event_type = format!("recharge.{}", text("status"));
        if as_json {
            outln!("{recharge}")?;
        } else {
            outln!("{event_type} for {}: recharge {}", text("reference_no"), text("id"))?;
        }
        let wanted = if self == Self::Success { "success" } else { "failed" };
        if text("status") != wanted {
            bail!("it came to {event_type}; the number's last digits decide that in test mode");
        }
        Ok(())
    }
}

/// Arguments of `resend`.
#[derive(Debug, Args)]
pub(super) struct Resend {
    /// The delivery
    #[arg(value_name = "ID")]
    delivery: DeliveryId,
    #[command(flatten)]
    remote: Remote,
}

impl Resend {
    pub(super) fn run(self) -> anyhow::Result<()> {
        super::runtime()?.block_on(async {
            let caller = self.remote.caller()?;
            caller.post(&format!("/v1/deliveries/{}/resend", self.delivery), &json!({})).await?;
            outln!("{} is on its way again", self.delivery)?;
            Ok(())
        })
    }
}
