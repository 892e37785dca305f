//! Events: their numbers, the feed, and those that the platform publishes itself.

use std::collections::HashSet;

use ringback::domain::event::Event;
use ringback::domain::id::{EventId, StreamId};
use ringback::domain::recharge::Status;
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{Feed, Publish, StoreError, TimeRange, Write, Written};
use serde_json::value::RawValue;

use crate::harness::{START, Side, Subject, accept, at, eight, just_before, publish, report};

const ROUNDS: i64 = 12;

fn keyed(side: Side, key: &str) -> Publish {
    Publish { dedupe_key: Some(key.to_owned()), ..publish(side, "invoice.paid", START) }
}

fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.id.sequence).collect()
}

async fn feed(on: &Subject, side: Side, after: Option<i64>, limit: usize) -> Feed {
    on.store.events_after(side.stream, after, limit).await.unwrap()
}

pub async fn an_empty_feed(on: Subject) {
    let side = on.side().await;
    for after in [None, Some(0), Some(5)] {
        let Feed { events, oldest, latest, .. } = feed(&on, side, after, 10).await;
        assert_eq!((events.len(), oldest, latest), (0, 1, 0), "the oldest is the next one to be given");
    }
}

pub async fn the_feed_is_read_in_parts(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    for second in 0..5 {
        on.event(side, "invoice.paid", at(second)).await;
        on.event(other, "invoice.paid", at(second)).await;
    }
    for (after, limit, expected) in [
        (None, 2, &[1, 2][..]),
        (Some(0), 2, &[1, 2]),
        (Some(2), 2, &[3, 4]),
        (Some(4), 2, &[5]),
        (Some(5), 2, &[]),
        (None, 0, &[]),
        (None, 100, &[1, 2, 3, 4, 5]),
    ] {
        let Feed { events, oldest, latest, .. } = feed(&on, side, after, limit).await;
        assert_eq!((&numbers(&events)[..], oldest, latest), (expected, 1, 5), "{after:?} {limit}");
        assert!(events.iter().all(|event| event.id.stream == side.stream));
    }
}

pub async fn no_event(on: Subject) {
    let side = on.side().await;
    on.event(side, "invoice.paid", START).await;
    for (stream, sequence) in [(side.stream, 0), (side.stream, 2), (StreamId::new(1), 1)] {
        assert!(on.store.event(EventId { stream, sequence }).await.unwrap().is_none());
    }
}

/// Writes to both sides, reports and events by turns, sometimes both in one batch.
async fn write_by_turns(on: &Subject, sides: [Side; 2], writer: usize) {
    for round in 0..ROUNDS {
        let (one, other) = (sides[writer % 2], sides[(writer + 1) % 2]);
        let reference = format!("INV-{writer}-{round}");
        let settled = accept(START, vec![report(one, &reference, Status::Success), report(other, &reference, Status::Queued)]);
        on.commit(vec![settled, Write::Publish(publish(other, "invoice.paid", START))]).await;
    }
}

/// Follows a feed as a vendor would: whoever asks for what comes after the last number seen must not lose any.
async fn follow(on: &Subject, side: Side, total: i64) -> i64 {
    let mut last = 0;
    while last < total {
        let part = feed(on, side, Some(last), 7).await;
        for event in part.events {
            assert_eq!(event.id.sequence, last + 1, "a number came after a later one");
            last += 1;
        }
        assert!(part.latest >= last);
        tokio::task::yield_now().await;
    }
    last
}

pub async fn numbers_have_no_gaps_under_eight_writers(on: Subject) {
    let sides = [on.side().await, on.side().await];
    let readers = sides.map(|side| {
        let on = on.clone();
        tokio::spawn(async move { follow(&on, side, 8 * ROUNDS).await })
    });
    eight(|writer| {
        let on = on.clone();
        async move { write_by_turns(&on, sides, writer).await }
    })
    .await;
    for (side, reader) in sides.into_iter().zip(readers) {
        assert_eq!(reader.await.unwrap(), 8 * ROUNDS);
        assert_eq!(feed(&on, side, None, 1).await.latest, 8 * ROUNDS);
    }
}

pub async fn times_never_go_back(on: Subject) {
    let side = on.side().await;
    for second in [5, 3, 6] {
        on.event(side, "invoice.paid", at(second)).await;
    }
    let events = feed(&on, side, None, 10).await.events;
    assert_eq!(events.iter().map(|event| event.created_at).collect::<Vec<_>>(), [at(5), at(5), at(6)]);
}

pub async fn data_is_kept_as_given(on: Subject) {
    let side = Side::of(&on.vendor().await, Mode::Test);
    let data = r#"{"z": 1.10, "a": [12345678901234567890, null, "नमस्ते"]}"#;
    let given = Publish { data: RawValue::from_string(data.to_owned()).unwrap(), ..publish(side, "invoice.paid", START) };
    let (published, _) = on.publish(given).await;
    let event = on.store.event(EventId { stream: side.stream, sequence: published.sequence }).await.unwrap().unwrap();
    assert_eq!((&*event.event_type, event.mode, event.created_at), ("invoice.paid", Mode::Test, START));
    assert_eq!((event.stored_facts().as_str(), event.recharge(), event.numbered), (data, None, true));
}

pub async fn a_dedupe_key_answers_with_the_first(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    on.connected(side).await;
    let (once, opened) = on.publish(keyed(side, "k")).await;
    assert_eq!((once.sequence, once.deliveries, opened.len()), (1, 1, 1));
    on.connected(side).await;
    let (again, opened) = on.publish(keyed(side, "k")).await;
    assert_eq!((&again, opened.len()), (&once, 0), "the first answer, and nothing new to send");
    assert_eq!(on.publish(keyed(side, "other")).await.0.sequence, 2);
    assert_eq!(on.publish(keyed(other, "k")).await.0.sequence, 1, "keys are a stream's own");
    assert_eq!(on.event(side, "invoice.paid", START).await.len(), 2, "without a key each post counts");
    assert_eq!(feed(&on, side, None, 10).await.latest, 3);
}

pub async fn a_dedupe_key_within_one_batch(on: Subject) {
    let side = on.side().await;
    let written = on.commit(vec![Write::Publish(keyed(side, "k")), Write::Publish(keyed(side, "k"))]).await;
    for answer in written {
        assert!(matches!(&answer, Written::Published(published, _) if published.sequence == 1), "{answer:?}");
    }
    assert_eq!(feed(&on, side, None, 10).await.latest, 1);
}

pub async fn eight_posts_with_one_key_are_one_event(on: Subject) {
    let side = on.side().await;
    on.connected(side).await;
    let answers = eight(|_| {
        let on = on.clone();
        async move { on.publish(keyed(side, "k")).await }
    })
    .await;
    assert_eq!(answers.iter().map(|(published, _)| published.sequence).collect::<HashSet<_>>(), HashSet::from([1]));
    assert!(answers.iter().all(|(published, _)| published.deliveries == 1));
    assert_eq!(answers.iter().map(|(_, opened)| opened.len()).sum::<usize>(), 1);
    assert_eq!((feed(&on, side, None, 10).await.latest, on.store.open_count().await.unwrap()), (1, 1));
}

pub async fn an_unknown_stream_is_refused(on: Subject) {
    let nowhere = Side { stream: StreamId::new(1), ..on.side().await };
    let writes = [
        Write::Publish(publish(nowhere, "invoice.paid", START)),
        Write::Publish(keyed(nowhere, "k")),
        accept(START, vec![report(nowhere, "INV-1", Status::Success)]),
    ];
    for write in writes {
        let (_, refused) = on.store.commit(vec![write]).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    }
}

pub async fn a_time_range_is_a_range_of_numbers(on: Subject) {
    let (side, other) = (on.side().await, on.side().await);
    let between = async |since, until| on.store.sequences(side.stream, TimeRange { since, until }).await.unwrap();
    assert!(between(None, None).await.is_empty());
    for second in [0, 10, 10, 20, 5] {
        on.event(side, "invoice.paid", at(second)).await;
        on.event(other, "invoice.paid", at(500 - second)).await;
    }
    for (since, until, expected) in [
        (None, None, 1..6),
        (Some(at(0)), Some(at(21)), 1..6),
        (Some(at(10)), Some(at(20)), 2..4),
        (Some(just_before(at(10))), Some(just_before(at(20))), 2..4),
        (Some(at(20)), None, 4..6),
        (None, Some(at(10)), 1..2),
    ] {
        assert_eq!(between(since, until).await, expected, "{since:?} {until:?}; since is inclusive, until is not");
    }
    for (since, until) in [(Some(at(21)), None), (None, Some(START)), (Some(at(10)), Some(at(10))), (Some(at(20)), Some(at(10)))] {
        assert!(between(since, until).await.is_empty(), "{since:?} {until:?}");
    }
    assert!(on.store.sequences(StreamId::new(1), TimeRange::default()).await.is_err());
}

/// A page ends with the event that goes beyond its bytes, and says that there is more.
pub async fn a_page_of_the_feed_is_bounded_in_bytes(on: Subject) {
    let side = on.side().await;
    let long = RawValue::from_string(format!("\"{}\"", "x".repeat(limits::FEED_BYTES / 8))).unwrap();
    for _ in 0..12 {
        on.publish(Publish { data: long.clone(), ..publish(side, "invoice.paid", START) }).await;
    }
    let (first, rest) = (feed(&on, side, None, 200).await, feed(&on, side, Some(8), 200).await);
    assert_eq!((first.events.len(), first.more, first.latest), (8, true, 12));
    assert_eq!((rest.events.len(), rest.more), (4, false));
}
