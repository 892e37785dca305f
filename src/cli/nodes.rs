//! `ringback nodes`: who shares a database.

use clap::Args;
use serde_json::json;

use super::Settings;
use crate::app::cluster;
use crate::domain::shard::SHARDS;
use crate::store::cluster::Node;

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub(super) struct Nodes {
    #[command(flatten)]
    settings: Settings,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Nodes {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.settings.read()?;
        super::is_there(&config, "--database")?;
        let nodes = super::runtime()?.block_on(async { anyhow::Ok(cluster(&config).await?.nodes().await?) })?;
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&nodes.iter().map(in_json).collect::<Vec<_>>())?)?;
        } else {
            out!("{}", in_words(&nodes))?;
        }
        Ok(())
    }
}

fn in_json(node: &Node) -> serde_json::Value {
    json!({"node": node.number, "address": node.address, "version": node.version, "started_at": node.started_at,
           "lease_ms": node.lease_ms, "shards": node.shards})
}

fn in_words(nodes: &[Node]) -> String {
    let mut text = format!("{:>4}  {:<21}  {:<9}  {:<24}  {:<15}  {:>6}\n", "NODE", "ADDRESS", "VERSION", "STARTED", "LEASE", "SHARDS");
    for node in nodes {
        let seconds = node.lease_ms.abs() / 1000;
        let lease = if node.lease_ms > 0 { format!("{seconds} s left") } else { format!("out for {seconds} s") };
        let started = node.started_at.to_string();
        text.push_str(&format!(
            "{:>4}  {:<21}  {:<9}  {:<24}  {:<15}  {:>6}\n",
            node.number, node.address, node.version, started, lease, node.shards
        ));
    }
    let owned: u64 = nodes.iter().map(|node| node.shards).sum();
    let free = (SHARDS as u64).saturating_sub(owned);
    if free > 0 {
        text.push_str(&format!("{free} of {SHARDS} shards have no owner: nothing is sent to their endpoints until a node takes them\n"));
    }
    text
}
