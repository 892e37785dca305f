//! Happy Eyeballs (RFC 8305): the addresses of a name are dialled in turn, by family, each with a short head start. The first
//! connection wins, and the others are dropped. An address that drops packets costs the head start, not the whole timeout.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::limits;

/// Dials addresses until one answers. `within` is the time that the caller allows for all of them. A failure that `is_final`
/// ends the race: the other addresses would meet it too.
///
/// # Errors
/// The failures, if there is no connection; none where there was no address.
pub(super) async fn first<T, E, F: Future<Output = Result<T, E>>>(
    addresses: &[IpAddr],
    within: Duration,
    mut dial: impl FnMut(IpAddr) -> F,
    is_final: impl Fn(&E) -> bool,
) -> Result<T, Vec<E>> {
    let mut waiting = in_turn(addresses);
    waiting.truncate(limits::CONNECT_ADDRESSES_MAX);
    // With a short timeout, all of them are dialled within half of it.
    let head_start = limits::CONNECT_HEAD_START.min(within / (2 * u32::try_from(waiting.len().max(1)).unwrap_or(u32::MAX)));
    let (mut under_way, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        if let Some(address) = waiting.pop_front() {
            under_way.push(dial(address));
        }
        let next = loop {
            tokio::select! {
                biased;
                ended = under_way.next() => break ended,
                () = tokio::time::sleep(head_start), if !waiting.is_empty() => {
                    under_way.extend(waiting.pop_front().map(&mut dial));
                }
            }
        };
        match next {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(failure)) => {
                let ends = is_final(&failure);
                failures.push(failure);
                if ends {
                    return Err(failures);
                }
            }
            None => return Err(failures),
        }
    }
}

/// The addresses with their families taking turns, beginning with that of the first one.
fn in_turn(addresses: &[IpAddr]) -> VecDeque<IpAddr> {
    let Some(first) = addresses.first() else { return VecDeque::new() };
    let (one, other): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = VecDeque::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(one.next());
        turns.extend(other.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(Vec::from(in_turn(&mixed)), addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]));
        let plain = addresses(&["10.0.0.2", "10.0.0.1"]);
        assert_eq!(Vec::from(in_turn(&plain)), plain);
        assert!(in_turn(&[]).is_empty());
    }

    /// Addresses that drop packets, where they are of the family 6.
    async fn silent_six(address: IpAddr) -> Result<IpAddr, ()> {
        if address.is_ipv6() {
            std::future::pending::<()>().await;
        }
        Ok(address)
    }

    #[tokio::test]
    async fn an_address_that_drops_packets_costs_a_head_start() {
        let names = addresses(&["::1", "10.0.0.1"]);
        let begun = Stopwatch::start();
        assert_eq!(first(&names, Duration::from_secs(60), silent_six, |()| false).await, Ok(names[1]));
        assert!((limits::CONNECT_HEAD_START..Duration::from_secs(30)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let within = Duration::from_millis(400);
        let raced = tokio::time::timeout(within, first(&names, within, silent_six, |()| false)).await;
        assert_eq!(raced, Ok(Ok(names[1])), "a short timeout leaves the second address time");
    }

    #[tokio::test]
    async fn failures_start_the_next_address_at_once() {
        let dial = |address: IpAddr| std::future::ready(if address.is_ipv4() { Ok(address) } else { Err(address) });
        let names = addresses(&["::1", "::2", "10.0.0.1"]);
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(first(&names, day, dial, |_| false).await, Ok(names[2]));
        assert_eq!(first(&names[..2], day, dial, |_| false).await, Err(names[..2].to_vec()));
        assert_eq!(first(&names, day, dial, |_| true).await, Err(names[..1].to_vec()), "the others are not tried");
        assert_eq!(first(&[], day, dial, |_| false).await, Err(vec![]));
    }

    #[tokio::test]
    async fn a_slow_first_address_may_still_win() {
        let dial = |address: IpAddr| async move {
            if address.is_ipv4() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(limits::CONNECT_HEAD_START * 2).await;
            Ok::<_, ()>(address)
        };
        let names = addresses(&["::1", "10.0.0.1"]);
        assert_eq!(first(&names, Duration::from_secs(60), dial, |()| false).await, Ok(names[0]));
    }
}
