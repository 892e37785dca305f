//! What `ringback doctor` says of the nodes that share a PostgreSQL database: each of them, and the shards that they own.
//!
//! The database knows which nodes renew their leases. Each of those is asked whether it is ready, and what time it has, where its
//! address leads to it from this machine; it is said of which nodes that cannot be found out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Finding, Grade, Server, bad, counted, good, odd};
use crate::clock::Environment;
use crate::config::Config;
use crate::domain::shard::SHARDS;
use crate::domain::time::Timestamp;
use crate::store::cluster::Node;

/// `Date` headers have whole seconds, and an answer takes a moment.
const SAME_TIME: u64 = 2;
/// Clocks that differ by more than this are worth a look, in seconds.
const DIFFERENT: u64 = 5;
/// Clocks that differ by more than this are wrong, in seconds.
const WRONG: u64 = 60;

const ELSEWHERE: &str = "its lease still stands, so it runs or has just died; run ringback doctor on its machine, with its settings";

/// What a node said when it was asked.
enum Asked {
    Answered(Server, Option<Timestamp>),
    /// It could not be asked, for this reason.
    Not(String),
}

pub(super) async fn findings(config: &Config, nodes: &[Node]) -> Vec<Finding> {
    let mut found = vec![shards(nodes)];
    for node in nodes {
        found.push(if node.lease_ms > 0 { living(node, &asked(config, node, nodes).await, config.shard_lease) } else { gone(node) });
    }
    found.extend(versions(nodes));
    found
}

fn living_of(nodes: &[Node]) -> impl Iterator<Item = &Node> + Clone {
    nodes.iter().filter(|node| node.lease_ms > 0)
}

fn shards(nodes: &[Node]) -> Finding {
    let count = living_of(nodes).count() as u64;
    let owned: u64 = living_of(nodes).map(|node| node.shards).sum();
    let (living, verb) = (counted(count, "live node", "live nodes"), if count == 1 { "owns" } else { "own" });
    if owned < SHARDS as u64 {
        let advice = "nothing is sent to the endpoints of the other shards until a node takes them; start a node, or wait for the leases of dead ones to end";
        return bad("shards", format!("{living} {verb} {owned} of {SHARDS} shards"), advice);
    }
    good("shards", format!("{living} {verb} all {SHARDS} shards"))
}

/// Where a node is asked, from this machine.
fn address(config: &Config, node: &Node, nodes: &[Node]) -> Result<SocketAddr, String> {
    let address: SocketAddr = node.address.parse().map_err(|_| "its address cannot be read".to_owned())?;
    // Where there is one, `/readyz` is served there and nowhere else.
    let port = config.metrics_listen.map_or(address.port(), |metrics| metrics.port());
    if address.port() == 0 || port == 0 {
        return Err("it listens on a port that its system chose".to_owned());
    }
    let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
    let same = living_of(nodes).filter(|other| other.address == node.address).count();
    if is_local && same > 1 {
        return Err(format!("{same} nodes have this address, and it does not name a machine"));
    }
    if !address.ip().is_unspecified() {
        return Ok(SocketAddr::new(address.ip(), port));
    }
    if address != config.listen {
        return Err("it listens on all addresses of its machine, and which machine that is, is not known here".to_owned());
    }
    Ok(SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port))
}

async fn asked(config: &Config, node: &Node, nodes: &[Node]) -> Asked {
    let address = match address(config, node, nodes) {
        Ok(address) => address,
        Err(why) => return Asked::Not(why),
    };
    match super::ask(&address.to_string()).await {
        (Server::Silent(error), _) if address.ip().is_loopback() => {
            Asked::Not(format!("nothing answers there on this machine ({error}): it runs on another machine, or has just died"))
        }
        (Server::Silent(error), _) => Asked::Not(error),
        (server, date) => Asked::Answered(server, date),
    }
}

fn living(node: &Node, asked: &Asked, lease: Duration) -> Finding {
    let name = format!("node {} at {}", node.number, node.address);
    let facts = format!(
        "version {}, started {}, {}, {}",
        node.version,
        node.started_at,
        heartbeat(node, lease),
        counted(node.shards, "shard", "shards")
    );
    let (server, date) = match asked {
        Asked::Not(why) => {
            return odd("node", format!("{name} could not be checked: {why}; {facts}"), ELSEWHERE);
        }
        Asked::Answered(server, date) => (server, date),
    };
    match server {
        Server::Ready => {}
        Server::NotReady(said) => {
            return bad(
                "node",
                format!("{name} is not ready: {said}; {facts}"),
                "its log says why; most often it does not reach the database",
            );
        }
        Server::Other(status) => {
            let advice =
                "something else listens there, or the node's metrics_listen is not the one given here; run ringback doctor on its machine";
            return odd("node", format!("{name} could not be checked: /readyz answered {status}; {facts}"), advice);
        }
        Server::Silent(error) => return odd("node", format!("{name} could not be checked: {error}; {facts}"), ELSEWHERE),
    }
    let (grade, clock) = date.map_or((Grade::Good, String::new()), clock);
    let seen = format!("{name} is ready{clock}; {facts}");
    let advice = "synchronise the clocks of all machines (NTP): receivers refuse signatures whose time is five minutes off";
    match grade {
        Grade::Good => good("node", seen),
        Grade::Odd => odd("node", seen, advice),
        Grade::Bad => bad("node", seen, advice),
    }
}

/// When a node renewed its lease last, if it has the lease that the settings say.
fn heartbeat(node: &Node, lease: Duration) -> String {
    let ago = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX).saturating_sub(node.lease_ms);
    if ago >= -1000 {
        format!("last heartbeat {} s ago", ago.max(0) / 1000)
    } else {
        format!("its lease stands for {} s (its shard_lease is longer than the one given here)", node.lease_ms / 1000)
    }
}

/// How much a node's clock is off, by what it said the time is.
fn clock(theirs: Timestamp) -> (Grade, String) {
    let now = Environment::system(0).clock.now();
    clock_at(theirs, now)
}

fn clock_at(theirs: Timestamp, now: Timestamp) -> (Grade, String) {
    let off = (theirs.as_millis() - now.as_millis()) / 1000;
    let seconds = off.unsigned_abs();
    let grade = match seconds {
        0..=DIFFERENT => Grade::Good,
        _ if seconds <= WRONG => Grade::Odd,
        _ => Grade::Bad,
    };
    let side = if off > 0 { "ahead of" } else { "behind" };
    let told = if seconds <= SAME_TIME {
        ", with the same time as this machine".to_owned()
    } else {
        format!(", with a clock {} {side} this machine's", counted(seconds, "second", "seconds"))
    };
    (grade, told)
}

fn gone(node: &Node) -> Finding {
    let since = counted(node.lease_ms.unsigned_abs() / 1000, "second", "seconds");
    let left = if node.shards > 0 {
        format!(", and {} still wait to be taken over", counted(node.shards, "shard", "shards"))
    } else {
        String::new()
    };
    odd(
        "node",
        format!("node {} at {} has not renewed its lease, which ended {since} ago{left}", node.number, node.address),
        "if it was not stopped on purpose, its log says what happened. The entry disappears an hour after the lease ended",
    )
}

/// Versions, where they are not one, and not this program's.
fn versions(nodes: &[Node]) -> Option<Finding> {
    let mut by_version: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in living_of(nodes) {
        by_version.entry(&node.version).or_default().push(node.number.to_string());
    }
    let named = |(version, numbers): (&&str, &Vec<String>)| {
        let nodes = if numbers.len() == 1 { "node" } else { "nodes" };
        format!("{version} ({nodes} {})", numbers.join(", "))
    };
    let ours = env!("CARGO_PKG_VERSION");
    match by_version.len() {
        0 => None,
        1 if by_version.contains_key(ours) => None,
        1 => {
            let theirs = by_version.keys().next()?;
            let seen = format!("the nodes run version {theirs}, and this program is version {ours}");
            Some(odd("versions", seen, "use the program of the version that the nodes run"))
        }
        _ => {
            let seen = format!("the nodes run different versions: {}", by_version.iter().map(named).collect::<Vec<_>>().join(" and "));
            Some(odd("versions", seen, "finish the upgrade: restart the older nodes one after the other"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn node(number: u8, address: &str, lease_ms: i64) -> Node {
        let started_at = "2026-11-24T08:00:00Z".parse().unwrap();
        Node { number, address: address.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), started_at, lease_ms, shards: 128 }
    }

    fn config(listen: &str) -> Config {
        Config::from_text(&format!("database = \"postgres://localhost/ringback\"\nlisten = \"{listen}\"\nmaster_key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"")).unwrap()
    }

    #[test]
    fn a_node_is_asked_where_its_address_leads_to_it() {
        let config = config("0.0.0.0:8080");
        for (addresses, expected) in [
            (&["10.0.0.1:8080"][..], Ok("10.0.0.1:8080")),
            (&["0.0.0.0:8080"], Ok("127.0.0.1:8080")),
            (&["0.0.0.0:8080", "0.0.0.0:8080"], Err("2 nodes have this address")),
            (&["0.0.0.0:9090"], Err("which machine")),
            (&["127.0.0.1:9090"], Ok("127.0.0.1:9090")),
            (&["127.0.0.1:0"], Err("system chose")),
        ] {
            let nodes: Vec<_> = addresses.iter().enumerate().map(|(at, address)| node(at as u8 + 1, address, 10_000)).collect();
            match (address(&config, &nodes[0], &nodes), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
                (found, expected) => panic!("{found:?} and not {expected:?}"),
            }
        }
    }

    #[test]
    fn each_node_is_named_with_what_is_known_of_it() {
        let one = node(1, "10.0.0.1:8080", 12_000);
        let ready = living(&one, &Asked::Answered(Server::Ready, None), LEASE);
        assert_eq!((ready.grade, ready.part), (Grade::Good, "node"));
        for part in ["node 1 at 10.0.0.1:8080 is ready", "started 2026-11-24T08:00:00.000Z", "last heartbeat 3 s ago", "128 shards"] {
            assert!(ready.seen.contains(part), "{part} is missing: {}", ready.seen);
        }
        let unready = living(&one, &Asked::Answered(Server::NotReady("the store does not answer".to_owned()), None), LEASE);
        assert!(unready.grade == Grade::Bad && unready.seen.contains("not ready: the store does not answer"), "{}", unready.seen);
        let unknown = living(&one, &Asked::Not("no connection within 5 s".to_owned()), LEASE);
        assert!(unknown.grade == Grade::Odd && unknown.seen.contains("could not be checked: no connection"), "{}", unknown.seen);
        let over = gone(&node(2, "10.0.0.2:8080", -41_000));
        assert!(
            over.grade == Grade::Odd && over.seen.contains("node 2 at 10.0.0.2:8080") && over.seen.contains("41 seconds ago"),
            "{}",
            over.seen
        );
    }

    #[test]
    fn clocks_versions_and_shards_are_compared() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for (theirs, grade, part) in [
            (1000, Grade::Good, "same time"),
            (1004, Grade::Good, "4 seconds ahead"),
            (970, Grade::Odd, "30 seconds behind"),
            (1400, Grade::Bad, "400 seconds ahead"),
        ] {
            let (found, told) = clock_at(at(theirs), at(1000));
            assert!(found == grade && told.contains(part), "{found:?} {told}");
        }
        let (one, other) = (node(1, "10.0.0.1:8080", 9000), Node { version: "0.0.9".to_owned(), ..node(2, "10.0.0.2:8080", 9000) });
        assert!(versions(std::slice::from_ref(&one)).is_none());
        assert!(versions(std::slice::from_ref(&other)).is_some_and(|found| found.seen.contains("this program is version")));
        let both = [one, other];
        let found = versions(&both).expect("they differ");
        assert!(found.seen.contains("0.0.9 (node 2)"), "{}", found.seen);
        assert_eq!(shards(&both).seen, "2 live nodes own all 256 shards");
        assert_eq!(shards(&both[..1]).seen, "1 live node owns 128 of 256 shards");
    }
}
